//! The end that bytes come in by.

use std::fs::OpenOptions;
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, recv};

use super::channel::Channel;
use crate::migration::Cancel;
use crate::transport::limits::{Least, Limits};
use crate::transport::pace::Pace;

/// What is waited for when more is to come than has arrived: half of what a receive buffer holds at
/// first, so that the sender is not held up.
const ARRIVED_BYTES: usize = 64 * 1024;

/// The receiving end. Takes what it is asked for and never reads ahead: after the image the
/// descriptor's owner reads on.
#[derive(Debug)]
pub struct FdSource {
    channel: Channel,
    cancel: Cancel,
    pace: Pace,
    limits: Limits,
    taken_bytes: Arc<AtomicU64>,
}

impl FdSource {
    /// Reads from `fd` until `cancel` is called.
    ///
    /// # Errors
    /// If the descriptor cannot be examined, or a pipe not be opened again.
    pub fn new(fd: OwnedFd, cancel: Cancel) -> io::Result<Self> {
        let channel = Channel::new(fd, OpenOptions::new().read(true))?;
        let (pace, limits) = (Pace::new(), Limits::default());
        Ok(Self { channel, cancel, pace, limits, taken_bytes: Arc::default() })
    }

    /// From now on a peer that lets nothing move for `limit` is taken for dead.
    pub fn set_limit(&mut self, limit: Option<Duration>) {
        self.limits.silence = limit;
    }

    /// From now on a peer that gets less done than that is given up, too.
    pub fn set_least(&mut self, least: Option<Least>) {
        self.limits.set_least(least);
    }

    /// Whatever is read by then, `deadline` ends it: also for a peer that never makes anybody wait.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.limits.deadline = deadline;
    }

    /// Counts the bytes that have been read, for others to look at.
    pub fn taken_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken_bytes)
    }
}

impl Read for FdSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A file never makes anybody wait, so it is asked here.
        if matches!(self.channel, Channel::File(_)) && self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.limits.check_deadline()?;
        loop {
            let read = match &mut self.channel {
                Channel::Pipe(file) | Channel::File(file) => {
                    file.read_vectored(&mut [IoSliceMut::new(buffer)])
                }
                Channel::Socket(fd) => {
                    recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT).map_err(Into::into)
                }
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let now = Instant::now();
                    self.pace.rest(buffer.len().min(ARRIVED_BYTES));
                    self.channel.wait(PollFlags::POLLIN, &self.cancel, &mut self.limits, now)?;
                }
                done => {
                    let bytes = *done.as_ref().unwrap_or(&0);
                    self.pace.moved(bytes);
                    self.limits.moved(bytes);
                    self.taken_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                    return done;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_peer_that_sends_without_pause_does_not_outlast_the_deadline() {
        let (read_end, mut write_end) = UnixStream::pair().unwrap();
        let mut source = FdSource::new(read_end.into(), Cancel::default()).unwrap();
        let started = Instant::now();
        source.set_deadline(Some(started + Duration::from_millis(50)));
        let late = loop {
            assert!(started.elapsed() < Duration::from_secs(10), "it is read from for ever");
            // There is always something to read.
            write_end.write_all(&[7; 512]).unwrap();
            match source.read(&mut [0; 512]) {
                Ok(bytes) => assert_eq!(bytes, 512),
                Err(error) => break error,
            }
        };
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        source.set_deadline(None);
        assert_eq!(source.read(&mut [0; 512]).unwrap(), 512, "nothing was lost");
    }
}
