//! Telling a guest that it is about to be moved.
//!
//! `docs/guest-notifier.md` is the protocol; [`protocol`] is that page as types. [`Notifier`] is the
//! host's side of it. The guest's side is the program `xend-agent`, in the folder `agent`. Neither
//! knows how xenstore and event channels are reached: see [`Store`] and [`Bell`].

#![forbid(unsafe_code)]

mod notifier;
pub mod protocol;
mod seams;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use notifier::{Notifier, Outcome, Prepared, Sight, Wish};
pub use seams::{Bell, Store};
