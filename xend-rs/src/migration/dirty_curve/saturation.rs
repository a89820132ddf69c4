//! The usual shape of D(t): it rises with the writing rate and levels off at the working set.
//!
//! A guest that writes r pages/s, chosen evenly from a working set of W pages, writes
//! D(t) = W (1 - e^(-rt/W)) distinct ones in a time t. Guests are not even, but over the lengths of
//! time that a round lasts, near the points that the shape was fitted to, it predicts them well.

/// What was seen of D(t), to fit a shape to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// A length of time, in seconds.
    pub seconds: f64,
    /// Distinct pages written in it.
    pub pages: f64,
    /// How much it counts, beside the others.
    pub weight: f64,
}

/// D(t) = W (1 - e^(-rt/W)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saturation {
    /// W. Infinite where nothing was seen of an end: D(t) = rt.
    pub working_set_pages: f64,
    /// r: how fast pages are written, repeats included.
    pub pages_per_s: f64,
}

/// How much larger than the largest sample the working set may be taken to be, less 1: in equal
/// factors from the first to the last. Beyond that nobody can tell it from a straight line.
const EXCESS: (f64, f64) = (5e-4, 31.0);
const STEPS: u32 = 40;

impl Saturation {
    /// The shape that is nearest to `samples`, by the logarithms of the pages: a tenth more is as wrong
    /// for a short time as for a long one. A single sample gives a straight line. `None` where no time
    /// was looked at, or nothing was written.
    pub fn fit(samples: &[Sample]) -> Option<Self> {
        let usable = |s: &&Sample| s.seconds > 0.0 && s.weight > 0.0 && s.pages.is_finite();
        let samples: Vec<Sample> = samples.iter().filter(usable).copied().collect();
        let most = samples.iter().map(|s| s.pages).fold(0.0, f64::max);
        if most <= 0.0 {
            return None;
        }
        let growth = (EXCESS.1 / EXCESS.0).powf(1.0 / f64::from(STEPS));
        let sizes = (0..=STEPS).map(|step| most * (1.0 + EXCESS.0 * growth.powi(step as i32)));
        // The straight line first, so that it is taken where all are as good.
        let (line, mut least) = Self::with_working_set(f64::INFINITY, &samples);
        let mut best = line;
        for size in sizes {
            let (shape, error) = Self::with_working_set(size, &samples);
            if error < least * 0.999 {
                (best, least) = (shape, error);
            }
        }
        Some(best)
    }

    /// The best shape that ends at `size` pages, and how wrong it is.
    fn with_working_set(size: f64, samples: &[Sample]) -> (Self, f64) {
        let weight: f64 = samples.iter().map(|s| s.weight).sum();
        let log_rate = |s: &Sample| {
            let pages = s.pages.max(0.5);
            let writes = if size.is_finite() { -size * (-pages / size).ln_1p() } else { pages };
            (writes / s.seconds).ln()
        };
        let mean = samples.iter().map(|s| s.weight * log_rate(s)).sum::<f64>() / weight;
        let shape = Self { working_set_pages: size, pages_per_s: mean.exp() };
        let wrong = |s: &Sample| {
            (shape.pages_in(s.seconds).max(0.5) / s.pages.max(0.5)).ln().powi(2) * s.weight
        };
        (shape, samples.iter().map(wrong).sum::<f64>() / weight + 1e-9)
    }

    /// Distinct pages written in this time.
    pub fn pages_in(&self, seconds: f64) -> f64 {
        let writes = self.pages_per_s * seconds.max(0.0);
        if self.working_set_pages.is_finite() {
            -self.working_set_pages * (-writes / self.working_set_pages).exp_m1()
        } else {
            writes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(shape: Saturation, seconds: &[f64]) -> Vec<Sample> {
        let sample = |&seconds| Sample { seconds, pages: shape.pages_in(seconds), weight: 1.0 };
        seconds.iter().map(sample).collect()
    }

    #[test]
    fn what_was_made_by_the_shape_is_found_again() {
        for (size, rate) in [(1000.0, 500.0), (1e6, 1e4), (50.0, 400.0)] {
            let truth = Saturation { working_set_pages: size, pages_per_s: rate };
            let full = size / rate;
            let found = Saturation::fit(&samples(truth, &[full * 0.3, full, full * 2.0])).unwrap();
            assert!((found.working_set_pages / size - 1.0).abs() < 0.1, "{found:?} of {truth:?}");
            assert!((found.pages_per_s / rate - 1.0).abs() < 0.1, "{found:?} of {truth:?}");
        }
    }

    #[test]
    fn what_shows_no_end_is_a_straight_line() {
        let line = Saturation { working_set_pages: f64::INFINITY, pages_per_s: 70.0 };
        let found = Saturation::fit(&samples(line, &[1.0, 2.0, 5.0])).unwrap();
        assert!((found.pages_in(10.0) / 700.0 - 1.0).abs() < 0.05, "{found:?}");
        assert_eq!(
            Saturation::fit(&samples(line, &[3.0])).unwrap().working_set_pages,
            f64::INFINITY
        );
    }

    #[test]
    fn nothing_written_has_no_shape() {
        assert_eq!(Saturation::fit(&[]), None);
        let quiet = Sample { seconds: 1.0, pages: 0.0, weight: 1.0 };
        assert_eq!(Saturation::fit(&[quiet]), None);
        let no_time = Sample { seconds: 0.0, pages: 5.0, weight: 1.0 };
        assert_eq!(Saturation::fit(&[no_time]), None);
    }
}
