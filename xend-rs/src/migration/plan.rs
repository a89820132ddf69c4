//! The stop, predicted before it begins: how long the last pass will take.

use std::fmt;
use std::time::Duration;

use super::report::PassReport;
use crate::hypervisor::types::PAGE_SIZE;

/// What the last pass is expected to cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopPlan {
    /// Pages that will have to be read.
    pub read_pages: u64,
    /// Bytes of guest memory that are read in a second.
    pub read_bytes_per_s: u64,
    /// Pages of these that are expected to travel.
    pub changed_pages: u64,
    /// Bytes of pages that are sent in a second.
    pub sent_bytes_per_s: u64,
}

impl StopPlan {
    /// A plan from the rounds so far, for a last pass that reads `read_pages`, of which
    /// `changed_pages` travel. `None` if nothing was measured.
    ///
    /// How fast memory is read is first known from round 0, where all of it is, and better from the
    /// largest round after that: mappings are made by then. How fast pages leave is known from round
    /// 0, where there were enough of them.
    pub fn new(rounds: &[PassReport], read_pages: u64, changed_pages: u64) -> Option<Self> {
        let (first, later) = rounds.split_first()?;
        let largest = later.iter().max_by_key(|round| round.read_pages);
        let enough = |round: &&PassReport| round.read_pages * 4 >= first.read_pages;
        let read = largest.filter(enough).unwrap_or(first);
        Some(Self {
            read_pages,
            read_bytes_per_s: read.read_bytes_per_s()?,
            changed_pages,
            sent_bytes_per_s: first.sent_bytes_per_s()?,
        })
    }

    /// Reading memory and finding what differs.
    pub fn scan(&self) -> Duration {
        time_for(self.read_pages, self.read_bytes_per_s)
    }

    /// Sending what does.
    pub fn send(&self) -> Duration {
        time_for(self.changed_pages, self.sent_bytes_per_s)
    }

    /// Both, as if one began when the other has ended. In truth they overlap.
    pub fn total(&self) -> Duration {
        self.scan() + self.send()
    }
}

impl fmt::Display for StopPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the last pass will take about {} ms: {} ms to read {} MiB at {} MiB/s, {} ms to send \
             {} pages at {} MiB/s",
            self.total().as_millis(),
            self.scan().as_millis(),
            mib(self.read_pages * PAGE_SIZE as u64),
            mib(self.read_bytes_per_s),
            self.send().as_millis(),
            self.changed_pages,
            mib(self.sent_bytes_per_s),
        )
    }
}

fn time_for(pages: u64, bytes_per_s: u64) -> Duration {
    let bytes = (pages * PAGE_SIZE as u64) as f64;
    Duration::from_secs_f64(bytes / (bytes_per_s.max(1) as f64))
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(read_pages: u64, reading_ms: u64, data_pages: u64, ms: u64) -> PassReport {
        PassReport {
            read_pages,
            reading: Duration::from_millis(reading_ms),
            data_pages,
            duration: Duration::from_millis(ms),
            ..PassReport::default()
        }
    }

    #[test]
    fn a_plan_is_made_of_what_was_measured() {
        // 256 MiB read in half a second and sent in two; then read again in a quarter.
        let rounds = [round(65_536, 500, 65_536, 2000), round(65_536, 250, 100, 260)];
        let plan = StopPlan::new(&rounds[..1], 65_536, 12_800).unwrap();
        assert_eq!(plan.scan(), Duration::from_millis(500));
        assert_eq!(plan.send().as_millis(), 390);
        let plan = StopPlan::new(&rounds, 65_536, 12_800).unwrap();
        assert_eq!(plan.scan(), Duration::from_millis(250));
        assert_eq!(
            plan.to_string(),
            "the last pass will take about 640 ms: 250 ms to read 256 MiB at 1024 MiB/s, 390 ms \
             to send 12800 pages at 128 MiB/s"
        );
        // A coarse round is too small to tell.
        let rounds = [rounds[0], round(40, 90, 40, 91)];
        assert_eq!(StopPlan::new(&rounds, 65_536, 0).unwrap().scan().as_millis(), 500);
    }

    #[test]
    fn nothing_measured_nothing_promised() {
        assert_eq!(StopPlan::new(&[], 10, 10), None);
        assert_eq!(StopPlan::new(&[round(0, 0, 0, 0)], 10, 10), None);
    }
}
