//! Walking over the fields of a header or record body that is already in memory.

use std::io::{self, Write};

use crate::stream::error::{Expected, Fault, StreamErrorKind};

/// The fields of one body, read in order, little-endian unless the name says otherwise.
pub(crate) struct Fields<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
    zero_fill: bool,
}

impl<'a> Fields<'a> {
    /// `what` names the body in errors; `zero_fill` makes [`Fields::reserved`] insist on zero.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8], zero_fill: bool) -> Self {
        Fields { what, bytes, at: 0, zero_fill }
    }

    /// Bytes from the start of the body to the next field.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// A fault in the field that ends here and is `width` bytes wide.
    pub(crate) fn fault_before(&self, width: usize, kind: StreamErrorKind) -> Fault {
        Fault::at(self.at - width, kind)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let Some((field, _)) = self.bytes[self.at..].split_first_chunk::<N>() else {
            return Err(Fault::at(
                self.bytes.len(),
                StreamErrorKind::BadLength {
                    what: self.what,
                    found: self.bytes.len() as u64,
                    expected: Expected::AtLeast((self.at + N) as u64),
                },
            ));
        };
        self.at += N;
        Ok(*field)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16_be(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32_be(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64_be(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// The next `length` bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let Some(bytes) = self.bytes[self.at..].get(..length) else {
            return Err(Fault::at(
                self.bytes.len(),
                StreamErrorKind::BadLength {
                    what: self.what,
                    found: self.bytes.len() as u64,
                    expected: Expected::AtLeast((self.at + length) as u64),
                },
            ));
        };
        self.at += length;
        Ok(bytes)
    }

    /// Passes over a reserved field of `N` bytes.
    pub(crate) fn reserved<const N: usize>(&mut self, what: &'static str) -> Result<(), Fault> {
        let field = self.array::<N>()?;
        if self.zero_fill && field != [0; N] {
            return Err(self.fault_before(N, StreamErrorKind::NonZeroFill { what }));
        }
        Ok(())
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    /// Insists that nothing is left.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        if self.at == self.bytes.len() {
            return Ok(());
        }
        Err(Fault::at(
            self.at,
            StreamErrorKind::BadLength {
                what: self.what,
                found: self.bytes.len() as u64,
                expected: Expected::Exactly(self.at as u64),
            },
        ))
    }
}

/// The length of a body once it is padded to 8 bytes.
pub(crate) fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

/// Writes a record with one write: type, length, body and padding, as both layers have it.
pub(crate) fn write_record(
    out: &mut impl Write,
    number: u32,
    name: &str,
    max_bytes: u32,
    encode_body: impl FnOnce(&mut Vec<u8>),
) -> io::Result<()> {
    const HEADER_BYTES: usize = 8;
    let mut buffer = vec![0; HEADER_BYTES];
    encode_body(&mut buffer);
    let body_bytes = buffer.len() - HEADER_BYTES;
    if body_bytes > max_bytes as usize {
        // A reader of ours would refuse it.
        let text = format!("a {name} body of {body_bytes} bytes is over the limit of {max_bytes}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    buffer[0..4].copy_from_slice(&number.to_le_bytes());
    buffer[4..8].copy_from_slice(&(body_bytes as u32).to_le_bytes());
    buffer.resize(HEADER_BYTES + padded(body_bytes), 0);
    out.write_all(&buffer)
}
