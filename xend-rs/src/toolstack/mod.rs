//! Domains as an administrator sees them: names, configurations, devices, xenstore.
//!
//! What `xl` and libxl are to Xen's own tools. The engine ([`migration`](crate::migration)) moves
//! memory; everything around it that makes a guest of a domain is here.

mod host;
pub mod journal;
pub mod migrate;

pub use host::{Host, OpenError};
