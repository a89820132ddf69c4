//! The end that bytes leave by, at a rate if there is one to keep to.

use std::fs::OpenOptions;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, sendmsg};
use rustix::io::ioctl_fionread;

use super::channel::{CANCEL_CHECK, Channel, poll_now};
use crate::migration::rate::Rate;
use crate::migration::{Cancel, Sink};
use crate::transport::limits::{Least, Limits};
use crate::transport::pace::Pace;
use crate::transport::rate_limit::RateLimit;

/// Room that is waited for in a full pipe.
const FREE_PIPE_BYTES: usize = 128 * 1024;

/// How often an emptying pipe is looked at.
const QUEUE_CHECK: Duration = Duration::from_millis(5);

/// The sending end.
#[derive(Debug)]
pub struct FdSink {
    channel: Channel,
    cancel: Cancel,
    pace: Pace,
    limits: Limits,
    /// Where a rate is to be kept to: what may be sent, counted from when the sink was made.
    rate_limit: Option<RateLimit>,
    since: Instant,
}

impl FdSink {
    /// Writes to `fd` until `cancel` is called.
    ///
    /// # Errors
    /// If the descriptor cannot be examined, or a pipe not be opened again.
    pub fn new(fd: OwnedFd, cancel: Cancel) -> io::Result<Self> {
        let channel = Channel::new(fd, OpenOptions::new().write(true))?;
        Ok(Self {
            channel,
            cancel,
            pace: Pace::new(),
            limits: Limits::default(),
            rate_limit: None,
            since: Instant::now(),
        })
    }

    /// From now on a peer that lets nothing move for `limit` is taken for dead.
    pub fn set_limit(&mut self, limit: Option<Duration>) {
        self.limits.silence = limit;
    }

    /// From now on a peer that gets less done than that is given up, too.
    pub fn set_least(&mut self, least: Option<Least>) {
        self.limits.set_least(least);
    }

    /// How many of `wanted_bytes` may be sent. Waits until that is a burst, if there is a rate to keep
    /// to.
    fn await_room(&mut self, wanted_bytes: usize) -> io::Result<usize> {
        let Some(limit) = &mut self.rate_limit else { return Ok(wanted_bytes) };
        loop {
            match limit.allow(wanted_bytes, self.since.elapsed()) {
                Ok(bytes) => return Ok(bytes),
                Err(wait) => thread::sleep(wait.min(CANCEL_CHECK)),
            }
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
        }
    }

    /// Writes what the descriptor takes at once, and waits until that is something.
    fn write_some(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let written = match &mut self.channel {
                Channel::Pipe(file) | Channel::File(file) => file.write_vectored(slices),
                Channel::Socket(fd) => {
                    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                    sendmsg::<()>(fd.as_raw_fd(), slices, &[], flags, None).map_err(Into::into)
                }
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let now = Instant::now();
                    // A socket says itself when a good part of it is free; a pipe, with each page.
                    if matches!(self.channel, Channel::Pipe(_)) {
                        self.pace.rest(FREE_PIPE_BYTES);
                    }
                    self.channel.wait(PollFlags::POLLOUT, &self.cancel, &mut self.limits, now)?;
                }
                done => {
                    let bytes = *done.as_ref().unwrap_or(&0);
                    self.pace.moved(bytes);
                    self.limits.moved(bytes);
                    return done;
                }
            }
        }
    }
}

impl Write for FdSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let wanted_bytes = slices.iter().map(|slice| slice.len()).sum();
        let room = self.await_room(wanted_bytes)?;
        let written = match room < wanted_bytes {
            true => self.write_some(&first_bytes(slices, room))?,
            false => self.write_some(slices)?,
        };
        if let Some(limit) = &mut self.rate_limit {
            limit.take(written, self.since.elapsed());
        }
        Ok(written)
    }

    /// The kernel has everything that was written; there is no buffer of our own.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for FdSink {
    /// Knows of a pipe only. How much waits in a socket is the peer's and the network's business,
    /// and cannot be known for the sockets behind a pipe.
    fn wait_until_taken(&mut self, within: Duration) -> io::Result<()> {
        let Channel::Pipe(pipe) = &self.channel else { return Ok(()) };
        let (started, first_bytes) = (Instant::now(), ioctl_fionread(pipe)?);
        let (mut queued_bytes, mut moved) = (first_bytes, started);
        while !leaves_within(within, queued_bytes, first_bytes - queued_bytes, started.elapsed()) {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            if poll_now(pipe, PollFlags::POLLOUT)?.contains(PollFlags::POLLERR) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.limits.check(moved.elapsed())?;
            thread::sleep(QUEUE_CHECK);
            let now_bytes = ioctl_fionread(pipe)?.min(queued_bytes);
            if now_bytes < queued_bytes {
                self.limits.moved((queued_bytes - now_bytes) as usize);
                self.limits.end_wait(moved.elapsed());
                moved = Instant::now();
            }
            queued_bytes = now_bytes;
        }
        self.limits.end_wait(moved.elapsed());
        Ok(())
    }

    fn set_rate(&mut self, limit: Option<Rate>) {
        let now = self.since.elapsed();
        match (&mut self.rate_limit, limit) {
            (Some(held), Some(rate)) => held.change_to(rate, now),
            (held, limit) => *held = limit.map(|rate| RateLimit::new(rate, now)),
        }
    }
}

/// The first `bytes` of `slices`.
fn first_bytes<'a>(slices: &'a [IoSlice<'_>], bytes: usize) -> Vec<IoSlice<'a>> {
    let mut left = bytes;
    let mut cut = |slice: &'a IoSlice<'_>| {
        let length = slice.len().min(left);
        left -= length;
        IoSlice::new(&slice[..length])
    };
    slices.iter().map(&mut cut).collect()
}

/// Whether `queued_bytes` leave within the given time, at the rate at which `left_bytes` did in
/// `elapsed`.
pub fn leaves_within(
    within: Duration,
    queued_bytes: u64,
    left_bytes: u64,
    elapsed: Duration,
) -> bool {
    queued_bytes == 0
        || left_bytes > 0 && elapsed.mul_f64(queued_bytes as f64 / left_bytes as f64) <= within
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_full_pipe_does_not_hold_up_a_cancellation() {
        let (_read_end, write_end) = nix::unistd::pipe().unwrap();
        let cancel = Cancel::default();
        let mut sink = FdSink::new(write_end, cancel.clone()).unwrap();
        let writer = thread::spawn(move || sink.write_all(&vec![0; 8 << 20]));
        thread::sleep(Duration::from_millis(50));
        cancel.cancel();
        assert!(writer.join().unwrap().is_err());
    }

    #[test]
    fn a_pipe_is_waited_for_until_it_is_empty() {
        let (read_end, write_end) = nix::unistd::pipe().unwrap();
        let mut sink = FdSink::new(write_end, Cancel::default()).unwrap();
        sink.wait_until_taken(Duration::ZERO).unwrap();
        sink.write_all(&[7; 1000]).unwrap();
        let reader = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            let taken = Instant::now();
            File::from(read_end.try_clone().unwrap()).read_exact(&mut [0; 1000]).unwrap();
            (taken, read_end)
        });
        sink.wait_until_taken(Duration::ZERO).unwrap();
        let empty = Instant::now();
        let (taken, read_end) = reader.join().unwrap();
        assert!(empty >= taken);

        sink.write_all(&[7; 1000]).unwrap();
        drop(read_end);
        let error = sink.wait_until_taken(Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_leaves_soon_at_the_rate_seen_is_not_waited_for() {
        let ms = Duration::from_millis;
        assert!(leaves_within(ms(0), 0, 0, ms(0)), "nothing is there");
        assert!(!leaves_within(ms(50), 1, 0, ms(1000)), "a peer that takes nothing");
        // 100 KiB left in 20 ms: 250 KiB take 50 ms.
        assert!(leaves_within(ms(50), 250 << 10, 100 << 10, ms(20)));
        assert!(!leaves_within(ms(50), 260 << 10, 100 << 10, ms(20)));
    }

    /// Bytes that arrived at `read_end` in each `step`, until it is closed.
    fn arrivals(read_end: OwnedFd, step: Duration) -> Vec<usize> {
        let mut file = File::from(read_end);
        let (started, mut buffer) = (Instant::now(), vec![0; 1 << 20]);
        let mut steps = Vec::new();
        loop {
            let bytes = file.read(&mut buffer).unwrap();
            if bytes == 0 {
                return steps;
            }
            let at = (started.elapsed().as_nanos() / step.as_nanos()) as usize;
            steps.resize(steps.len().max(at + 1), 0);
            steps[at] += bytes;
        }
    }

    #[test]
    fn a_rate_is_kept_to_over_a_pipe_and_a_socket_until_it_is_lifted() {
        let rate = Rate::bytes_per_s(8 << 20);
        let (pipe_read, pipe_write) = nix::unistd::pipe().unwrap();
        let (a, b) = UnixStream::pair().unwrap();
        for (read_end, write_end) in [(pipe_read, pipe_write), (a.into(), b.into())] {
            let reader = thread::spawn(move || arrivals(read_end, Duration::from_secs(1)));
            let mut sink = FdSink::new(write_end, Cancel::default()).unwrap();
            let started = Instant::now();
            sink.set_rate(Some(rate));
            // In two slices, as a batch is written.
            let (head, pages) = (vec![1; 3 << 20], vec![2; 13 << 20]);
            let mut slices = [IoSlice::new(&head), IoSlice::new(&pages)];
            let mut rest = &mut slices[..];
            while !rest.is_empty() {
                let written = sink.write_vectored(rest).unwrap();
                IoSlice::advance_slices(&mut rest, written);
            }
            // 16 MiB, and half the headers that they may get.
            let ratio = started.elapsed().as_secs_f64() / (2.0 * (1.0 + 33.0 / 1448.0));
            assert!(ratio > 0.97, "{ratio:.3} of the time it should take");
            sink.set_rate(None);
            assert!(sink.rate_limit.is_none(), "the limit is lifted");
            sink.write_all(&vec![3; 8 << 20]).unwrap();
            drop(sink);
            let steps = reader.join().unwrap();
            assert_eq!(steps.iter().sum::<usize>(), 24 << 20);
            let first = steps[0] as f64 / rate.as_bytes_per_s() as f64;
            assert!(first < 1.05, "{first:.3} of what was allowed in the first second");
        }
    }

    #[test]
    fn a_cancellation_ends_the_wait_for_a_slow_rate() {
        let (_read_end, write_end) = nix::unistd::pipe().unwrap();
        let cancel = Cancel::default();
        let mut sink = FdSink::new(write_end, cancel.clone()).unwrap();
        sink.set_rate(Some(Rate::bytes_per_s(1)));
        let writer = thread::spawn(move || {
            let started = Instant::now();
            (sink.write_all(&[0; 4096]).is_err(), started.elapsed())
        });
        thread::sleep(Duration::from_millis(50));
        cancel.cancel();
        let (failed, took) = writer.join().unwrap();
        assert!(failed && took < Duration::from_secs(1), "{took:?}");
    }
}
