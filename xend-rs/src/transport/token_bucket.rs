//! Holding bytes to a rate.
//!
//! Room for bytes flows into a bucket at the rate that is allowed, and what is sent takes it out
//! again; the bucket holds so much and no more, which bounds what can be sent at once after a pause.
//! As in Clark et al. bytes leave in bursts of at most 100 KiB; at rates where that would mean to be
//! woken for every millisecond the bursts are larger.
//!
//! Knows no clock: times are given, as a duration since some moment.

use std::time::Duration;

use crate::migration::rate::Rate;

/// The largest burst at rates that this suits.
const BURST_BYTES: f64 = (100 << 10) as f64;
/// A burst is at least what flows in this long: waking up more often costs more than it smoothes.
const SHORTEST_BURST_S: f64 = 0.004;
/// A burst is at most what flows in this long, or a slow link would see nothing else in a second.
const LONGEST_BURST_S: f64 = 0.008;
/// The bucket holds what flows in this long. Who is woken late, by no more than the rest of it, makes
/// up for it; and no second has more than 2.5 % too much.
const DEPTH_S: f64 = 0.025;

/// Bytes on the way for each one that is sent: TCP, IP and Ethernet add 66 to each 1448, where the
/// network card does not take larger pieces and next to nothing where it does. Half of that, so that
/// both the link's counters and ours are within 2.5 % of what was allowed.
const WIRE_FACTOR: f64 = 1.0 + 33.0 / 1448.0;

/// A rate limit, and what may be sent under it by now.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenBucket {
    rate: Rate,
    /// Bytes on the way that there is room for. Below zero where more was sent than there was.
    room: f64,
    /// When that was so.
    at: Duration,
}

impl TokenBucket {
    /// A limit of `rate` from `now` on, with an empty bucket.
    pub(super) fn new(rate: Rate, now: Duration) -> Self {
        Self { rate, room: 0.0, at: now }
    }

    /// How many of `wanted_bytes` may be sent now: all of them, or a burst.
    ///
    /// # Errors
    /// How long to wait before it is worth asking again, where it is too early.
    pub(super) fn allow(&mut self, wanted_bytes: usize, now: Duration) -> Result<usize, Duration> {
        self.fill(now);
        let burst = self.burst().min(wanted_bytes as f64 * WIRE_FACTOR);
        if self.room >= burst {
            // All there is room for, or who was woken late would never make up for it.
            return Ok(((self.room / WIRE_FACTOR) as usize).clamp(1, wanted_bytes.max(1)));
        }
        Err(Duration::from_secs_f64((burst - self.room) / self.bytes_per_s()))
    }

    /// Notes that so many bytes were sent.
    pub(super) fn take(&mut self, bytes: usize) {
        self.room -= bytes as f64 * WIRE_FACTOR;
    }

    fn fill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.at).as_secs_f64();
        let rate = self.bytes_per_s();
        self.room = (self.room + elapsed * rate).min((rate * DEPTH_S).max(1.0));
        self.at = self.at.max(now);
    }

    fn burst(&self) -> f64 {
        let rate = self.bytes_per_s();
        BURST_BYTES.min(rate * LONGEST_BURST_S).max(rate * SHORTEST_BURST_S).max(1.0)
    }

    fn bytes_per_s(&self) -> f64 {
        self.rate.as_bytes_per_s() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends without end under `rate` for `seconds`, woken `late` after each wait, and gives the bytes
    /// sent in each second and the number of bursts.
    fn run(rate: Rate, seconds: usize, mut late: impl FnMut() -> Duration) -> (Vec<f64>, usize) {
        let mut bucket = TokenBucket::new(rate, Duration::ZERO);
        let (mut now, mut bursts) = (Duration::ZERO, 0);
        let mut sent = vec![0.0; seconds];
        while (now.as_secs() as usize) < seconds {
            match bucket.allow(4 << 20, now) {
                Ok(bytes) => {
                    bucket.take(bytes);
                    sent[now.as_secs() as usize] += bytes as f64;
                    bursts += 1;
                }
                Err(wait) => now += wait.max(Duration::from_micros(1)) + late(),
            }
        }
        (sent, bursts)
    }

    #[test]
    fn each_second_is_within_5_percent_at_any_rate_however_late_it_is_woken() {
        let mut seed = 1u64;
        let mut random_ms = |most: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Duration::from_micros((seed >> 33) % (most * 1000 + 1))
        };
        for mbit in [1, 8, 40, 100, 500, 1000, 10_000, 40_000] {
            let rate = Rate::mbit_per_s(mbit);
            for late_ms in [0, 1, 8, 15] {
                let (sent, _) = run(rate, 10, || random_ms(late_ms));
                for bytes in sent {
                    // On the link, with and without the headers of each segment.
                    for wire in [1.0, 1.0 + 66.0 / 1448.0] {
                        let ratio = bytes * wire / rate.as_bytes_per_s() as f64;
                        assert!((ratio - 1.0).abs() < 0.05, "{mbit} Mbit/s: {ratio:.3}");
                    }
                }
            }
        }
    }

    #[test]
    fn bursts_are_small_and_not_too_many() {
        let (_, bursts) = run(Rate::mbit_per_s(4000), 1, || Duration::ZERO);
        assert!(bursts <= 251, "{bursts} wake-ups");
        let mut bucket = TokenBucket::new(Rate::mbit_per_s(100), Duration::ZERO);
        // After a long pause there is 25 ms worth of room, and no more.
        let bytes = bucket.allow(usize::MAX, Duration::from_secs(60)).unwrap();
        assert!((300_000..=310_000).contains(&bytes), "{bytes}");
        bucket.take(bytes);
        // 100 KiB would take 8.2 ms at that rate.
        let wait = bucket.allow(usize::MAX, Duration::from_secs(60)).unwrap_err();
        assert!((7..=8).contains(&wait.as_millis()), "{wait:?}");
    }

    #[test]
    fn little_is_sent_as_soon_as_there_is_room_for_it() {
        let mut bucket = TokenBucket::new(Rate::bytes_per_s(1000), Duration::ZERO);
        let wait = bucket.allow(5, Duration::ZERO).unwrap_err();
        assert!(wait < Duration::from_millis(6), "{wait:?}");
        assert_eq!(bucket.allow(5, wait + Duration::from_nanos(10)), Ok(5));
        // However slow, it never asks to send nothing.
        let mut bucket = TokenBucket::new(Rate::bytes_per_s(1), Duration::ZERO);
        let wait = bucket.allow(100, Duration::ZERO).unwrap_err();
        assert_eq!(bucket.allow(100, wait + Duration::from_millis(1)), Ok(1));
    }
}
