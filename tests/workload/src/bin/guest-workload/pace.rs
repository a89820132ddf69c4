//! Pacing the writer, and the rate it really reached.
//!
//! Integers only: on an emulator that damages vector registers a float would make the pace, and
//! the report on it, nonsense.

use std::collections::VecDeque;

const NS_PER_S: u64 = 1_000_000_000;
/// After a stall no more than this much is caught up, or a migrated guest would arrive with a
/// burst that no working set makes.
const MAX_DEBT_NS: u64 = 100_000_000;

/// Turns elapsed time into pages due.
pub(crate) struct Pace {
    pages_per_s: u64,
    last_ns: u64,
    /// Pages due, in units of 1e-9 page.
    debt: u64,
}

impl Pace {
    /// `pages_per_s` is at most [`Self::MAX_PAGES_PER_S`].
    pub(crate) fn new(pages_per_s: u64, now_ns: u64) -> Self {
        Self { pages_per_s, last_ns: now_ns, debt: 0 }
    }

    /// Far above what one CPU writes, and low enough that the arithmetic cannot overflow.
    pub(crate) const MAX_PAGES_PER_S: u64 = 10_000_000;

    /// Adds what became due since the last call.
    pub(crate) fn accrue(&mut self, now_ns: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.last_ns).min(MAX_DEBT_NS);
        self.last_ns = now_ns;
        // At least two pages, or a slow pace would lose the fraction beyond the page that is due.
        let cap = (self.pages_per_s * MAX_DEBT_NS).max(2 * NS_PER_S);
        self.debt = (self.debt + elapsed_ns * self.pages_per_s).min(cap);
    }

    /// Whether at least one page is due.
    pub(crate) fn is_due(&self) -> bool {
        self.debt >= NS_PER_S
    }

    /// One page was written.
    pub(crate) fn pay(&mut self) {
        self.debt = self.debt.saturating_sub(NS_PER_S);
    }
}

/// Writes per second over the last few seconds.
pub(crate) struct Rate {
    /// (time, writes up to then), oldest first.
    samples: VecDeque<(u64, u64)>,
}

impl Rate {
    const WINDOW_NS: u64 = 5 * NS_PER_S;
    const SAMPLE_NS: u64 = NS_PER_S / 4;

    pub(crate) fn new(now_ns: u64) -> Self {
        Self { samples: VecDeque::from([(now_ns, 0)]) }
    }

    /// Takes note of how many writes there were up to now.
    pub(crate) fn observe(&mut self, now_ns: u64, writes: u64) {
        if self.samples.back().is_some_and(|last| now_ns < last.0 + Self::SAMPLE_NS) {
            return;
        }
        self.samples.push_back((now_ns, writes));
        while self.samples.len() > 2 && self.samples[1].0 + Self::WINDOW_NS <= now_ns {
            self.samples.pop_front();
        }
    }

    /// Mean writes per second over the window.
    pub(crate) fn writes_per_s(&self, now_ns: u64, writes: u64) -> u64 {
        let (then_ns, before) = self.samples.front().copied().unwrap_or((now_ns, writes));
        let elapsed_ms = now_ns.saturating_sub(then_ns) / 1_000_000;
        ((writes - before) * 1000 + elapsed_ms / 2).checked_div(elapsed_ms).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the writer with a step of `step_ns` and returns the pages written.
    fn written(pages_per_s: u64, step_ns: u64, steps: u64) -> u64 {
        let mut pace = Pace::new(pages_per_s, 0);
        let mut written = 0;
        for step in 1..=steps {
            pace.accrue(step * step_ns);
            while pace.is_due() {
                pace.pay();
                written += 1;
            }
        }
        written
    }

    #[test]
    fn any_rate_is_met_exactly_in_small_steps() {
        for rate in [0, 1, 3, 200, 3840, 100_000] {
            assert_eq!(written(rate, 4_000_000, 2500), rate * 10);
        }
    }

    #[test]
    fn a_long_stall_is_caught_up_by_a_tenth_of_a_second_at_most() {
        assert_eq!(written(1000, 30 * NS_PER_S, 1), 100);
        assert_eq!(written(1, 30 * NS_PER_S, 1), 0);
    }

    #[test]
    fn the_largest_rate_does_not_overflow() {
        let mut pace = Pace::new(Pace::MAX_PAGES_PER_S, 0);
        pace.accrue(u64::MAX / 2);
        pace.accrue(u64::MAX);
        assert!(pace.is_due());
    }

    #[test]
    fn the_rate_forgets_what_is_older_than_the_window() {
        let mut rate = Rate::new(0);
        let (mut now_ns, mut writes) = (0, 0);
        for step in 0..400 {
            now_ns += NS_PER_S / 10;
            writes += if step < 200 { 100 } else { 20 };
            rate.observe(now_ns, writes);
        }
        assert_eq!(rate.writes_per_s(now_ns, writes), 200);
    }

    #[test]
    fn a_rate_is_known_before_the_window_is_full() {
        let rate = Rate::new(0);
        assert_eq!(rate.writes_per_s(NS_PER_S / 2, 50), 100);
        assert_eq!(rate.writes_per_s(0, 0), 0);
    }
}
