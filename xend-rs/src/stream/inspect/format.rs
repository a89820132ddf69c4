//! Telling the formats apart by how they start.

use crate::stream::libxc::header::IMAGE_MARKER;
use crate::stream::{libxl, xl_header};

/// The outermost layer of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A file of `xl save`: header, configuration, libxl stream.
    Xl,
    /// A libxl stream.
    Libxl,
    /// A libxc image.
    Libxc,
}

impl Format {
    /// As many bytes as it takes to tell.
    pub const BYTES: usize = 8;

    /// The format of a stream that starts so, if it is one.
    pub fn detect(start: &[u8]) -> Option<Format> {
        let start = start.get(..Format::BYTES)?;
        if start == &xl_header::MAGIC[..Format::BYTES] {
            Some(Format::Xl)
        } else if start == libxl::IDENT.to_be_bytes() {
            Some(Format::Libxl)
        } else if start == IMAGE_MARKER.to_be_bytes() {
            Some(Format::Libxc)
        } else {
            None
        }
    }
}
