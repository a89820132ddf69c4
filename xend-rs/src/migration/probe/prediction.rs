//! What a migration will take, from how the guest writes.
//!
//! The first round sends all there is, V₀. While round *i* sends Vᵢ at B, the guest writes D(Vᵢ/B) pages,
//! and that is the next round. So it goes on until the rest fits into the downtime that is allowed, or
//! the next round would be hardly smaller: no rule can do better than the V at which V = D(V/B).

use std::time::Duration;

use crate::hypervisor::types::PAGE_SIZE;
use crate::migration::dirty_curve::DirtyCurve;
use crate::migration::policy::Why;
use crate::migration::rate::Rate;

/// What a page takes in the stream: its contents, and 8 bytes that say which it is.
const PAGE_BYTES: f64 = PAGE_SIZE as f64 + 8.0;
/// A round that leaves more than this of the one before does not pay.
const WORTH: f64 = 0.9;
const MAX_ROUNDS: u32 = 30;
/// So few pages are not worth another round.
const FEW_PAGES: f64 = 50.0;

/// What is to be moved, and how.
#[derive(Clone, Copy, Debug)]
pub struct Journey<'a> {
    /// How the guest writes.
    pub curve: &'a DirtyCurve,
    /// Pages that travel at least once.
    pub pages: u64,
    /// What the link carries of them.
    pub rate: Rate,
    /// The downtime that is asked for.
    pub downtime: Duration,
    /// What a stop takes besides the memory.
    pub fixed_stop: Duration,
    /// What a round takes at least: by digest, to read all memory.
    pub least_round: Duration,
}

/// What it will take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Rounds while the guest runs.
    pub rounds: u32,
    /// Bytes of memory that are sent.
    pub bytes: u64,
    /// From the first byte until the guest runs again.
    pub total: Duration,
    /// From its stop until it runs again.
    pub downtime: Duration,
    /// Why it is stopped then.
    pub why: Why,
}

impl Journey<'_> {
    /// Plays it through.
    pub fn predict(&self) -> Prediction {
        let (mut rest, mut sent, mut rounds) = (self.pages as f64, 0.0, 0);
        let mut live = Duration::ZERO;
        let why = loop {
            let next = self.written_while_sending(rest);
            sent += rest;
            live += self.round_for(rest);
            rounds += 1;
            let before = std::mem::replace(&mut rest, next);
            if self.downtime_for(rest) <= self.downtime {
                break Why::DowntimeMet;
            }
            if rest < FEW_PAGES {
                break Why::FewPagesLeft;
            }
            if rest >= before * WORTH {
                break Why::NoProgress;
            }
            if rounds == MAX_ROUNDS {
                break Why::EnoughRounds;
            }
        };
        let downtime = self.downtime_for(rest);
        Prediction {
            rounds,
            bytes: ((sent + rest) * PAGE_BYTES) as u64,
            total: live + downtime,
            downtime,
            why,
        }
    }

    /// The downtime that is left after so many rounds that no further one makes it shorter.
    pub fn least_downtime(&self) -> Duration {
        let mut rest = self.pages as f64;
        for _ in 0..1000 {
            let next = self.written_while_sending(rest);
            if next >= rest * 0.999 {
                break;
            }
            rest = next;
        }
        self.downtime_for(rest)
    }

    fn written_while_sending(&self, pages: f64) -> f64 {
        self.curve.pages_in(self.round_for(pages)).min(self.pages as f64)
    }

    fn round_for(&self, pages: f64) -> Duration {
        self.time_for(pages).max(self.least_round)
    }

    fn downtime_for(&self, pages: f64) -> Duration {
        self.fixed_stop + self.time_for(pages)
    }

    fn time_for(&self, pages: f64) -> Duration {
        self.rate.time_for((pages * PAGE_BYTES) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::dirty_curve::Point;

    const PAGES: u64 = 100_000;

    /// A guest that writes to `pages` of its pages alike, so fast that in the time that all of them
    /// take on the link it writes `ratio` times as many.
    fn uniform(ratio: f64, pages: f64, rate: Rate) -> DirtyCurve {
        let per_s = ratio * rate.as_bytes_per_s() as f64 / PAGE_BYTES;
        let point = |ms: u32| {
            let seconds = f64::from(ms) / 1000.0;
            Point {
                window: Duration::from_millis(ms.into()),
                pages: pages * (1.0 - (-per_s * seconds / pages).exp()),
            }
        };
        DirtyCurve::new((0..14).map(|level| point(10 << level)).collect())
    }

    fn journey(curve: &DirtyCurve, rate: Rate) -> Journey<'_> {
        Journey {
            curve,
            pages: PAGES,
            rate,
            downtime: Duration::from_millis(300),
            fixed_stop: Duration::from_millis(50),
            least_round: Duration::ZERO,
        }
    }

    #[test]
    fn a_guest_that_writes_nothing_takes_its_memory_and_a_stop() {
        let (curve, rate) = (DirtyCurve::default(), Rate::mbit_per_s(1000));
        let found = journey(&curve, rate).predict();
        assert_eq!((found.rounds, found.why), (1, Why::DowntimeMet));
        assert_eq!(found.downtime, Duration::from_millis(50));
        assert_eq!(found.bytes, PAGES * 4104);
        let seconds = found.total.as_secs_f64();
        assert!((seconds - (0.05 + PAGES as f64 * 4104.0 / 125e6)).abs() < 1e-3, "{seconds}");
    }

    #[test]
    fn below_the_link_it_converges_and_above_it_ends_at_the_fixed_point() {
        let rate = Rate::mbit_per_s(1000);
        let hot = PAGES as f64 / 2.0;
        let slow = uniform(0.5, hot, rate);
        let found = journey(&slow, rate).predict();
        assert_eq!(found.why, Why::DowntimeMet, "{found:?}");
        assert!(found.downtime <= Duration::from_millis(300), "{found:?}");

        let fast = uniform(2.0, hot, rate);
        let found = journey(&fast, rate).predict();
        assert_eq!(found.why, Why::NoProgress, "{found:?}");
        // x = 1 - e^(-2x) has the solution 0.797.
        let least = journey(&fast, rate).least_downtime().as_secs_f64() - 0.05;
        let expected = 0.797 * hot * PAGE_BYTES / 125e6;
        assert!((least / expected - 1.0).abs() < 0.05, "{least} s, expected {expected} s");
        assert!(found.downtime.as_secs_f64() >= least);
    }

    #[test]
    fn where_rounds_cannot_be_short_more_is_left() {
        let rate = Rate::mbit_per_s(10_000);
        let curve = uniform(0.1, PAGES as f64, rate);
        let short = journey(&curve, rate);
        let long = Journey {
            least_round: Duration::from_secs(1),
            fixed_stop: Duration::from_secs(1),
            ..short
        };
        assert_eq!(short.predict().rounds, 1);
        let found = long.predict();
        assert_eq!((found.rounds, found.why), (2, Why::NoProgress), "{found:?}");
        assert!(found.total > Duration::from_secs(3), "{found:?}");
        assert!(found.downtime > short.predict().downtime + Duration::from_secs(1));
    }

    #[test]
    fn a_faster_link_is_never_slower() {
        let base = Rate::mbit_per_s(1000);
        let curve = uniform(1.2, 20_000.0, base);
        let mut last = Duration::MAX;
        for mbit in [50, 100, 500, 1000, 2000, 10_000, 100_000] {
            let found = journey(&curve, Rate::mbit_per_s(mbit)).predict();
            assert!(found.total <= last, "{mbit} Mbit/s: {found:?}");
            last = found.total;
        }
    }
}
