//! How fast the next round may be sent.
//!
//! The law of Clark et al. (NSDI 2005, section 5.3): the first round is as gentle as the
//! administrator asks for; each one after it is faster by a constant than the guest wrote during the
//! one before, so that it gains on the guest without taking more of the network than that needs. The
//! paper's end of pre-copy, when the law asks for more than the maximum, is left to the stop rule: a
//! guest that outruns the maximum for one round may be quiet in the next.

use super::super::Round;
use super::Settings;
use super::estimate::PAGE_BYTES;
use crate::migration::rate::Rate;

/// What a round is faster by than the guest.
const HEADROOM_MBIT_PER_S: u64 = 50;

/// The limit of round 0.
pub(super) fn first(settings: &Settings) -> Option<Rate> {
    let Settings { bandwidth_min, bandwidth_max, .. } = *settings;
    match (bandwidth_min, bandwidth_max) {
        (Some(min), Some(max)) => Some(min.min(max)),
        (min, max) => min.or(max),
    }
}

/// The limit of the round after `last`, in which the guest wrote `dirtied_pages` pages.
pub(super) fn next(settings: &Settings, last: &Round, dirtied_pages: u64) -> Option<Rate> {
    let Some(min) = settings.bandwidth_min else { return settings.bandwidth_max };
    let dirtied_bytes = dirtied_pages.saturating_mul(PAGE_BYTES);
    let dirtying = Rate::of(dirtied_bytes, last.duration).map_or(0, Rate::as_bytes_per_s);
    let headroom = Rate::mbit_per_s(HEADROOM_MBIT_PER_S).as_bytes_per_s();
    let asked = Rate::bytes_per_s(dirtying.saturating_add(headroom)).max(min);
    Some(settings.bandwidth_max.map_or(asked, |max| asked.min(max)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MBIT: fn(u64) -> Rate = Rate::mbit_per_s;

    fn settings(min: Option<u64>, max: Option<u64>) -> Settings {
        Settings {
            bandwidth_min: min.map(MBIT),
            bandwidth_max: max.map(MBIT),
            ..Settings::default()
        }
    }

    /// The limit after a round of 1 s in which the guest wrote at `mbit`.
    fn after(settings: &Settings, mbit: u64) -> Option<u64> {
        let last = Round { duration: Duration::from_secs(1), ..Round::default() };
        let pages = MBIT(mbit).as_bytes_per_s() / PAGE_BYTES;
        next(settings, &last, pages).map(|rate| (rate.as_bytes_per_s() + 62_500) / 125_000)
    }

    #[test]
    fn it_starts_at_the_minimum_and_follows_the_guest_up_to_the_maximum() {
        let law = settings(Some(100), Some(500));
        assert_eq!(first(&law), Some(MBIT(100)));
        assert_eq!(after(&law, 10), Some(100));
        assert_eq!(after(&law, 80), Some(130));
        assert_eq!(after(&law, 300), Some(350));
        assert_eq!(after(&law, 449), Some(499));
        assert_eq!(after(&law, 600), Some(500));
        let upside_down = settings(Some(700), Some(500));
        assert_eq!(first(&upside_down), Some(MBIT(500)));
        assert_eq!(after(&upside_down, 10), Some(500));
    }

    #[test]
    fn without_a_minimum_there_is_only_the_maximum_if_any() {
        for mbit in [0, 600] {
            assert_eq!(after(&settings(None, Some(500)), mbit), Some(500));
            assert_eq!(after(&settings(None, None), mbit), None);
        }
        assert_eq!(first(&settings(None, Some(500))), Some(MBIT(500)));
        assert_eq!(first(&settings(None, None)), None);
        assert_eq!(after(&settings(Some(100), None), 5_000), Some(5_050));
    }

    #[test]
    fn a_round_that_took_no_time_tells_nothing() {
        let law = settings(Some(100), Some(500));
        assert_eq!(next(&law, &Round::default(), u64::MAX), Some(MBIT(100)));
    }
}
