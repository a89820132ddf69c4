//! How large the writable working set is, told from the part of it that was seen.

use crate::migration::dirty_curve::DirtyCurve;

/// By how much at least the second half of a curve must be flatter than the first.
const LEAST_BEND: f64 = 0.05;

/// Pages that would be written in the long run, for a guest that writes to all of them alike: that one
/// has written D(t) = W (1 - e^(-rt/W)) after t. Two points of which one is twice as far tell W:
/// D(2t) / D(t) = 1 + e^(-rt/W). `None` where the curve is still a straight line, which fits any W.
pub(super) fn estimate(curve: &DirtyCurve) -> Option<f64> {
    let last = curve.points().last()?;
    let half = curve.pages_in(last.window / 2);
    let unseen = last.pages / half - 1.0;
    // No number, where nothing was written at all.
    let bends = half > 0.0 && unseen <= 1.0 - LEAST_BEND;
    bends.then(|| (half / (1.0 - unseen.max(0.0))).max(last.pages))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::migration::dirty_curve::Point;

    fn uniform(pages: f64, per_s: f64, seconds: f64) -> DirtyCurve {
        let point = |s: f64| Point {
            window: Duration::from_secs_f64(s),
            pages: pages * (1.0 - (-per_s * s / pages).exp()),
        };
        DirtyCurve::new((0..8).map(|level| point(seconds / f64::from(1 << level))).collect())
    }

    #[test]
    fn the_working_set_is_told_once_the_curve_bends() {
        for seconds in [2.0, 5.0, 20.0, 100.0] {
            let found = estimate(&uniform(1000.0, 200.0, seconds)).unwrap();
            assert!((found - 1000.0).abs() < 10.0, "{seconds} s: {found}");
        }
        assert_eq!(estimate(&uniform(1e9, 200.0, 5.0)), None);
        assert_eq!(estimate(&DirtyCurve::default()), None);
        assert_eq!(estimate(&uniform(1000.0, 0.0, 5.0)), None);
    }
}
