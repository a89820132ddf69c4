//! How fast bytes may travel.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// Bytes in a second; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(NonZeroU64);

impl Rate {
    /// 1000 Mbit/s.
    pub const GIGABIT: Self = Self(NonZeroU64::new(125_000_000).unwrap());

    /// A rate of `bytes`; at least one.
    pub fn bytes_per_s(bytes: u64) -> Self {
        Self(NonZeroU64::new(bytes).unwrap_or(NonZeroU64::MIN))
    }

    /// A rate of `megabits` (10⁶ bits), the unit in which links are sold.
    pub fn mbit_per_s(megabits: u64) -> Self {
        Self::bytes_per_s(megabits.saturating_mul(125_000))
    }

    /// What `bytes` in `time` come to. `None` where no time has passed.
    pub fn of(bytes: u64, time: Duration) -> Option<Self> {
        let seconds = time.as_secs_f64();
        (seconds > 0.0).then(|| Self::bytes_per_s((bytes as f64 / seconds) as u64))
    }

    /// It, in bytes per second.
    pub fn as_bytes_per_s(self) -> u64 {
        self.0.get()
    }

    /// How long `bytes` take.
    pub fn time_for(self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.0.get() as f64)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} Mbit/s", self.0.get() as f64 / 125_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_bytes_and_time_agree() {
        let rate = Rate::mbit_per_s(40);
        assert_eq!(rate.as_bytes_per_s(), 5_000_000);
        assert_eq!(rate.to_string(), "40.0 Mbit/s");
        assert_eq!(rate.time_for(2_500_000), Duration::from_millis(500));
        assert_eq!(Rate::of(2_500_000, Duration::from_millis(500)), Some(rate));
        assert_eq!(Rate::of(1, Duration::ZERO), None);
        assert_eq!(Rate::bytes_per_s(0).as_bytes_per_s(), 1);
    }
}
