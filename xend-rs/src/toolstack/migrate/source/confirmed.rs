//! A sink that knows what the receiver has read.
//!
//! Between a sender and a receiver there are pipes, sockets, other programs and switches, each with a
//! queue, and together they hold seconds of a slow link. What waits there when the guest is suspended
//! makes it wait. Only the other end knows what has come through, and a xend says it.

use std::io::{self, IoSlice, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::migration::rate::Rate;
use crate::migration::{Cancel, Sink};
use crate::toolstack::migrate::ear::Ear;
use crate::transport::{FdSink, leaves_within};

/// How often it is looked what the receiver has read.
const CHECK: Duration = Duration::from_millis(10);

/// A way to a receiver that may say what it has read.
pub(super) struct ConfirmedSink<'a> {
    sink: &'a mut FdSink,
    ear: &'a Ear,
    stop: &'a Cancel,
    /// From the same point on as the receiver counts.
    sent_bytes: u64,
    /// One that reads nothing for so long will not.
    limit: Duration,
}

impl<'a> ConfirmedSink<'a> {
    /// Goes on where `sink` is, of which the receiver has been sent `sent_bytes` since it counts.
    pub(super) fn new(
        sink: &'a mut FdSink,
        ear: &'a Ear,
        stop: &'a Cancel,
        sent_bytes: u64,
        limit: Duration,
    ) -> Self {
        Self { sink, ear, stop, sent_bytes, limit }
    }
}

impl Write for ConfirmedSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = self.sink.write_vectored(slices)?;
        self.sent_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl Sink for ConfirmedSink<'_> {
    fn wait_until_taken(&mut self, within: Duration) -> io::Result<()> {
        self.sink.wait_until_taken(within)?;
        let Some(first_bytes) = self.ear.taken_bytes() else { return Ok(()) };
        let (started, mut last_bytes, mut last_at) = (Instant::now(), first_bytes, Instant::now());
        loop {
            let taken_bytes = self.ear.taken_bytes().unwrap_or_default();
            let waiting_bytes = self.sent_bytes.saturating_sub(taken_bytes);
            let left_bytes = taken_bytes.saturating_sub(first_bytes);
            if leaves_within(within, waiting_bytes, left_bytes, started.elapsed()) {
                return Ok(());
            }
            if taken_bytes > last_bytes {
                (last_bytes, last_at) = (taken_bytes, Instant::now());
            } else if last_at.elapsed() >= self.limit {
                let text = format!("it has read nothing for {} s", self.limit.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            // A receiver that falls silent ends the transfer, too.
            if self.stop.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            thread::sleep(CHECK);
        }
    }
    fn set_rate(&mut self, limit: Option<Rate>) {
        self.sink.set_rate(limit);
    }
}
