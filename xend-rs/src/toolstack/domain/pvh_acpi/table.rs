//! One ACPI table: a header, and fields one after the other.

const HEADER_BYTES: usize = 36;
const LENGTH_OFFSET: usize = 4;
const CHECKSUM_OFFSET: usize = 9;
/// The address space of I/O ports.
const IO_SPACE: u8 = 1;

/// A table that is being written.
pub(super) struct Table(Vec<u8>);

impl Table {
    /// A table with nothing but the header that all of Xen's have.
    pub(super) fn new(signature: &[u8; 4], revision: u8) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(signature);
        bytes.resize(8, 0);
        bytes.extend([revision, 0]);
        bytes.extend_from_slice(b"Xen\0\0\0HVM\0\0\0\0\0");
        bytes.extend_from_slice(&0u32.to_le_bytes());
        bytes.extend_from_slice(b"HVML");
        bytes.extend_from_slice(&0u32.to_le_bytes());
        debug_assert_eq!(bytes.len(), HEADER_BYTES);
        Self(bytes)
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn zeros(&mut self, count: usize) -> &mut Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// A register in I/O space.
    pub(super) fn port(&mut self, bits: u8, port: u64) -> &mut Self {
        self.u8(IO_SPACE).u8(bits).u8(0).u8(0).u64(port)
    }

    /// The table with its length and its sum.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[LENGTH_OFFSET..LENGTH_OFFSET + 4].copy_from_slice(&length.to_le_bytes());
        self.0[CHECKSUM_OFFSET] = checksum(&self.0);
        self.0
    }
}

/// What makes the sum of all bytes zero.
pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}
