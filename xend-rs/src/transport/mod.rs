//! The ways bytes leave and reach this host.
//!
//! [`command`] runs what an administrator gave (`ssh`, mostly) and speaks over its pipes, as xl
//! does; [`tcp`] connects to a listening `xend receive`. Both give a [`Link`], whose sink can be held
//! to a rate.

pub mod command;
mod fd;
mod last_second;
mod limits;
mod link;
mod pace;
pub mod peer;
mod rate_limit;
pub mod tcp;
mod token_bucket;

pub use fd::{FdSink, FdSource, leaves_within};
pub use limits::Least;
pub use link::Link;
pub use peer::Peer;
