//! How many distinct pages a guest writes in a given time: D(t).
//!
//! The one curve that a migration's rounds, bytes and downtime follow from. It rises with the writing
//! rate at first and flattens as the guest comes back to pages that it has written already; where it
//! ends is the writable working set.

mod saturation;
mod unseen;

use std::time::Duration;

pub use saturation::{Sample, Saturation};
pub use unseen::Unseen;

/// What was told of pages unseen is believed for so many doublings of the time that was looked at.
const FORETOLD_DOUBLINGS: u32 = 6;

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
    unseen: Option<Unseen>,
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
        Self { points, unseen: None }
    }

    /// The same, with what is known of its course after the last point.
    pub fn with_unseen(self, unseen: Option<Unseen>) -> Self {
        Self { unseen, ..self }
    }

    /// What it was made of, by growing windows.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The points, and as many more as can be foretold, each of twice the time of the one before.
    pub fn points_and_foretold(&self) -> Vec<Point> {
        let mut points = self.points.clone();
        if let (Some(last), Some(_)) = (self.points.last(), self.unseen) {
            points.extend((1..=FORETOLD_DOUBLINGS).map(|doublings| {
                let window = last.window * (1 << doublings);
                Point { window, pages: self.pages_in(window) }
            }));
        }
        points
    }

    /// Distinct pages written in `time`: in between the points a straight line; after the last of them
    /// as what was told of pages unseen has it, or else as the fitted [shape](Self::saturation) goes on.
    pub fn pages_in(&self, time: Duration) -> f64 {
        let at = self.points.partition_point(|point| point.window < time);
        let Some(&right) = self.points.get(at) else { return self.pages_after_the_last(time) };
        let origin = Point { window: Duration::ZERO, pages: 0.0 };
        let left = at.checked_sub(1).map_or(origin, |left| self.points[left]);
        let slope = (right.pages - left.pages) / (right.window - left.window).as_secs_f64();
        left.pages + slope * (time.saturating_sub(left.window)).as_secs_f64()
    }

    fn pages_after_the_last(&self, time: Duration) -> f64 {
        let Some(last) = self.points.last() else { return 0.0 };
        if let Some(unseen) = self.unseen {
            return last.pages + unseen.pages_in((time - last.window).as_secs_f64());
        }
        let Some(shape) = self.saturation() else { return last.pages };
        let [measured, fitted, wanted] = [
            last.pages,
            shape.pages_in(last.window.as_secs_f64()),
            shape.pages_in(time.as_secs_f64()),
        ];
        measured + (wanted - fitted).max(0.0)
    }

    /// The shape that is nearest to the points. `None` where nothing was written.
    pub fn saturation(&self) -> Option<Saturation> {
        let sample = |point: &Point| Sample {
            seconds: point.window.as_secs_f64(),
            pages: point.pages,
            weight: 1.0,
        };
        Saturation::fit(&self.points_and_foretold().iter().map(sample).collect::<Vec<_>>())
    }

    /// The writable working set, in pages: where the curve ends. `None` where it was not followed long
    /// enough to tell, which is to half of that.
    pub fn working_set(&self) -> Option<f64> {
        let most = self.points.last()?.pages;
        let end = match self.unseen {
            Some(unseen) => most + unseen.pages,
            None => self.saturation().map_or(0.0, |shape| shape.working_set_pages),
        };
        (most >= end / 2.0).then_some(end)
    }

    /// How fast pages are dirtied at first, in pages per second: the slope at the origin.
    pub fn pages_per_s(&self) -> f64 {
        self.saturation().map_or(0.0, |shape| shape.pages_per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_through_its_points_and_levels_off_after_them() {
        let ms = Duration::from_millis;
        let point = |window, pages| Point { window: ms(window), pages };
        let curve = DirtyCurve::new(vec![point(200, 150.0), point(100, 100.0), point(400, 140.0)]);
        for (time, pages) in [(0, 0.0), (50, 50.0), (100, 100.0), (150, 125.0), (400, 150.0)] {
            assert!((curve.pages_in(ms(time)) - pages).abs() < 1e-9, "{time} ms");
        }
        let rising = DirtyCurve::new(vec![point(100, 100.0), point(200, 150.0)]);
        // An even writer in a working set of 200 pages.
        let after = rising.pages_in(ms(400));
        assert!((after - 187.5).abs() < 4.0, "{after}");
        assert!((rising.working_set().unwrap() - 200.0).abs() < 10.0);
        assert!((rising.pages_per_s() - 1386.0).abs() < 70.0);
        assert_eq!(DirtyCurve::default().pages_in(ms(100)), 0.0);
    }

    #[test]
    fn what_is_unseen_is_how_it_goes_on() {
        let ms = Duration::from_millis;
        let point = |window, pages| Point { window: ms(window), pages };
        let unseen = Unseen { pages: 100.0, pages_per_s: 100.0 };
        let points = vec![point(500, 120.0), point(1000, 200.0)];
        let curve = DirtyCurve::new(points).with_unseen(Some(unseen));
        assert_eq!(curve.pages_in(ms(1000)), 200.0);
        assert!((curve.pages_in(ms(2000)) - 263.2).abs() < 0.1);
        assert!((curve.pages_in(Duration::from_secs(60)) - 300.0).abs() < 0.1);
        assert_eq!(curve.working_set(), Some(300.0));
        assert_eq!(curve.points().len(), 2);
        let all = curve.points_and_foretold();
        assert_eq!((all[2].window, all[7].window), (ms(2000), ms(64_000)));
        assert_eq!(DirtyCurve::default().with_unseen(Some(unseen)).points_and_foretold(), []);
    }

    #[test]
    fn no_end_is_made_up_where_none_was_seen() {
        let point = |ms, pages| Point { window: Duration::from_millis(ms), pages };
        let line = DirtyCurve::new(vec![point(100, 50.0), point(200, 100.0)]);
        assert_eq!(line.working_set(), None);
        assert!((line.pages_in(Duration::from_secs(1)) - 500.0).abs() < 25.0);
        let quiet = DirtyCurve::new(vec![point(100, 0.0), point(200, 0.0)]);
        assert_eq!((quiet.working_set(), quiet.pages_per_s()), (Some(0.0), 0.0));
        assert_eq!(quiet.pages_in(Duration::from_secs(9)), 0.0);
    }
}
