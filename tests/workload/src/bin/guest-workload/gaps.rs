//! How long this program did not run, as its own clocks tell it.

use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// The same moment on the three clocks a program may live by. They differ after a migration:
/// which of them count the time the guest was stopped is the guest kernel's choice.
#[derive(Clone, Copy)]
pub(crate) struct Clocks {
    pub(crate) monotonic_ns: u64,
    pub(crate) boottime_ns: u64,
    pub(crate) realtime_ns: u64,
}

impl Clocks {
    pub(crate) fn read() -> nix::Result<Self> {
        Ok(Self {
            monotonic_ns: read_ns(ClockId::CLOCK_MONOTONIC)?,
            boottime_ns: read_ns(ClockId::CLOCK_BOOTTIME)?,
            realtime_ns: read_ns(ClockId::CLOCK_REALTIME)?,
        })
    }

    fn all(self) -> [u64; 3] {
        [self.monotonic_ns, self.boottime_ns, self.realtime_ns]
    }
}

fn read_ns(clock: ClockId) -> nix::Result<u64> {
    let time = clock_gettime(clock)?;
    // A guest whose wall clock is before 1970 has a clock fault, but that is not ours to judge.
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Ok(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0))
}

/// The longest gap on each clock, and how often a clock ran backwards.
#[derive(Clone, Copy, Default)]
struct Longest {
    gap_ns: [u64; 3],
    backsteps: u64,
}

impl Longest {
    fn observe(&mut self, before: [u64; 3], after: [u64; 3]) {
        for (clock, longest) in self.gap_ns.iter_mut().enumerate() {
            match after[clock].checked_sub(before[clock]) {
                Some(gap) => *longest = gap.max(*longest),
                None => self.backsteps += 1,
            }
        }
    }

    fn ms(&self, clock: usize) -> u64 {
        self.gap_ns[clock].div_ceil(1_000_000)
    }
}

/// Gaps between one tick and the next.
pub(crate) struct Gaps {
    last: Clocks,
    since_start: Longest,
    since_reset: Longest,
}

impl Gaps {
    pub(crate) fn new(now: Clocks) -> Self {
        Self { last: now, since_start: Longest::default(), since_reset: Longest::default() }
    }

    /// To be called at every tick.
    pub(crate) fn observe(&mut self, now: Clocks) {
        self.since_start.observe(self.last.all(), now.all());
        self.since_reset.observe(self.last.all(), now.all());
        self.last = now;
    }

    /// Forgets the gaps so far, except for the figures since the start.
    pub(crate) fn reset(&mut self) {
        self.since_reset = Longest::default();
    }

    /// Longest gap since the last reset on CLOCK_MONOTONIC, rounded up.
    pub(crate) fn longest_ms(&self) -> u64 {
        self.since_reset.ms(0)
    }

    /// Adds the figures to a report.
    pub(crate) fn add_to(&self, report: &mut Value) {
        report["longest_gap_ms"] = json!(self.since_reset.ms(0));
        report["longest_gap_boottime_ms"] = json!(self.since_reset.ms(1));
        report["longest_gap_realtime_ms"] = json!(self.since_reset.ms(2));
        report["clock_backsteps"] = json!(self.since_reset.backsteps);
        report["since_start"] = json!({
            "longest_gap_ms": self.since_start.ms(0),
            "longest_gap_boottime_ms": self.since_start.ms(1),
            "longest_gap_realtime_ms": self.since_start.ms(2),
            "clock_backsteps": self.since_start.backsteps,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64, boottime_ms: u64, realtime_ms: u64) -> Clocks {
        Clocks {
            monotonic_ns: monotonic_ms * 1_000_000,
            boottime_ns: boottime_ms * 1_000_000,
            realtime_ns: realtime_ms * 1_000_000,
        }
    }

    #[test]
    fn each_clock_has_its_own_longest_gap_and_reset_keeps_those_since_the_start() {
        let mut gaps = Gaps::new(at(0, 0, 5000));
        gaps.observe(at(4, 900, 6000));
        gaps.reset();
        gaps.observe(at(10, 903, 5999));
        let mut report = json!({});
        gaps.add_to(&mut report);
        assert_eq!(report["longest_gap_ms"], 6);
        assert_eq!(report["longest_gap_boottime_ms"], 3);
        assert_eq!(report["longest_gap_realtime_ms"], 0);
        assert_eq!(report["clock_backsteps"], 1);
        assert_eq!(report["since_start"]["longest_gap_ms"], 6);
        assert_eq!(report["since_start"]["longest_gap_boottime_ms"], 900);
        assert_eq!(report["since_start"]["longest_gap_realtime_ms"], 1000);
    }

    #[test]
    fn the_clocks_can_be_read_and_move_on() {
        let before = Clocks::read().expect("clocks");
        let after = Clocks::read().expect("clocks");
        assert!(after.monotonic_ns >= before.monotonic_ns && before.realtime_ns > 0);
    }
}
