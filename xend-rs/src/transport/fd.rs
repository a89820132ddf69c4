//! A stream over a descriptor that somebody else opened and will go on using: a pipe to `ssh`, a
//! socket, a save file.
//!
//! Reads and writes wait in `poll`, not in the call itself, so that a peer that stalls cannot hold
//! up a cancellation. The descriptor's own flags stay as they are, for they are shared with its
//! owner: a pipe is opened a second time, non-blocking, and a socket is told call by call.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, sendmsg};
use rustix::io::ioctl_fionread;

use super::limits::{Least, Limits};
use super::pace::Pace;
use super::token_bucket::TokenBucket;
use crate::migration::rate::Rate;
use crate::migration::{Cancel, Sink};

/// How often a wait looks whether it was cancelled.
const CANCEL_CHECK_MS: u16 = 100;
const CANCEL_CHECK: Duration = Duration::from_millis(CANCEL_CHECK_MS as u64);

/// Room asked for in a pipe, so that its two ends need not take turns so often. What an administrator
/// allows everybody; a smaller pipe works as well.
const PIPE_BYTES: i32 = 1024 * 1024;

/// Room that is waited for in a full pipe.
const FREE_PIPE_BYTES: usize = 128 * 1024;

/// How often an emptying pipe is looked at.
const QUEUE_CHECK: Duration = Duration::from_millis(5);

/// What is waited for when more is to come than has arrived: half of what a receive buffer holds at
/// first, so that the sender is not held up.
const ARRIVED_BYTES: usize = 64 * 1024;

/// What kind of descriptor it is, and with that how to use it without blocking.
#[derive(Debug)]
enum Channel {
    /// A pipe, through a file description of our own that does not block.
    Pipe(File),
    /// A socket, asked not to block call by call.
    Socket(OwnedFd),
    /// A file or device, where calls end by themselves.
    File(File),
}

impl Channel {
    fn new(fd: OwnedFd, access: &OpenOptions) -> io::Result<Self> {
        let file = File::from(fd);
        let kind = file.metadata()?.file_type();
        if kind.is_socket() {
            return Ok(Self::Socket(file.into()));
        }
        if !kind.is_fifo() {
            return Ok(Self::File(file));
        }
        let own = open_again(&file, access)?;
        // The limit is the administrator's.
        let _ = fcntl(&own, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        Ok(Self::Pipe(own))
    }

    /// Waits until the descriptor is ready for `events`, for as long as `limits` let it.
    /// `started` is when waiting began.
    fn wait(
        &self,
        events: PollFlags,
        cancel: &Cancel,
        limits: &mut Limits,
        started: Instant,
    ) -> io::Result<()> {
        let fd = match self {
            Self::Pipe(file) | Self::File(file) => file.as_fd(),
            Self::Socket(fd) => fd.as_fd(),
        };
        loop {
            if cancel.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            limits.check(started.elapsed())?;
            let mut fds = [PollFd::new(fd, events)];
            match poll(&mut fds, PollTimeout::from(CANCEL_CHECK_MS)) {
                Ok(0) | Err(nix::Error::EINTR) => {}
                Ok(_) => {
                    limits.end_wait(started.elapsed());
                    return Ok(());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Opens the pipe behind `pipe` once more, as `access` says and without blocking.
fn open_again(pipe: &File, access: &OpenOptions) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    access.clone().custom_flags(libc::O_NONBLOCK).open(path)
}

/// What `poll` says of `file` right now.
fn poll_now(file: &File, events: PollFlags) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(file.as_fd(), events)];
    poll(&mut fds, PollTimeout::ZERO)?;
    Ok(fds[0].revents().unwrap_or(PollFlags::empty()))
}

/// The sending end.
#[derive(Debug)]
pub struct FdSink {
    channel: Channel,
    cancel: Cancel,
    pace: Pace,
    limits: Limits,
    /// Where a rate is to be kept to: what may be sent, counted from when the sink was made.
    bucket: Option<TokenBucket>,
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
            bucket: None,
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
        let Some(bucket) = &mut self.bucket else { return Ok(wanted_bytes) };
        loop {
            match bucket.allow(wanted_bytes, self.since.elapsed()) {
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
        if let Some(bucket) = &mut self.bucket {
            bucket.take(written);
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
                moved = Instant::now();
            }
            queued_bytes = now_bytes;
        }
        Ok(())
    }

    fn set_rate(&mut self, limit: Option<Rate>) {
        self.bucket = limit.map(|rate| TokenBucket::new(rate, self.since.elapsed()));
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

    /// Whatever is read by then, waiting ends at `deadline`.
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
    use std::os::unix::net::UnixStream;

    use super::*;

    fn round_trip(write_end: OwnedFd, read_end: OwnedFd) {
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let writer = thread::spawn(move || {
            FdSink::new(write_end, Cancel::default()).unwrap().write_all(&sent).unwrap();
        });
        let mut received = Vec::new();
        FdSource::new(read_end, Cancel::default()).unwrap().read_to_end(&mut received).unwrap();
        writer.join().unwrap();
        assert!(received == expected);
    }

    #[test]
    fn carries_bytes_over_a_pipe_and_a_socket() {
        let (read_end, write_end) = nix::unistd::pipe().unwrap();
        round_trip(write_end, read_end);
        let (a, b) = UnixStream::pair().unwrap();
        round_trip(a.into(), b.into());
    }

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

    #[test]
    fn the_owners_descriptor_stays_blocking() {
        let (read_end, write_end) = nix::unistd::pipe().unwrap();
        let owners = write_end.try_clone().unwrap();
        let _sink = FdSink::new(write_end, Cancel::default()).unwrap();
        let flags = fcntl(&owners, FcntlArg::F_GETFL).unwrap();
        assert_eq!(flags & libc::O_NONBLOCK, 0);
        drop(read_end);
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
            assert!(sink.bucket.is_none(), "the limit is lifted");
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
