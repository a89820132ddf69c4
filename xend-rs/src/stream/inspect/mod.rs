//! Looking into a stream: one line per record, a summary, and whether it is sound.
//!
//! Works on any layer: an xl save file, a libxl stream, a bare libxc image. Nothing of the
//! stream is kept but counters, so a file may be larger than memory and may come from a pipe.

mod describe;
mod format;
mod printer;
mod summary;
mod walk;

pub use format::Format;
pub use summary::Summary;
pub use walk::inspect;

use std::io;

use crate::stream::{StreamError, StreamErrorKind};

/// What to look for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The outermost layer; found out from the first bytes if `None`.
    pub format: Option<Format>,
    /// Enforce everything the formats promise, and that nothing follows the end.
    pub verify: bool,
    /// Print only the summary.
    pub summary_only: bool,
}

/// Why a stream could not be inspected to its end.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The stream is broken, or reading it failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The first bytes are of no format known here.
    #[error("neither an xl save file, nor a libxl stream, nor a libxc image")]
    UnknownFormat,
    /// Something follows the end of the stream.
    #[error("more bytes follow the end of the stream at byte {offset}")]
    TrailingBytes {
        /// Where it should have ended.
        offset: u64,
    },
    /// The report could not be written.
    #[error("cannot write the report")]
    Write(#[source] io::Error),
}

impl InspectError {
    /// Whether this is about the stream itself, and not about reading it or writing of it.
    pub fn is_unsound(&self) -> bool {
        match self {
            InspectError::Stream(e) => !matches!(e.kind, StreamErrorKind::Io { .. }),
            InspectError::UnknownFormat | InspectError::TrailingBytes { .. } => true,
            InspectError::Write(_) => false,
        }
    }
}
