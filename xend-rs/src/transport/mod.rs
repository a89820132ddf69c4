//! The ways bytes leave and reach this host.

mod fd;

pub use fd::{FdSink, FdSource};
