//! Room for bytes: it flows in at a rate, what is sent takes it out again, and there is never more than
//! the bucket holds.
//!
//! Knows no clock: times are given, as a duration since some moment.

use std::time::Duration;

/// Room for bytes by now.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenBucket {
    bytes_per_s: f64,
    depth_s: f64,
    /// Below zero where more was taken than there was.
    room_bytes: f64,
    /// When that was so.
    at: Duration,
}

impl TokenBucket {
    /// One that is empty at `now` and holds what flows in in `depth_s` seconds, but at least one byte.
    pub(super) fn new(bytes_per_s: f64, depth_s: f64, now: Duration) -> Self {
        Self { bytes_per_s, depth_s, room_bytes: 0.0, at: now }
    }

    /// From `now` on so much flows in. What there is room for is worth as much time as before.
    pub(super) fn change_to(&mut self, bytes_per_s: f64, now: Duration) {
        let room_s = self.room_bytes(now) / self.bytes_per_s;
        (self.bytes_per_s, self.room_bytes) = (bytes_per_s, room_s * bytes_per_s);
    }

    /// What there is room for at `now`.
    pub(super) fn room_bytes(&mut self, now: Duration) -> f64 {
        let elapsed = now.saturating_sub(self.at).as_secs_f64();
        let depth_bytes = (self.bytes_per_s * self.depth_s).max(1.0);
        self.room_bytes = (self.room_bytes + elapsed * self.bytes_per_s).min(depth_bytes);
        self.at = self.at.max(now);
        self.room_bytes
    }

    /// How long it takes from the last look until there is room for so much.
    pub(super) fn wait_for(&self, bytes: f64) -> Duration {
        Duration::from_secs_f64(((bytes - self.room_bytes) / self.bytes_per_s).max(0.0))
    }

    pub(super) fn take(&mut self, bytes: f64) {
        self.room_bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_flows_in_and_no_more() {
        let mut bucket = TokenBucket::new(1000.0, 0.5, Duration::from_secs(1));
        assert_eq!(bucket.room_bytes(Duration::from_secs(1)), 0.0);
        assert_eq!(bucket.wait_for(100.0), Duration::from_millis(100));
        assert_eq!(bucket.room_bytes(Duration::from_millis(1100)), 100.0);
        // A clock that goes backwards gives nothing, and takes nothing.
        assert_eq!(bucket.room_bytes(Duration::from_millis(500)), 100.0);
        assert_eq!(bucket.room_bytes(Duration::from_secs(60)), 500.0);
        bucket.take(700.0);
        assert_eq!(bucket.wait_for(0.0), Duration::from_millis(200));
    }

    #[test]
    fn another_rate_changes_no_time() {
        let mut bucket = TokenBucket::new(1000.0, 0.5, Duration::ZERO);
        let ms = Duration::from_millis;
        // 100 ms at the rate before.
        bucket.change_to(10.0, ms(100));
        assert_eq!(bucket.room_bytes(ms(100)), 1.0);
        assert_eq!(bucket.room_bytes(ms(60_000)), 5.0, "it holds half a second");
        bucket.take(6.0);
        bucket.change_to(2000.0, ms(60_000));
        assert_eq!(bucket.wait_for(0.0), ms(100), "what was taken is paid for at the new rate");
    }
}
