//! How much a guest will write to that it has not written to yet while it was watched.
//!
//! The problem of an ecologist who has seen some species once, some twice, and asks how many there are:
//! after Chao, *Estimating the population size for capture-recapture data with unequal catchability*,
//! Biometrics 1987, and, for what a longer look would have shown, Chao et al., *Rarefaction and
//! extrapolation with Hill numbers*, Ecological Monographs 2014. Pages that are written all the time,
//! of which every guest has some, say nothing of the others here; in the bend of the curve they cannot
//! be told from them.

use std::time::Duration;

/// Pages that a guest will come to if it is watched for longer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unseen {
    /// How many, in the long run: at least about so many.
    pub pages: f64,
    /// How fast they come up at first.
    pub pages_per_s: f64,
}

impl Unseen {
    /// After `windows` windows of `length` in all, in which `once` pages were written in one of them
    /// only, and `twice` in two. `None` where one window cannot be compared with another.
    pub fn told_by(windows: u32, length: Duration, once: u64, twice: u64) -> Option<Self> {
        if windows < 2 || length.is_zero() {
            return None;
        }
        let (windows, once, twice) = (f64::from(windows), once as f64, twice as f64);
        // The form that is not biased where few were seen twice, and finite where none was.
        let pages =
            (windows - 1.0) / windows * once * (once - 1.0).max(0.0) / (2.0 * (twice + 1.0));
        Some(Self { pages, pages_per_s: once / length.as_secs_f64() })
    }

    /// How many of them will have come up after so many seconds more.
    pub fn pages_in(&self, seconds: f64) -> f64 {
        if self.pages <= 0.0 {
            return 0.0;
        }
        -self.pages * (-self.pages_per_s * seconds.max(0.0) / self.pages).exp_m1()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Pages that an even writer of `rate` pages/s to `set` pages wrote `times` times in a second.
    fn written(set: f64, rate: f64, times: i32) -> f64 {
        let mean: f64 = rate / set;
        let factorial = f64::from((1..=times).product::<i32>());
        set * (-mean).exp() * mean.powi(times) / factorial
    }

    #[test]
    fn an_even_writers_set_is_told_long_before_it_was_seen() {
        for (set, rate) in [(16_384.0, 976.0), (8192.0, 1831.0), (2048.0, 2441.0), (500.0, 2000.0)]
        {
            let seen = set - written(set, rate, 0);
            let counts = [1, 2].map(|times| written(set, rate, times) as u64);
            let unseen = Unseen::told_by(1000, SECOND, counts[0], counts[1]).unwrap();
            let found = seen + unseen.pages;
            assert!((found / set - 1.0).abs() < 0.05, "{set} at {rate}/s: {found}");
            for seconds in [2.0, 10.0, 40.0] {
                let foretold = seen + unseen.pages_in(seconds - 1.0);
                let expected = set - written(set, rate * seconds, 0);
                assert!((foretold / expected - 1.0).abs() < 0.05, "{foretold}, {expected}");
            }
        }
    }

    #[test]
    fn what_is_written_all_the_time_says_nothing_of_the_rest() {
        let unseen = Unseen::told_by(20, SECOND, 0, 0).unwrap();
        assert_eq!((unseen.pages, unseen.pages_in(100.0)), (0.0, 0.0));
        assert_eq!(Unseen::told_by(20, SECOND, 1, 0).unwrap().pages_in(100.0), 0.0);
    }

    #[test]
    fn where_nothing_was_seen_twice_there_is_still_an_end() {
        let unseen = Unseen::told_by(20, SECOND, 100, 0).unwrap();
        assert!(unseen.pages.is_finite() && unseen.pages > 4000.0, "{unseen:?}");
        assert!((unseen.pages_in(1.0) - 100.0).abs() < 2.0, "{unseen:?}");
    }

    #[test]
    fn one_window_is_nothing_to_compare() {
        assert_eq!(Unseen::told_by(1, SECOND, 100, 5), None);
        assert_eq!(Unseen::told_by(20, Duration::ZERO, 100, 5), None);
    }
}
