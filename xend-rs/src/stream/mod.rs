//! The bytes of a migration: what travels between two hosts or lies in a save file.
//!
//! Three layers, each with a header of its own (and, between two xends, [`xend`]'s messages
//! around them):
//!
//! ```text
//! xl save-file header + domain config      xl_header
//! └ libxl stream: records                  libxl
//!   └ LIBXC_CONTEXT, then a libxc image    libxc
//! ```
//!
//! Everything here is untrusted input. A length is bounded before it is believed, memory grows
//! with the bytes that arrive and not with the length a peer declares, and every failure is a
//! [`StreamError`] that names the record and the offset. Nothing reads past the record asked for,
//! because the file descriptor belongs to somebody else afterwards.

mod bytes;
pub mod error;
pub mod fuzz;
pub mod inspect;
pub mod libxc;
pub mod libxl;
pub mod source;
pub mod xend;
pub mod xl_header;

pub use error::{Place, StreamError, StreamErrorKind};
pub use source::Source;

/// What a reader insists on, beyond what it needs to find its way through the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Records must come in an order a restore can follow, and none may be missing at the end.
    pub order: bool,
    /// Padding and reserved fields must be zero. The format asks a restore to ignore them.
    pub zero_fill: bool,
}

impl Checks {
    /// What a restore needs.
    pub const RESTORE: Checks = Checks { order: true, zero_fill: false };
    /// Everything the format promises.
    pub const VERIFY: Checks = Checks { order: true, zero_fill: true };
    /// Only what it takes to print the records of a stream, sound or not.
    pub const DISPLAY: Checks = Checks { order: false, zero_fill: false };
}
