//! The ways bytes leave and reach this host.
//!
//! [`command`] runs what an administrator gave (`ssh`, mostly) and speaks over its pipes, as xl
//! does; [`tcp`] connects to a listening `xend receive`. Both give a [`Link`].

pub mod command;
mod fd;
mod limits;
mod link;
mod pace;
pub mod peer;
pub mod tcp;

pub use fd::{FdSink, FdSource, leaves_within};
pub use limits::Least;
pub use link::Link;
pub use peer::Peer;
