//! How long a peer is waited for.
//!
//! That something moves now and then proves no good will: a byte every few seconds would hold memory
//! here, or a suspended guest there, for ever.

use std::io;
use std::time::{Duration, Instant};

/// The least that a peer has to get done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Least {
    /// So many bytes
    pub bytes: u64,
    /// in so much time of waiting for it.
    pub within: Duration,
}

/// When waiting ends. Without any limit it does not.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// A single wait.
    pub(super) silence: Option<Duration>,
    /// Everything.
    pub(super) deadline: Option<Instant>,
    least: Option<Least>,
    /// All waits that have ended.
    waited: Duration,
    /// What had been waited when the bytes were last counted anew, and how many have moved since.
    counted_from: Duration,
    moved_bytes: u64,
}

impl Limits {
    pub(super) fn set_least(&mut self, least: Option<Least>) {
        (self.least, self.counted_from, self.moved_bytes) = (least, self.waited, 0);
    }

    /// Notes that a call moved `bytes`.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.moved_bytes += bytes as u64;
    }

    /// Notes that a wait has ended that took so long.
    pub(super) fn end_wait(&mut self, took: Duration) {
        self.waited += took;
    }

    /// Whether the wait that has taken `waiting` so far may go on.
    ///
    /// # Errors
    /// `TimedOut` if not.
    pub(super) fn check(&mut self, waiting: Duration) -> io::Result<()> {
        if let Some(limit) = self.silence.filter(|&limit| waiting >= limit) {
            return late(format!("nothing moved for {} s", limit.as_secs()));
        }
        self.check_deadline()?;
        let Some(least) = self.least else { return Ok(()) };
        let waited = self.waited + waiting;
        // A wait that was looked at may be told shorter when it has ended.
        if waited.saturating_sub(self.counted_from) < least.within {
            return Ok(());
        }
        if self.moved_bytes < least.bytes {
            let (bytes, seconds) = (self.moved_bytes, least.within.as_secs());
            return late(format!("only {bytes} bytes moved in {seconds} s"));
        }
        (self.counted_from, self.moved_bytes) = (waited, 0);
        Ok(())
    }

    /// Whether there is time left for anything, also for what need not be waited for.
    ///
    /// # Errors
    /// `TimedOut` if not.
    pub(super) fn check_deadline(&self) -> io::Result<()> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => late("it took too long".to_owned()),
            _ => Ok(()),
        }
    }
}

fn late(text: String) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::TimedOut, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn without_limits_nothing_is_late() {
        Limits::default().check(S * 1_000_000).unwrap();
    }

    #[test]
    fn silence_and_a_deadline_end_a_wait() {
        let mut limits = Limits { silence: Some(S * 30), ..Limits::default() };
        limits.check(S * 29).unwrap();
        assert_eq!(limits.check(S * 30).unwrap_err().to_string(), "nothing moved for 30 s");
        let mut limits = Limits { deadline: Some(Instant::now()), ..Limits::default() };
        assert_eq!(limits.check(Duration::ZERO).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_wait_that_ends_shorter_than_it_was_looked_at_is_no_error() {
        let mut limits = Limits::default();
        limits.set_least(Some(Least { bytes: 1000, within: S * 60 }));
        limits.moved(5000);
        limits.end_wait(Duration::from_millis(59_950));
        // The bytes are counted anew from the middle of this wait on.
        limits.check(Duration::from_millis(100)).unwrap();
        limits.check(Duration::ZERO).unwrap();
    }

    #[test]
    fn drops_are_told_from_a_flow_in_time_that_was_waited_for() {
        let least = Least { bytes: 1000, within: S * 60 };
        let mut limits = Limits { silence: Some(S * 30), ..Limits::default() };
        limits.set_least(Some(least));
        // Enough, once in a while; the last wait goes over the end of one window.
        for _ in 0..10 {
            limits.moved(600);
            limits.check(S * 25).unwrap();
            limits.end_wait(S * 25);
        }
        // A drop each time.
        let mut drops = 0;
        let late = loop {
            limits.moved(1);
            drops += 1;
            if let Err(error) = limits.check(S * 25) {
                break error;
            }
            limits.end_wait(S * 25);
        };
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(drops < 8, "{drops} drops were waited for");
    }
}
