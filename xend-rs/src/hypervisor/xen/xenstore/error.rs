//! What can go wrong between us and xenstored.

use std::io;

/// The result of an operation on xenstore.
pub type Result<T> = std::result::Result<T, XenstoreError>;

/// A failed operation on xenstore.
#[derive(Debug, thiserror::Error)]
pub enum XenstoreError {
    /// There is no xenstored to talk to.
    #[error("cannot connect to xenstored: does it run, and are you root?")]
    Open(#[source] io::Error),
    /// xenstored refused, or the connection broke.
    #[error("xenstored could not {operation} {path}")]
    Call {
        /// What was attempted, as a phrase ("write").
        operation: &'static str,
        /// The node or domain it was for.
        path: String,
        /// What it answered.
        source: io::Error,
    },
    /// What was waited for did not come in time.
    #[error("gave up waiting for {what} after {seconds} s")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
}

impl XenstoreError {
    /// The errno, where xenstored gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Open(source) | Self::Call { source, .. } => source.raw_os_error(),
            Self::Timeout { .. } => None,
        }
    }
}
