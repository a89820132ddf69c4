//! Moving a guest to another host, or receiving one: the six stages of Clark et al.
//!
//! [`migrate`] is the source's side of the conversation, [`receive`] the destination's; both speak
//! xl's and, with each other, xend's own. Memory and state are the [engine](crate::migration)'s;
//! domains and devices are reached through the traits in [`host`], so that both sides can be tried,
//! and killed at every step, without a Xen. Who owns the guest stands in the
//! [journal](crate::toolstack::journal); [`recover`](recover::recover) reads it after a crash.

mod control;
mod destination;
mod ear;
mod error;
#[cfg(test)]
mod fake;
pub mod here;
pub mod host;
mod recover;
mod report;
mod settle;
mod source;
mod stage;
mod words;

pub use control::{Control, Event};
pub use destination::{Received, Reception, receive};
pub use error::{MigrateError, ReceiveError};
pub use recover::{AskPeer, Case, Finding, Word, recover};
pub use report::Report;
pub use settle::{ask, settle};
pub use source::{Ask, Departure, migrate};
pub use stage::{Stage, Step, Steps};
