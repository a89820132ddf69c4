//! What a transfer did, measured: the account that is given when it is over.

use std::fmt;
use std::time::Duration;

use super::plan::StopPlan;
use super::policy::Why;
use super::rate::Rate;
use super::tracker::Tracking;
use crate::hypervisor::types::PAGE_SIZE;

/// One pass over a set of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassReport {
    /// Pages whose contents were sent.
    pub data_pages: u64,
    /// Pages of zeroes that were sent without contents.
    pub zero_pages: u64,
    /// Pages that were sent as a word only: no memory behind them.
    pub empty_pages: u64,
    /// Pages that could not be read, and are left to the last pass.
    pub owed_pages: u64,
    /// Pages that were written again before their turn and left to the next pass.
    pub put_off_pages: u64,
    /// How often Xen was asked what is written, to put that off.
    pub looks: u32,
    /// Pages that are written so often that they were left to a later pass.
    pub held_back_pages: u64,
    /// Pages whose contents were read, to be sent or to be compared with what was sent.
    pub read_pages: u64,
    /// How long mapping and reading them took, without any waiting for the transport.
    pub reading: Duration,
    /// When it began, from the beginning of the save.
    pub began: Duration,
    /// From its beginning until its first pages could be read. `None` if there were none.
    pub lead: Option<Duration>,
    /// How long the pass took, to the last byte handed to the transport.
    pub duration: Duration,
    /// How fast its bytes were allowed to travel.
    pub limit: Option<Rate>,
}

impl PassReport {
    /// Bytes of guest memory read in a second, by all readers together; `None` if there were none.
    pub fn read_bytes_per_s(&self) -> Option<u64> {
        let seconds = self.reading.as_secs_f64();
        let bytes = (self.read_pages * PAGE_SIZE as u64) as f64;
        (self.read_pages > 0 && seconds > 0.0).then(|| (bytes / seconds) as u64)
    }

    /// Bytes of pages sent in a second; `None` if there were none.
    pub fn sent_bytes_per_s(&self) -> Option<u64> {
        let seconds = self.duration.as_secs_f64();
        let bytes = (self.data_pages * PAGE_SIZE as u64) as f64;
        (self.data_pages > 0 && seconds > 0.0).then(|| (bytes / seconds) as u64)
    }
}

/// The account of a save or an outgoing migration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaveReport {
    /// How writes were tracked. [`Tracking::Auto`] until that was decided.
    pub tracking: Tracking,
    /// The live rounds, in order. Empty where the guest was suspended first.
    pub rounds: Vec<PassReport>,
    /// From asking for the suspend to having it.
    pub suspend: Duration,
    /// What the last pass was expected to cost, where all memory is read in it.
    pub stop_plan: Option<StopPlan>,
    /// Why live copying ended. `None` where there was none.
    pub ends: Option<Why>,
    /// The pass after the suspend.
    pub last_pass: PassReport,
    /// Reading and sending the state of the suspended guest.
    pub state: Duration,
    /// From the first byte to the last.
    pub total: Duration,
    /// Bytes handed to the transport.
    pub sent_bytes: u64,
}

impl SaveReport {
    /// Pages whose contents were sent, in all passes together.
    pub fn data_pages(&self) -> u64 {
        self.rounds.iter().map(|r| r.data_pages).sum::<u64>() + self.last_pass.data_pages
    }

    /// How long the guest stood still on this side: suspend, last pass and state.
    pub fn stopped(&self) -> Duration {
        self.suspend + self.last_pass.duration + self.state
    }
}

impl fmt::Display for SaveReport {
    /// One line, in the form that the log, the demo and the benchmark read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rounds={} pages={} bytes={} total_ms={} stopped_ms={} (suspend_ms={} last_pass_ms={} \
             last_pass_pages={} state_ms={})",
            self.rounds.len(),
            self.data_pages(),
            self.sent_bytes,
            self.total.as_millis(),
            self.stopped().as_millis(),
            self.suspend.as_millis(),
            self.last_pass.duration.as_millis(),
            self.last_pass.data_pages,
            self.state.as_millis(),
        )
    }
}

/// The account of a restore or an incoming migration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Pages whose contents arrived, counting repeats.
    pub data_pages: u64,
    /// Pages of zeroes that came without contents, counting repeats.
    pub zero_pages: u64,
    /// Pages that differed where the sender asked for a comparison.
    pub differing_pages: u64,
    /// Bytes of the image.
    pub received_bytes: u64,
    /// From the first byte to the last.
    pub total: Duration,
    /// From the last byte to a domain that can be unpaused.
    pub finish: Duration,
}

impl fmt::Display for RestoreReport {
    /// One line, in the form that the log, the demo and the benchmark read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pages={} bytes={} total_ms={} finish_ms={} differing={}",
            self.data_pages,
            self.received_bytes,
            self.total.as_millis(),
            self.finish.as_millis(),
            self.differing_pages,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_save_line_is_stable() {
        let pass = |data_pages, ms| PassReport {
            data_pages,
            duration: Duration::from_millis(ms),
            ..PassReport::default()
        };
        let report = SaveReport {
            rounds: vec![pass(100, 7), pass(10, 2)],
            suspend: Duration::from_millis(3),
            last_pass: pass(5, 4),
            state: Duration::from_millis(1),
            total: Duration::from_millis(20),
            sent_bytes: 500_000,
            ..SaveReport::default()
        };
        assert_eq!(
            report.to_string(),
            "rounds=2 pages=115 bytes=500000 total_ms=20 stopped_ms=8 (suspend_ms=3 last_pass_ms=4 \
             last_pass_pages=5 state_ms=1)"
        );
    }
}
