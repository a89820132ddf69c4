//! What will become of a migration, said when it has hardly begun.
//!
//! How the guest writes is known from the look that the engine takes before round 0. How fast the link
//! is can only be known from sending, so the first seconds of round 0 are measured, and nothing has to be
//! sent for the measurement alone. What counts is what the receiver says that it has read: what was sent
//! may be in queues, of which there are more than one knows.

use std::time::{Duration, Instant};

use crate::migration::dirty_curve::DirtyCurve;
use crate::migration::policy::adaptive::Settings;
use crate::migration::policy::prediction::{Journey, Prediction, predict};
use crate::migration::policy::{Adaptive, Policy};
use crate::migration::probe::{Census, Probe};
use crate::migration::progress::{Progress, Stage};
use crate::migration::rate::Rate;

/// What is sent by then fills buffers, and says nothing of the link.
const RUN_UP: Duration = Duration::from_millis(500);
/// How long the link is measured, unless round 0 is over before.
const MEASURE: Duration = Duration::from_millis(1500);
/// A shorter measurement says nothing.
const MIN_MEASURE: Duration = Duration::from_millis(100);
/// Of the first round's limit: what comes near it says how fast the limit is, and not the link.
const AT_THE_LIMIT: f64 = 0.9;

/// Waits until enough is known.
#[derive(Debug)]
pub(super) struct Foresight {
    settings: Settings,
    /// The receiver makes pages of zeroes itself.
    zero_pages: bool,
    seen: Option<Seen>,
    began: Option<Instant>,
    /// The end of the run-up.
    from: Option<Start>,
}

/// Where the measurement begins.
#[derive(Clone, Copy, Debug)]
struct Start {
    at: Instant,
    sent_bytes: u64,
    /// If the receiver says that.
    taken_bytes: Option<u64>,
}

/// What is known before round 0.
#[derive(Debug)]
struct Seen {
    curve: DirtyCurve,
    memory_pages: u64,
}

/// What is said.
#[derive(Clone, Copy, Debug)]
pub(in crate::toolstack::migrate) struct Foretold {
    /// From the beginning of round 0.
    pub(in crate::toolstack::migrate) prediction: Prediction,
    /// What the link was taken to carry.
    pub(in crate::toolstack::migrate) link: Rate,
    /// When round 0 began.
    pub(in crate::toolstack::migrate) began: Instant,
}

impl Foresight {
    pub(super) fn new(settings: Settings, zero_pages: bool) -> Self {
        Self { settings, zero_pages, seen: None, began: None, from: None }
    }

    /// How the guest writes, and what it has.
    pub(super) fn probed(&mut self, probe: &Probe, census: &Census) {
        let memory_pages =
            if self.zero_pages { census.nonzero_pages() } else { census.populated_pages };
        self.seen = Some(Seen { curve: probe.curve.clone(), memory_pages });
    }

    /// How far it is, and what the receiver has read, if it says that. Says once what is to be expected,
    /// as soon as that is known.
    pub(super) fn progress(
        &mut self,
        now: Instant,
        progress: &Progress,
        taken_bytes: Option<u64>,
    ) -> Option<Foretold> {
        let seen = self.seen.as_ref()?;
        let began = *self.began.get_or_insert(now);
        if progress.stage == (Stage::PreCopy { round: 0 }) && now - began < RUN_UP {
            self.from = None;
            return None;
        }
        let sent_bytes = progress.sent_bytes;
        let from = *self.from.get_or_insert(Start { at: now, sent_bytes, taken_bytes });
        let elapsed = now - from.at;
        let is_over = progress.stage != (Stage::PreCopy { round: 0 });
        if elapsed < if is_over { MIN_MEASURE } else { MEASURE } {
            return None;
        }
        let moved_bytes = match (from.taken_bytes, taken_bytes) {
            (Some(before), Some(taken)) => taken.saturating_sub(before),
            _ => sent_bytes.saturating_sub(from.sent_bytes),
        };
        let measured = Rate::of(moved_bytes, elapsed)?;
        let policy = Adaptive::new(self.settings);
        let link = match policy.first().limit {
            Some(limit) if is_nearly(measured, limit) => {
                self.settings.bandwidth_max.unwrap_or(measured)
            }
            _ => measured,
        };
        let journey = Journey::new(seen.memory_pages, link, &self.settings);
        let prediction = predict(&policy, &seen.curve, &journey);
        self.seen = None;
        Some(Foretold { prediction, link, began })
    }
}

fn is_nearly(rate: Rate, limit: Rate) -> bool {
    rate.as_bytes_per_s() as f64 >= AT_THE_LIMIT * limit.as_bytes_per_s() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::PfnSet;
    use crate::migration::Tracking;

    fn idle() -> (Probe, Census) {
        let probe = Probe {
            tracking: Tracking::LogDirty,
            length: Duration::from_secs(1),
            windows: 20,
            pause: Duration::ZERO,
            curve: DirtyCurve::default(),
            written: PfnSet::empty(1),
            hot_pages: 0,
            hottest: Vec::new(),
            cut_short: false,
            trace: None,
        };
        let census =
            Census { populated_pages: 20_000, zero_pages: 10_000, duration: Duration::ZERO };
        (probe, census)
    }

    /// Sends 4 MB/s with a megabyte at once at the beginning, and gives what is foretold, and when.
    fn foretell(settings: Settings, zero_pages: bool, probed: bool) -> Option<(u64, Foretold)> {
        foretell_of(settings, zero_pages, probed, |_| None)
    }

    /// The same, with a receiver that has read so much by when.
    fn foretell_of(
        settings: Settings,
        zero_pages: bool,
        probed: bool,
        taken_bytes: impl Fn(u64) -> Option<u64>,
    ) -> Option<(u64, Foretold)> {
        let mut foresight = Foresight::new(settings, zero_pages);
        let (probe, census) = idle();
        if probed {
            foresight.probed(&probe, &census);
        }
        let start = Instant::now();
        (0..100).find_map(|tick| {
            let at_ms = tick * 50;
            let progress = Progress {
                stage: Stage::PreCopy { round: 0 },
                done_pages: 0,
                data_pages: 0,
                total_pages: 20_000,
                sent_bytes: 1_000_000 + at_ms * 4000,
            };
            let now = start + Duration::from_millis(at_ms);
            let foretold = foresight.progress(now, &progress, taken_bytes(at_ms));
            foretold.map(|foretold| (at_ms, foretold))
        })
    }

    #[test]
    fn the_first_seconds_say_how_long_it_will_take() {
        let (at_ms, foretold) = foretell(Settings::default(), true, true).unwrap();
        assert_eq!(at_ms, 2000);
        assert_eq!(foretold.link, Rate::bytes_per_s(4_000_000));
        // 10,000 pages that are not zero.
        let seconds = foretold.prediction.total.as_secs_f64();
        assert!((10.0..11.5).contains(&seconds), "{seconds}");
        let (_, all) = foretell(Settings::default(), false, true).unwrap();
        assert!(all.prediction.total > foretold.prediction.total.mul_f64(1.8));
    }

    #[test]
    fn what_waits_in_queues_is_not_counted() {
        let reads_slowly = |at_ms| Some(at_ms * 3000);
        let (at_ms, foretold) = foretell_of(Settings::default(), true, true, reads_slowly).unwrap();
        assert_eq!((at_ms, foretold.link), (2000, Rate::bytes_per_s(3_000_000)));
        // One that begins to say so later than that is not believed by half.
        let late = |at_ms| (at_ms > 1000).then_some(at_ms * 3000);
        let (_, foretold) = foretell_of(Settings::default(), true, true, late).unwrap();
        assert_eq!(foretold.link, Rate::bytes_per_s(4_000_000));
    }

    #[test]
    fn a_limit_is_not_taken_for_the_link() {
        let settings = Settings {
            bandwidth_min: Some(Rate::mbit_per_s(32)),
            bandwidth_max: Some(Rate::mbit_per_s(64)),
            ..Settings::default()
        };
        let (_, foretold) = foretell(settings, true, true).unwrap();
        assert_eq!(foretold.link, Rate::mbit_per_s(64));
    }

    #[test]
    fn who_has_not_looked_says_nothing() {
        assert!(foretell(Settings::default(), true, false).is_none());
    }
}
