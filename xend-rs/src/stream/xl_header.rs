//! The header of an `xl save` file and of an `xl migrate` conversation, and the domain
//! configuration that comes with it.
//!
//! 32 bytes of magic, four words, then "optional data": a length and the configuration. Anything
//! after the configuration is ignored by xl; a xend puts its [offer](crate::stream::xend) there.

use std::io::{self, Read, Write};

use crate::stream::bytes::Fields;
use crate::stream::error::{Expected, Fault, Place, StreamError, StreamErrorKind};
use crate::stream::libxc::header::{read_header, unsupported};
use crate::stream::source::Source;
use crate::stream::xend::Offer;

/// What every save file starts with.
pub const MAGIC: [u8; 32] = *b"Xen saved domain, xl format\n \0 \r";
/// Length without the optional data.
pub const HEADER_BYTES: usize = 48;
/// Where the configuration starts, if there is one.
pub const CONFIG_OFFSET: u64 = (HEADER_BYTES + CONFIG_LENGTH_BYTES) as u64;
/// Longest optional data that is accepted. A configuration takes a few KiB.
pub const MAX_OPTIONAL_DATA_BYTES: u32 = 4 << 20;

const BYTE_ORDER: u32 = 0x0102_0304;
const FLAG_JSON: u32 = 1 << 0;
const FLAG_STREAM_V2: u32 = 1 << 1;
const CONFIG_LENGTH_BYTES: usize = 4;

/// The header with its configuration. A libxl stream follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XlHeader {
    /// The domain's configuration without its terminating NUL; `None` if the file carries none.
    pub config: Option<Vec<u8>>,
    /// The configuration is JSON, as it has been since Xen 4.5, and not the text of an xl.cfg.
    pub config_is_json: bool,
    /// What follows the configuration. A stock xl writes nothing there, and ignores it.
    pub beyond: Vec<u8>,
}

impl XlHeader {
    /// A header as xl writes it, for a configuration in JSON.
    pub fn with_json(config: impl Into<Vec<u8>>) -> XlHeader {
        XlHeader { config: Some(config.into()), config_is_json: true, beyond: Vec::new() }
    }

    /// Writes header and configuration with one write.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let flags = FLAG_STREAM_V2 | if self.config_is_json { FLAG_JSON } else { 0 };
        let mut data = Vec::new();
        if let Some(config) = &self.config {
            let length = config.len() as u32 + 1;
            data.extend(length.to_le_bytes());
            data.extend_from_slice(config);
            data.push(0);
        } else if !self.beyond.is_empty() {
            data.extend([0; CONFIG_LENGTH_BYTES]);
        }
        data.extend_from_slice(&self.beyond);
        if data.len() > MAX_OPTIONAL_DATA_BYTES as usize {
            let text = format!("optional data of {} bytes is too long", data.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut buffer = MAGIC.to_vec();
        for word in [BYTE_ORDER, flags, 0, data.len() as u32] {
            buffer.extend(word.to_le_bytes());
        }
        buffer.extend(data);
        out.write_all(&buffer)
    }

    /// Reads header and optional data and nothing more. `zero_fill` insists on what a stock xl
    /// writes and does not check: no optional flags, a terminated configuration, nothing after it.
    pub fn read<R: Read>(source: &mut Source<R>, zero_fill: bool) -> Result<Self, StreamError> {
        let mut bytes = [0; HEADER_BYTES];
        let place = Place::XlHeader;
        let (flags, data_bytes) =
            read_header(source, place, "the xl save-file header", &mut bytes, |b| {
                decode_header(b, zero_fill)
            })?;
        let start = source.offset();
        let mut data = Vec::new();
        source
            .fill_growing("the domain configuration", data_bytes as usize, &mut data)
            .map_err(|kind| StreamError { offset: source.offset(), place, kind })?;
        let (config, beyond) = decode_config(&data, zero_fill).map_err(|f| StreamError {
            offset: start + f.at as u64,
            place,
            kind: f.kind,
        })?;
        Ok(XlHeader { config, config_is_json: flags & FLAG_JSON != 0, beyond })
    }

    /// The offer of a xend, if the header carries one.
    ///
    /// # Errors
    /// If it starts like one and is none.
    pub fn offer(&self) -> Result<Option<Offer>, StreamError> {
        let before = self.config.as_ref().map_or(0, |config| config.len() + 1);
        let start = CONFIG_OFFSET + before as u64;
        Offer::decode(&self.beyond).map_err(|f| StreamError {
            offset: start + f.at as u64,
            place: Place::XlHeader,
            kind: f.kind,
        })
    }
}

/// The mandatory flags and the length of the optional data.
fn decode_header(bytes: &[u8], zero_fill: bool) -> Result<(u32, u32), Fault> {
    if let Some(at) = (0..MAGIC.len()).find(|i| bytes[*i] != MAGIC[*i]) {
        let kind = StreamErrorKind::BadMagic {
            what: "byte of the xl magic",
            found: u64::from(bytes[at]),
            expected: u64::from(MAGIC[at]),
        };
        return Err(Fault::at(at, kind));
    }
    let words_at = MAGIC.len();
    let mut fields = Fields::new("xl save-file header", &bytes[words_at..], zero_fill);
    decode_words(&mut fields).map_err(|f| Fault::at(words_at + f.at, f.kind))
}

fn decode_words(fields: &mut Fields<'_>) -> Result<(u32, u32), Fault> {
    let byte_order = fields.u32()?;
    if byte_order != BYTE_ORDER {
        return Err(fields.fault_before(4, unsupported("byte order", byte_order)));
    }
    let flags = fields.u32()?;
    if flags & !(FLAG_JSON | FLAG_STREAM_V2) != 0 {
        return Err(fields.fault_before(4, unsupported("mandatory flags", flags)));
    }
    if flags & FLAG_STREAM_V2 == 0 {
        return Err(fields.fault_before(4, unsupported("stream before version 2, flags", flags)));
    }
    fields.reserved::<4>("xl optional flags")?;
    let data_bytes = fields.u32()?;
    if data_bytes > MAX_OPTIONAL_DATA_BYTES {
        let kind = StreamErrorKind::TooLarge {
            what: "optional data length",
            found: u64::from(data_bytes),
            limit: u64::from(MAX_OPTIONAL_DATA_BYTES),
        };
        return Err(fields.fault_before(4, kind));
    }
    Ok((flags, data_bytes))
}

/// The configuration, and what follows it.
fn decode_config(data: &[u8], zero_fill: bool) -> Result<(Option<Vec<u8>>, Vec<u8>), Fault> {
    if data.is_empty() {
        return Ok((None, Vec::new()));
    }
    let mut fields = Fields::new("optional data", data, zero_fill);
    let length = fields.u32()? as usize;
    let rest = fields.rest();
    let Some((config, beyond)) = rest.split_at_checked(length) else {
        let kind = StreamErrorKind::BadLength {
            what: "optional data",
            found: data.len() as u64,
            expected: Expected::AtLeast((CONFIG_LENGTH_BYTES + length) as u64),
        };
        return Err(Fault::at(0, kind));
    };
    let end = CONFIG_LENGTH_BYTES + length;
    if zero_fill && !beyond.is_empty() {
        let kind = StreamErrorKind::BadLength {
            what: "optional data",
            found: data.len() as u64,
            expected: Expected::Exactly(end as u64),
        };
        return Err(Fault::at(end, kind));
    }
    let config = match config.split_last() {
        Some((0, text)) => Some(text.to_vec()),
        _ if zero_fill => {
            let kind = StreamErrorKind::NonZeroFill { what: "end of the configuration" };
            return Err(Fault::at(end, kind));
        }
        // With something behind it, a length of 0 says that there is none.
        None if !beyond.is_empty() => None,
        _ => Some(config.to_vec()),
    };
    Ok((config, beyond.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], zero_fill: bool) -> Result<XlHeader, StreamError> {
        XlHeader::read(&mut Source::new(bytes), zero_fill)
    }

    fn written(header: &XlHeader) -> Vec<u8> {
        let mut out = Vec::new();
        header.write(&mut out).expect("a short configuration");
        out
    }

    #[test]
    fn what_is_written_is_what_xl_writes() {
        let bytes = written(&XlHeader::with_json("{}"));
        assert_eq!(bytes.len(), 48 + 4 + 3);
        let magic_end = [0x0a, 0x20, 0x00, 0x20, 0x0d];
        assert_eq!(bytes[27..32], magic_end);
        let words = [4, 3, 2, 1, 3, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0];
        assert_eq!(bytes[32..48], words);
        assert_eq!(bytes[48..], *b"\x03\0\0\0{}\0");
        assert_eq!(read(&bytes, true).expect("sound"), XlHeader::with_json("{}"));
    }

    #[test]
    fn a_file_may_carry_no_configuration_or_more_than_one_needs() {
        let none = XlHeader { config: None, config_is_json: true, beyond: Vec::new() };
        assert_eq!(read(&written(&none), true).expect("sound"), none);
        let mut more = written(&XlHeader::with_json("{}"));
        more[44] += 2;
        more.extend(b"++");
        assert_eq!(read(&more, false).expect("xl ignores the rest").config, Some(b"{}".to_vec()));
        let error = read(&more, true).expect_err("nobody writes that");
        assert_eq!(error.offset, 55, "{error}");
    }

    #[test]
    fn each_field_is_checked() {
        let good = written(&XlHeader::with_json("{}"));
        let damage = [
            (0, b'x', 0, "byte of the xl magic is 0x78, expected 0x58"),
            (35, 9, 32, "unsupported byte order 0x9020304"),
            (36, 7, 36, "unsupported mandatory flags 0x7"),
            (36, 1, 36, "unsupported stream before version 2, flags 0x1"),
            (40, 1, 40, "xl optional flags is not zero"),
            (47, 1, 44, "optional data length is 16777223, the limit is 4194304"),
            (48, 4, 48, "optional data is 7 bytes, expected at least 8"),
            (54, b'!', 55, "end of the configuration is not zero"),
        ];
        for (at, value, offset, line) in damage {
            let mut bytes = good.clone();
            bytes[at] = value;
            let error = read(&bytes, true).expect_err(line);
            assert_eq!((error.offset, error.kind.to_string().as_str()), (offset, line));
        }
    }

    #[test]
    fn cut_short_anywhere_it_is_truncated_there() {
        let good = written(&XlHeader::with_json(r#"{"c_info":{"name":"guest"}}"#));
        for end in 0..good.len() {
            let error = read(&good[..end], true).expect_err("a part of a header");
            assert!(matches!(error.kind, StreamErrorKind::Truncated { .. }), "{error}");
            assert_eq!(error.offset, end as u64);
        }
    }
}
