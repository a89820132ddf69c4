//! The two headers of an image.

use std::io::Read;

use crate::stream::bytes::Fields;
use crate::stream::error::{Fault, Place, StreamError, StreamErrorKind};
use crate::stream::source::Source;

/// What every image starts with.
pub const IMAGE_MARKER: u64 = u64::MAX;
/// "XENF".
pub const IMAGE_ID: u32 = 0x5845_4e46;
/// Length of the image header.
pub const IMAGE_HEADER_BYTES: usize = 24;
/// Length of the domain header.
pub const DOMAIN_HEADER_BYTES: usize = 16;

const BIG_ENDIAN: u16 = 1;
const PAGE_SHIFT: u16 = 12;

/// Version of the image format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageVersion {
    /// Xen 4.6 to 4.13: no STATIC_DATA_END and no CPU policy.
    V2,
    /// Xen 4.14 and later.
    V3,
}

impl ImageVersion {
    /// The number in the image header.
    pub fn number(self) -> u32 {
        match self {
            ImageVersion::V2 => 2,
            ImageVersion::V3 => 3,
        }
    }
}

/// The header that says what this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// Format of all that follows.
    pub version: ImageVersion,
}

impl ImageHeader {
    /// The bytes, big-endian as the format has it.
    pub fn encode(&self) -> [u8; IMAGE_HEADER_BYTES] {
        let mut out = [0; IMAGE_HEADER_BYTES];
        out[0..8].copy_from_slice(&IMAGE_MARKER.to_be_bytes());
        out[8..12].copy_from_slice(&IMAGE_ID.to_be_bytes());
        out[12..16].copy_from_slice(&self.version.number().to_be_bytes());
        out
    }

    /// Reads the header and nothing more. `zero_fill` insists on zero in reserved fields.
    pub fn read<R: Read>(source: &mut Source<R>, zero_fill: bool) -> Result<Self, StreamError> {
        let mut bytes = [0; IMAGE_HEADER_BYTES];
        read_header(source, Place::ImageHeader, "the image header", &mut bytes, |b| {
            ImageHeader::decode(b, zero_fill)
        })
    }

    fn decode(bytes: &[u8], zero_fill: bool) -> Result<Self, Fault> {
        let mut fields = Fields::new("image header", bytes, zero_fill);
        let marker = fields.u64_be()?;
        if marker != IMAGE_MARKER {
            return Err(fields.fault_before(8, bad_magic("image marker", marker, IMAGE_MARKER)));
        }
        let id = fields.u32_be()?;
        if id != IMAGE_ID {
            let kind = bad_magic("image id", u64::from(id), u64::from(IMAGE_ID));
            return Err(fields.fault_before(4, kind));
        }
        let version = match fields.u32_be()? {
            2 => ImageVersion::V2,
            3 => ImageVersion::V3,
            v => return Err(fields.fault_before(4, unsupported("image version", v))),
        };
        let options = fields.u16_be()?;
        if options & BIG_ENDIAN != 0 {
            return Err(
                fields.fault_before(2, unsupported("byte order (big-endian) option", options))
            );
        }
        if zero_fill && options != 0 {
            let kind = StreamErrorKind::NonZeroFill { what: "reserved image option" };
            return Err(fields.fault_before(2, kind));
        }
        fields.reserved::<6>("image header reserved field")?;
        Ok(ImageHeader { version })
    }
}

/// What kind of guest an image is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestType {
    /// Paravirtual: manages machine frames itself.
    X86Pv,
    /// Hardware-assisted: HVM and PVH.
    X86Hvm,
}

impl GuestType {
    /// The number in the domain header.
    pub fn number(self) -> u32 {
        match self {
            GuestType::X86Pv => 1,
            GuestType::X86Hvm => 2,
        }
    }

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            GuestType::X86Pv => "x86 PV",
            GuestType::X86Hvm => "x86 HVM",
        }
    }
}

/// The header that says whose image this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainHeader {
    /// Kind of guest.
    pub guest_type: GuestType,
    /// Major version of the Xen it ran on; 0 if converted from the format before 4.6.
    pub xen_major: u32,
    /// Minor version of that Xen.
    pub xen_minor: u32,
}

impl DomainHeader {
    /// The bytes.
    pub fn encode(&self) -> [u8; DOMAIN_HEADER_BYTES] {
        let mut out = [0; DOMAIN_HEADER_BYTES];
        out[0..4].copy_from_slice(&self.guest_type.number().to_le_bytes());
        out[4..6].copy_from_slice(&PAGE_SHIFT.to_le_bytes());
        out[8..12].copy_from_slice(&self.xen_major.to_le_bytes());
        out[12..16].copy_from_slice(&self.xen_minor.to_le_bytes());
        out
    }

    /// Reads the header and nothing more. `zero_fill` insists on zero in reserved fields.
    pub fn read<R: Read>(source: &mut Source<R>, zero_fill: bool) -> Result<Self, StreamError> {
        let mut bytes = [0; DOMAIN_HEADER_BYTES];
        read_header(source, Place::DomainHeader, "the domain header", &mut bytes, |b| {
            DomainHeader::decode(b, zero_fill)
        })
    }

    fn decode(bytes: &[u8], zero_fill: bool) -> Result<Self, Fault> {
        let mut fields = Fields::new("domain header", bytes, zero_fill);
        let guest_type = match fields.u32()? {
            1 => GuestType::X86Pv,
            2 => GuestType::X86Hvm,
            t => return Err(fields.fault_before(4, unsupported("guest type", t))),
        };
        let page_shift = fields.u16()?;
        if page_shift != PAGE_SHIFT {
            return Err(fields.fault_before(2, unsupported("page shift", page_shift)));
        }
        fields.reserved::<2>("domain header reserved field")?;
        let (xen_major, xen_minor) = (fields.u32()?, fields.u32()?);
        Ok(DomainHeader { guest_type, xen_major, xen_minor })
    }
}

/// Reads a header of fixed length and decodes it, adding the place to what goes wrong.
pub(crate) fn read_header<R: Read, T>(
    source: &mut Source<R>,
    place: Place,
    what: &'static str,
    bytes: &mut [u8],
    decode: impl FnOnce(&[u8]) -> Result<T, Fault>,
) -> Result<T, StreamError> {
    let start = source.offset();
    source.fill(what, bytes).map_err(|kind| StreamError {
        offset: source.offset(),
        place,
        kind,
    })?;
    decode(bytes).map_err(|f| StreamError { offset: start + f.at as u64, place, kind: f.kind })
}

pub(crate) fn bad_magic(what: &'static str, found: u64, expected: u64) -> StreamErrorKind {
    StreamErrorKind::BadMagic { what, found, expected }
}

pub(crate) fn unsupported(what: &'static str, found: impl Into<u64>) -> StreamErrorKind {
    StreamErrorKind::Unsupported { what, found: found.into() }
}
