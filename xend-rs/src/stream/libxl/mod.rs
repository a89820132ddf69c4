//! The libxl stream, version 2: what wraps a libxc image and carries the device model's state.
//!
//! A big-endian header, then little-endian records up to END. Xen describes the format in
//! `docs/specs/libxl-migration-stream.pandoc`. A stock reader refuses every type it does not
//! know, optional or not, so nothing can be added at this layer.

pub mod reader;
pub mod record;
pub mod write;

pub use reader::{OrderError, Reader};
pub use record::{Emulator, EmulatorId, Record, RecordHead, RecordType, XenstorePair};

use std::io::Read;

use crate::stream::bytes::Fields;
use crate::stream::error::{Fault, Place, StreamError, StreamErrorKind};
use crate::stream::libxc::header::{bad_magic, read_header, unsupported};
use crate::stream::source::Source;

/// "LibxlFmt".
pub const IDENT: u64 = 0x4c69_6278_6c46_6d74;
/// The only version.
pub const VERSION: u32 = 2;
/// Length of the header.
pub const HEADER_BYTES: usize = 16;

const BIG_ENDIAN: u32 = 1 << 0;
const LEGACY: u32 = 1 << 1;

/// The header of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The stream was converted from the format before Xen 4.6.
    pub converted_from_legacy: bool,
}

impl Header {
    /// The bytes, big-endian as the format has it.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let options = if self.converted_from_legacy { LEGACY } else { 0 };
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(&IDENT.to_be_bytes());
        out[8..12].copy_from_slice(&VERSION.to_be_bytes());
        out[12..16].copy_from_slice(&options.to_be_bytes());
        out
    }

    /// Reads the header and nothing more. `zero_fill` insists on zero in reserved options.
    pub fn read<R: Read>(source: &mut Source<R>, zero_fill: bool) -> Result<Self, StreamError> {
        let mut bytes = [0; HEADER_BYTES];
        read_header(source, Place::LibxlHeader, "the libxl header", &mut bytes, |b| {
            Header::decode(b, zero_fill)
        })
    }

    fn decode(bytes: &[u8], zero_fill: bool) -> Result<Header, Fault> {
        let mut fields = Fields::new("libxl header", bytes, zero_fill);
        let ident = fields.u64_be()?;
        if ident != IDENT {
            return Err(fields.fault_before(8, bad_magic("libxl ident", ident, IDENT)));
        }
        let version = fields.u32_be()?;
        if version != VERSION {
            return Err(fields.fault_before(4, unsupported("libxl stream version", version)));
        }
        let options = fields.u32_be()?;
        if options & BIG_ENDIAN != 0 {
            let kind = unsupported("byte order (big-endian) option", options);
            return Err(fields.fault_before(4, kind));
        }
        if zero_fill && options & !LEGACY != 0 {
            let kind = StreamErrorKind::NonZeroFill { what: "reserved libxl option" };
            return Err(fields.fault_before(4, kind));
        }
        Ok(Header { converted_from_legacy: options & LEGACY != 0 })
    }
}
