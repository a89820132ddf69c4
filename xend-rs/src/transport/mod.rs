//! The ways bytes leave and reach this host.

mod fd;
mod pace;

pub use fd::{FdSink, FdSource};
