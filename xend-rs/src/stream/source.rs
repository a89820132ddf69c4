//! A byte stream that knows how far it has been read, and is never read ahead.

use std::io::{self, Read};

use crate::stream::error::{Place, StreamError, StreamErrorKind};

/// How much a body may grow between two reads: the most that is allocated on a peer's word alone.
const GROWTH_BYTES: usize = 64 << 10;

/// A reader that counts.
///
/// It asks the underlying reader for exactly the bytes wanted and holds none back, so the
/// descriptor below it can be handed on at any record boundary.
#[derive(Debug)]
pub struct Source<R> {
    inner: R,
    offset: u64,
}

impl<R: Read> Source<R> {
    /// Counts from 0.
    pub fn new(inner: R) -> Source<R> {
        Source { inner, offset: 0 }
    }

    /// A view at the same offset. What is read through it counts here, too.
    pub fn by_ref(&mut self) -> Source<&mut Source<R>> {
        Source { offset: self.offset, inner: self }
    }

    /// Bytes read so far: the offset of the next one.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The reader itself. What is read from it directly is not counted.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Gives the reader back.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Fills `out`. `what` names it if the stream ends or fails before.
    pub(crate) fn fill(
        &mut self,
        what: &'static str,
        out: &mut [u8],
    ) -> Result<(), StreamErrorKind> {
        let mut filled = 0;
        while filled < out.len() {
            match self.read(&mut out[filled..]) {
                Ok(0) => {
                    return Err(StreamErrorKind::Truncated {
                        what,
                        wanted_bytes: out.len() as u64,
                        got_bytes: filled as u64,
                    });
                }
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(StreamErrorKind::Io { what, source }),
            }
        }
        Ok(())
    }

    /// Fills `out` with a message of the conversation around the streams.
    pub(crate) fn read_whole(
        &mut self,
        what: &'static str,
        out: &mut [u8],
    ) -> Result<(), StreamError> {
        let place = Place::PeerMessage;
        self.fill(what, out).map_err(|kind| StreamError { offset: self.offset, place, kind })
    }

    /// Reads `length` bytes into an emptied `out`, which grows as they arrive.
    pub(crate) fn fill_growing(
        &mut self,
        what: &'static str,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), StreamErrorKind> {
        out.clear();
        while out.len() < length {
            let have = out.len();
            out.resize(length.min(have + GROWTH_BYTES), 0);
            self.fill(what, &mut out[have..])
                .map_err(|kind| widen_truncation(kind, length as u64, have as u64))?;
        }
        Ok(())
    }

    /// Reads `length` bytes and forgets them.
    pub(crate) fn discard(
        &mut self,
        what: &'static str,
        length: u64,
    ) -> Result<(), StreamErrorKind> {
        let mut scratch = [0; 32 << 10];
        let mut done = 0;
        while done < length {
            let n = (length - done).min(scratch.len() as u64);
            self.fill(what, &mut scratch[..n as usize])
                .map_err(|kind| widen_truncation(kind, length, done))?;
            done += n;
        }
        Ok(())
    }

    /// Lets `read` take bytes from the underlying reader by means of its own, for instance
    /// `readv` into a foreign mapping, and counts what it says it took.
    pub fn read_by(&mut self, read: impl FnOnce(&mut R) -> io::Result<usize>) -> io::Result<usize> {
        let taken = read(&mut self.inner)?;
        self.offset += taken as u64;
        Ok(taken)
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.offset += n as u64;
        Ok(n)
    }
}

/// A piece of something longer was cut short: tell of the whole.
fn widen_truncation(kind: StreamErrorKind, whole_bytes: u64, before_bytes: u64) -> StreamErrorKind {
    match kind {
        StreamErrorKind::Truncated { what, got_bytes, .. } => StreamErrorKind::Truncated {
            what,
            wanted_bytes: whole_bytes,
            got_bytes: before_bytes + got_bytes,
        },
        other => other,
    }
}
