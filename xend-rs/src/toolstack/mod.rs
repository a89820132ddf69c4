//! Guests as an administrator sees them: names, configurations, devices, xenstore.
//!
//! What `xl` and libxl are to Xen's own tools. The engine ([`migration`](crate::migration)) moves
//! memory; everything around it that makes a guest of a domain is here. [`xlcfg`] reads the text
//! that people write; [`config`] is what the toolstack keeps of a guest: the same document that
//! libxl keeps, so that stock `xl` manages the same guests.

pub mod announce;
pub mod config;
pub mod devices;
pub mod domain;
mod domid_files;
mod durable;
mod file_lock;
pub mod fuzz;
mod host;
pub mod journal;
pub mod migrate;
pub mod monitor;
pub mod notify;
pub mod probe;
pub mod stun;
pub mod userdata;
pub mod xlcfg;

pub use host::{Host, OpenError};
