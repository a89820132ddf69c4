//! A reader that watches how it is read.

use std::io::{self, Read};

/// The most a reader may ask for at once, and so have allocated on a peer's word.
const MOST_REQUESTED_BYTES: usize = 64 << 10;

/// Bytes in memory that count what is taken of them, and do not tolerate large buffers.
pub(super) struct Counted<'a> {
    left: &'a [u8],
    taken: u64,
}

impl<'a> Counted<'a> {
    pub(super) fn new(data: &'a [u8]) -> Counted<'a> {
        Counted { left: data, taken: 0 }
    }

    /// Bytes that were read.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        assert!(out.len() <= MOST_REQUESTED_BYTES, "{} bytes at once", out.len());
        let taken = self.left.read(out)?;
        self.taken += taken as u64;
        Ok(taken)
    }
}
