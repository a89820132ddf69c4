//! What was sent in the second before now, whenever now is.

use std::collections::VecDeque;
use std::time::Duration;

/// What was sent within one of these is remembered as one.
const TICK_MS: u64 = 10;
const TICKS_PER_S: u64 = 1000 / TICK_MS;

/// Bytes by the tick that they were sent in.
#[derive(Clone, Debug, Default)]
pub(super) struct LastSecond {
    ticks: VecDeque<(u64, f64)>,
    sum_bytes: f64,
}

impl LastSecond {
    /// What was sent in the second before `now`, and what in the rest of the tick that it began in.
    pub(super) fn sent_bytes(&mut self, now: Duration) -> f64 {
        let now = tick_of(now);
        while let Some(&(tick, bytes)) = self.ticks.front()
            && tick + TICKS_PER_S < now
        {
            self.ticks.pop_front();
            self.sum_bytes -= bytes;
        }
        match self.ticks.is_empty() {
            // Without what rounding left.
            true => 0.0,
            false => self.sum_bytes,
        }
    }

    /// How long it is from `now` until the second has `bytes` less.
    pub(super) fn wait_for(&self, bytes: f64, now: Duration) -> Duration {
        let mut gone_bytes = 0.0;
        for &(tick, of_tick_bytes) in &self.ticks {
            gone_bytes += of_tick_bytes;
            if gone_bytes >= bytes {
                let leaves = Duration::from_millis((tick + TICKS_PER_S + 1) * TICK_MS);
                return leaves.saturating_sub(now);
            }
        }
        Duration::from_secs(1)
    }

    /// Counts each byte sent so far `factor` times.
    pub(super) fn scale(&mut self, factor: f64) {
        self.sum_bytes *= factor;
        self.ticks.iter_mut().for_each(|(_, bytes)| *bytes *= factor);
    }

    /// Notes that so many bytes were sent at `now`.
    pub(super) fn add(&mut self, bytes: f64, now: Duration) {
        self.sum_bytes = self.sent_bytes(now) + bytes;
        match self.ticks.back_mut() {
            Some((tick, of_tick_bytes)) if *tick == tick_of(now) => *of_tick_bytes += bytes,
            _ => self.ticks.push_back((tick_of(now), bytes)),
        }
    }
}

fn tick_of(now: Duration) -> u64 {
    now.as_millis() as u64 / TICK_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_is_more_than_a_second_ago() {
        let ms = Duration::from_millis;
        let mut last = LastSecond::default();
        last.add(10.0, ms(3));
        last.add(20.0, ms(8));
        last.add(30.0, ms(500));
        assert_eq!(last.sent_bytes(ms(1009)), 60.0);
        // The first tick is that up to 10 ms.
        assert_eq!(last.wait_for(30.0, ms(1005)), ms(5));
        assert_eq!(last.wait_for(31.0, ms(1005)), ms(505));
        assert_eq!(last.sent_bytes(ms(1010)), 30.0);
        assert_eq!(last.sent_bytes(ms(1510)), 0.0);
    }

    #[test]
    fn what_is_scaled_leaves_as_it_came() {
        let ms = Duration::from_millis;
        let mut last = LastSecond::default();
        last.add(10.0, ms(3));
        last.add(30.0, ms(500));
        last.scale(0.5);
        last.add(1.0, ms(600));
        assert_eq!(last.sent_bytes(ms(1000)), 21.0);
        assert_eq!(last.sent_bytes(ms(1010)), 16.0);
        assert_eq!(last.sent_bytes(ms(1510)), 1.0);
    }
}
