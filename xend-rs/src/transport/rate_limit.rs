//! Holding bytes to a rate, second by second.
//!
//! A [`TokenBucket`] lets out what is due. It is deep enough that what could not leave in time, for
//! want of pages to send or of a processor, is made up for: at no more than twice the rate, and only as
//! far as no second, wherever it begins, has more than 2.5 % too much. So a stall takes nothing from a
//! second that has time left for it, and a second is never paid for with another one.
//!
//! As in Clark et al. bytes leave in bursts of at most 100 KiB; at rates where that would mean to be
//! woken for every millisecond the bursts are larger.
//!
//! Knows no clock: times are given, as a duration since some moment.

use std::time::Duration;

use super::last_second::LastSecond;
use super::token_bucket::TokenBucket;
use crate::migration::rate::Rate;

/// The largest burst at rates that this suits.
const BURST_BYTES: f64 = (100 << 10) as f64;
/// A burst is at least what flows in this long: waking up more often costs more than it smoothes.
const SHORTEST_BURST_S: f64 = 0.004;
/// A burst is at most what flows in this long, or a slow link would see nothing else in a second.
const LONGEST_BURST_S: f64 = 0.008;
/// The longest stall that is made up for in full.
const MADE_UP_S: f64 = 0.25;
/// How much faster than the rate that is done.
const PEAK_FACTOR: f64 = 2.0;
/// What may leave at once, at that peak. Who is woken late makes up for it by the same.
const PEAK_DEPTH_S: f64 = 0.0125;
/// How much of what the rate allows one second may have.
const FULLEST_SECOND: f64 = 1.025;

/// Bytes on the way for each one that is sent: TCP, IP and Ethernet add 66 to each 1448, where the
/// network card does not take larger pieces and next to nothing where it does. Half of that, so that
/// both the link's counters and ours are within 2.5 % of what was allowed.
const WIRE_FACTOR: f64 = 1.0 + 33.0 / 1448.0;

/// A rate limit, and what may be sent under it by now.
#[derive(Clone, Debug)]
pub(super) struct RateLimit {
    bytes_per_s: f64,
    /// What is due.
    due: TokenBucket,
    /// How fast it may go.
    peak: TokenBucket,
    last_second: LastSecond,
}

impl RateLimit {
    /// A limit of `rate` from `now` on. Nothing is due yet.
    pub(super) fn new(rate: Rate, now: Duration) -> Self {
        let bytes_per_s = rate.as_bytes_per_s() as f64;
        Self {
            bytes_per_s,
            due: TokenBucket::new(bytes_per_s, MADE_UP_S, now),
            peak: TokenBucket::new(bytes_per_s * PEAK_FACTOR, PEAK_DEPTH_S, now),
            last_second: LastSecond::default(),
        }
    }

    /// From `now` on the limit is `rate`. What was sent in the last second, and what is due, are the
    /// same part of what is allowed as before: a second that spans the change has no more than its
    /// share, a rate that falls holds nothing up, and at the same rate all stays as it is.
    pub(super) fn change_to(&mut self, rate: Rate, now: Duration) {
        let bytes_per_s = rate.as_bytes_per_s() as f64;
        if bytes_per_s == self.bytes_per_s {
            return;
        }
        self.last_second.scale(bytes_per_s / self.bytes_per_s);
        self.due.change_to(bytes_per_s, now);
        self.peak.change_to(bytes_per_s * PEAK_FACTOR, now);
        self.bytes_per_s = bytes_per_s;
    }

    /// How many of `wanted_bytes` may be sent now: all of them, or at least a burst.
    ///
    /// # Errors
    /// How long to wait before it is worth asking again, where it is too early.
    pub(super) fn allow(&mut self, wanted_bytes: usize, now: Duration) -> Result<usize, Duration> {
        let burst = self.burst_bytes().min(wanted_bytes as f64 * WIRE_FACTOR);
        let due = self.due.room_bytes(now).min(self.peak.room_bytes(now));
        let second = self.bytes_per_s * FULLEST_SECOND - self.last_second.sent_bytes(now);
        if due < burst {
            return Err(self.due.wait_for(burst).max(self.peak.wait_for(burst)));
        }
        if second < burst {
            return Err(self.last_second.wait_for(burst - second, now));
        }
        // All there is room for, or who was woken late would never make up for it.
        Ok(((due.min(second) / WIRE_FACTOR) as usize).clamp(1, wanted_bytes.max(1)))
    }

    /// Notes that so many bytes were sent at `now`.
    pub(super) fn take(&mut self, bytes: usize, now: Duration) {
        let bytes = bytes as f64 * WIRE_FACTOR;
        self.due.take(bytes);
        self.peak.take(bytes);
        self.last_second.add(bytes, now);
    }

    fn burst_bytes(&self) -> f64 {
        let rate = self.bytes_per_s;
        BURST_BYTES.min(rate * LONGEST_BURST_S).max(rate * SHORTEST_BURST_S).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a sender that never lacks bytes sends under a rate.
    struct Run {
        rate: Rate,
        /// What was sent, and when.
        bursts: Vec<(Duration, usize)>,
    }

    impl Run {
        /// For `seconds`, woken `late` after each wait, and kept from sending by `stall`, which is asked
        /// before each burst.
        fn new(
            rate: Rate,
            seconds: u64,
            mut late: impl FnMut() -> Duration,
            mut stall: impl FnMut(Duration) -> Duration,
        ) -> Self {
            let mut limit = RateLimit::new(rate, Duration::ZERO);
            let (mut now, mut bursts) = (Duration::ZERO, Vec::new());
            while now.as_secs() < seconds {
                now += stall(now);
                match limit.allow(4 << 20, now) {
                    Ok(bytes) => {
                        limit.take(bytes, now);
                        bursts.push((now, bytes));
                    }
                    Err(wait) => now += wait.max(Duration::from_micros(1)) + late(),
                }
            }
            Self { rate, bursts }
        }

        fn sent_bytes(&self, from: Duration, to: Duration) -> usize {
            let within = self.bursts.iter().filter(|(at, _)| (from..to).contains(at));
            within.map(|(_, bytes)| bytes).sum()
        }

        /// What was sent in the second from `from` on, of what the rate allows: with and without the
        /// headers of each segment.
        fn second(&self, from: Duration) -> [f64; 2] {
            let bytes = self.sent_bytes(from, from + Duration::from_secs(1)) as f64;
            [1.0, 1.0 + 66.0 / 1448.0].map(|wire| bytes * wire / self.rate.as_bytes_per_s() as f64)
        }
    }

    fn never(_now: Duration) -> Duration {
        Duration::ZERO
    }

    /// Once in each second at `from_ms` of it, for `for_ms`.
    fn each_second(from_ms: u64, for_ms: u64) -> impl FnMut(Duration) -> Duration {
        let mut next = Duration::from_millis(from_ms);
        move |now| match now >= next {
            true => {
                next += Duration::from_secs(1);
                Duration::from_millis(for_ms)
            }
            false => Duration::ZERO,
        }
    }

    const RATES_MBIT: [u64; 8] = [1, 8, 40, 100, 500, 1000, 10_000, 40_000];

    #[test]
    fn each_second_is_within_5_percent_at_any_rate_however_late_it_is_woken() {
        let mut seed = 1u64;
        let mut random_ms = |most: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Duration::from_micros((seed >> 33) % (most * 1000 + 1))
        };
        for mbit in RATES_MBIT {
            for late_ms in [0, 1, 8, 15] {
                let run = Run::new(Rate::mbit_per_s(mbit), 10, || random_ms(late_ms), never);
                for second in 0..10 {
                    for ratio in run.second(Duration::from_secs(second)) {
                        assert!((ratio - 1.0).abs() < 0.05, "{mbit} Mbit/s: {ratio:.3}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_second_makes_up_for_its_stalls() {
        for mbit in RATES_MBIT {
            let rate = Rate::mbit_per_s(mbit);
            for (from_ms, for_ms) in [(0, 200), (300, 100), (500, 200)] {
                let run = Run::new(rate, 10, || Duration::ZERO, each_second(from_ms, for_ms));
                for second in 0..10 {
                    for ratio in run.second(Duration::from_secs(second)) {
                        assert!((ratio - 1.0).abs() < 0.05, "{mbit} Mbit/s: {ratio:.3}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_second_has_too_much_wherever_it_begins() {
        for mbit in RATES_MBIT {
            let rate = Rate::mbit_per_s(mbit);
            // At the end of a second, or longer than it can make up for.
            for (from_ms, for_ms) in [(900, 100), (100, 600), (990, 900)] {
                let run = Run::new(rate, 10, || Duration::ZERO, each_second(from_ms, for_ms));
                for from_ms in (0..9000).step_by(7) {
                    let [_, ratio] = run.second(Duration::from_millis(from_ms));
                    assert!(ratio < 1.05, "{mbit} Mbit/s: {ratio:.3}");
                }
            }
        }
    }

    #[test]
    fn what_is_made_up_for_leaves_at_twice_the_rate() {
        let rate = Rate::mbit_per_s(100);
        let run = Run::new(rate, 1, || Duration::ZERO, each_second(100, 200));
        for from_ms in 300..900 {
            let from = Duration::from_millis(from_ms);
            let bytes = run.sent_bytes(from, from + Duration::from_millis(100)) as f64;
            let ratio = bytes / (rate.as_bytes_per_s() as f64 / 10.0);
            // A tenth of a second may begin with what the peak holds.
            assert!(ratio < 2.0 + 0.25, "{ratio:.2} of the rate");
        }
    }

    #[test]
    fn bursts_are_small_and_not_too_many() {
        let run = Run::new(Rate::mbit_per_s(4000), 1, || Duration::ZERO, never);
        assert!(run.bursts.len() <= 251, "{} wake-ups", run.bursts.len());
        let mut limit = RateLimit::new(Rate::mbit_per_s(100), Duration::ZERO);
        let minute = Duration::from_secs(60);
        // After a long pause there is 25 ms worth of room, and no more.
        let bytes = limit.allow(usize::MAX, minute).unwrap();
        assert!((300_000..=310_000).contains(&bytes), "{bytes}");
        limit.take(bytes, minute);
        // 100 KiB would take 8.2 ms at that rate, and half of it when there is something to make up for.
        let wait = limit.allow(usize::MAX, minute).unwrap_err();
        assert!((3..=4).contains(&wait.as_millis()), "{wait:?}");
    }

    #[test]
    fn little_is_sent_as_soon_as_there_is_room_for_it() {
        let mut limit = RateLimit::new(Rate::bytes_per_s(1000), Duration::ZERO);
        let wait = limit.allow(5, Duration::ZERO).unwrap_err();
        assert!(wait < Duration::from_millis(6), "{wait:?}");
        assert_eq!(limit.allow(5, wait + Duration::from_nanos(10)), Ok(5));
        // However slow, it never asks to send nothing.
        let mut limit = RateLimit::new(Rate::bytes_per_s(1), Duration::ZERO);
        let wait = limit.allow(100, Duration::ZERO).unwrap_err();
        assert_eq!(limit.allow(100, wait + Duration::from_millis(1)), Ok(1));
    }

    /// When bytes left, and which part of what was then allowed in a second. The limit is told before
    /// each burst which rate it has, as it is before each round.
    fn parts(
        rate_at: impl Fn(Duration) -> Rate,
        mut stall: impl FnMut(Duration) -> Duration,
    ) -> Vec<(Duration, f64)> {
        let mut limit = RateLimit::new(rate_at(Duration::ZERO), Duration::ZERO);
        let (mut now, mut parts) = (Duration::ZERO, Vec::new());
        while now.as_secs() < 6 {
            now += stall(now);
            let rate = rate_at(now);
            limit.change_to(rate, now);
            match limit.allow(4 << 20, now) {
                Ok(bytes) => {
                    limit.take(bytes, now);
                    parts.push((now, bytes as f64 / rate.as_bytes_per_s() as f64));
                }
                Err(wait) => now += wait.max(Duration::from_micros(1)),
            }
        }
        parts
    }

    /// What the second from each 7th millisecond on has, in parts of what is allowed.
    fn seconds(parts: &[(Duration, f64)]) -> impl Iterator<Item = f64> + '_ {
        (0..5000).step_by(7).map(move |from_ms| {
            let from = Duration::from_millis(from_ms);
            let second = from..from + Duration::from_secs(1);
            parts.iter().filter(|(at, _)| second.contains(at)).map(|(_, part)| part).sum::<f64>()
        })
    }

    #[test]
    fn a_second_with_two_rates_in_it_has_its_share_and_no_more() {
        const MBIT: [u64; 5] = [1000, 1, 100, 8, 8];
        let rate_at = |now: Duration| Rate::mbit_per_s(MBIT[(now.as_millis() / 400 % 5) as usize]);
        for part in seconds(&parts(rate_at, never)) {
            assert!((0.93..1.01).contains(&part), "{part:.3} of what is allowed");
        }
        for part in seconds(&parts(rate_at, each_second(300, 200))) {
            assert!(part < 1.01, "{part:.3} of what is allowed");
        }
    }

    #[test]
    fn to_be_told_the_same_rate_again_changes_nothing() {
        let rate = Rate::mbit_per_s(100);
        let parts = parts(|_| rate, each_second(500, 200));
        let run = Run::new(rate, 6, || Duration::ZERO, each_second(500, 200));
        assert_eq!(parts.len(), run.bursts.len());
        for second in 0..6 {
            let whole = |at: &Duration| at.as_secs() == second;
            let part: f64 = parts.iter().filter(|(at, _)| whole(at)).map(|(_, part)| part).sum();
            assert!((part - 1.0).abs() < 0.05, "{part:.3} of what is allowed: it is made up for");
        }
    }

    #[test]
    fn a_rate_that_falls_by_a_lot_lets_something_through_at_once() {
        let fast = Rate::mbit_per_s(10_000);
        let mut limit = RateLimit::new(fast, Duration::ZERO);
        let mut now = Duration::ZERO;
        while now.as_secs() < 2 {
            match limit.allow(4 << 20, now) {
                Ok(bytes) => limit.take(bytes, now),
                Err(wait) => now += wait.max(Duration::from_micros(1)),
            }
        }
        limit.change_to(Rate::mbit_per_s(1), now);
        let first = (0..100).find(|ms| limit.allow(4096, now + Duration::from_millis(*ms)).is_ok());
        assert!(first.is_some_and(|ms| ms <= 30), "{first:?} ms");
    }
}
