//! How many distinct pages a guest writes in a given time: D(t).
//!
//! The one curve that a migration's rounds, bytes and downtime follow from. It rises with the writing
//! rate at first and flattens as the guest comes back to pages that it has written already; where it
//! ends is the writable working set.

use std::time::Duration;

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The length of a window of time.
    pub window: Duration,
    /// Distinct pages written in a window of this length, on average.
    pub pages: f64,
}

/// D(t), as measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DirtyCurve {
    points: Vec<Point>,
}

impl DirtyCurve {
    /// A curve through `points` and the origin. Its windows must grow; what falls is taken as flat, for
    /// a longer window cannot hold fewer pages.
    pub fn new(mut points: Vec<Point>) -> Self {
        points.retain(|point| !point.window.is_zero());
        points.sort_by_key(|point| point.window);
        points.dedup_by_key(|point| point.window);
        let mut most = 0.0_f64;
        for point in &mut points {
            most = most.max(point.pages);
            point.pages = most;
        }
        Self { points }
    }

    /// What it was made of, by growing windows.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Distinct pages written in `time`: in between the points a straight line, after the last of them
    /// as steep as between the last two.
    pub fn pages_in(&self, time: Duration) -> f64 {
        let at = self.points.partition_point(|point| point.window < time);
        let origin = Point { window: Duration::ZERO, pages: 0.0 };
        let Some(last) = self.points.len().checked_sub(1) else { return 0.0 };
        let right = self.points[at.min(last)];
        let left = at.min(last).checked_sub(1).map_or(origin, |left| self.points[left]);
        let slope = (right.pages - left.pages) / (right.window - left.window).as_secs_f64();
        left.pages + slope * (time.saturating_sub(left.window)).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_through_its_points_and_goes_on_as_it_ended() {
        let ms = Duration::from_millis;
        let point = |window, pages| Point { window: ms(window), pages };
        let curve = DirtyCurve::new(vec![point(200, 150.0), point(100, 100.0), point(400, 140.0)]);
        for (time, pages) in [(0, 0.0), (50, 50.0), (100, 100.0), (150, 125.0), (400, 150.0)] {
            assert!((curve.pages_in(ms(time)) - pages).abs() < 1e-9, "{time} ms");
        }
        let rising = DirtyCurve::new(vec![point(100, 100.0), point(200, 150.0)]);
        assert!((rising.pages_in(ms(400)) - 250.0).abs() < 1e-9);
        assert_eq!(DirtyCurve::default().pages_in(ms(100)), 0.0);
    }
}
