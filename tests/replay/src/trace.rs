//! What a guest wrote, window by window.

use std::time::Duration;

use xend_rs::migration::dirty_curve::{DirtyCurve, Point};

use crate::pages::PageSet;

/// A window of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// How long it is. Not zero.
    pub length: Duration,
    /// The pages written in it, each once, in order.
    pub pages: Vec<u32>,
}

/// The distinct pages that a guest wrote in each of a row of windows of time.
///
/// It has an end, and guests have not: after its last window a trace begins anew.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// What tells it from others.
    pub name: String,
    /// What it is counted with.
    pub family: String,
    /// Pages that the guest has.
    pub pages: u32,
    /// Pages per second that the link takes.
    pub link_pages_per_s: f64,
    windows: Windows,
}

/// At least one window, and when each begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    all: Vec<Window>,
    /// From the beginning of the first, and one more for the end of the last.
    begins: Vec<Duration>,
}

impl Windows {
    /// `None` of no windows, or if one has no length.
    pub fn new(all: Vec<Window>) -> Option<Self> {
        if all.is_empty() || all.iter().any(|window| window.length.is_zero()) {
            return None;
        }
        let mut begins = vec![Duration::ZERO];
        for (at, window) in all.iter().enumerate() {
            begins.push(begins[at] + window.length);
        }
        Some(Self { all, begins })
    }

    fn length(&self) -> Duration {
        self.begins[self.all.len()]
    }

    /// In which one a time lies, in seconds from the beginning of the first.
    fn at(&self, seconds: f64) -> usize {
        let length_s = self.length().as_secs_f64();
        let laps = (seconds / length_s).floor();
        let rest = seconds - laps * length_s;
        // They are of much the same length.
        let mut at = (rest / length_s * self.all.len() as f64) as usize;
        at = at.min(self.all.len() - 1);
        while at > 0 && rest < self.begins[at].as_secs_f64() {
            at -= 1;
        }
        while at + 1 < self.all.len() && rest >= self.begins[at + 1].as_secs_f64() {
            at += 1;
        }
        laps as usize * self.all.len() + at
    }

    /// When the one of this number begins, in whatever lap.
    fn begin(&self, at: usize) -> Duration {
        self.length() * (at / self.all.len()) as u32 + self.begins[at % self.all.len()]
    }

    fn get(&self, at: usize) -> &Window {
        &self.all[at % self.all.len()]
    }
}

impl Trace {
    /// A guest of so many pages, all that it wrote being among them, over a link of so many pages per
    /// second.
    pub fn new(pages: u32, link_pages_per_s: f64, windows: Windows) -> Self {
        let (name, family) = Default::default();
        Self { name, family, pages, link_pages_per_s, windows }
    }

    /// The same trace, called so.
    #[must_use]
    pub fn named(self, name: String, family: String) -> Self {
        Self { name, family, ..self }
    }

    /// Its windows, once.
    pub fn windows(&self) -> &[Window] {
        &self.windows.all
    }

    /// How many windows are over after so long.
    pub fn windows_in(&self, time: Duration) -> usize {
        self.windows.at(time.as_secs_f64())
    }

    /// How long so many windows take.
    pub fn time_of(&self, windows: usize) -> Duration {
        self.windows.begin(windows)
    }

    /// What a probe sees that looks at the guest's first `windows` windows: distinct pages by length of
    /// time, for lengths of 1, 2, 4 and so on of them, each the mean of those that follow each other.
    pub fn probe(&self, windows: usize) -> DirtyCurve {
        let lengths = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|&n| n <= windows);
        let distinct = |from: usize, to: usize| {
            let mut seen = PageSet::empty(self.pages);
            let written = (from..to).flat_map(|at| &self.windows.get(at).pages);
            written.for_each(|&page| seen.insert(page));
            seen.len() as f64
        };
        let point = |length: usize| {
            let rows = windows / length;
            let pages: f64 = (0..rows).map(|row| distinct(row * length, (row + 1) * length)).sum();
            Point { window: self.time_of(rows * length) / rows as u32, pages: pages / rows as f64 }
        };
        DirtyCurve::new(lengths.map(point).collect())
    }

    /// Adds to `into` what the guest writes between these two times of its own, in seconds. The writes
    /// of a window are taken to be spread evenly over it.
    pub fn writes_between(&self, from: f64, to: f64, into: &mut PageSet) {
        for at in self.windows.at(from)..=self.windows.at(to) {
            let Window { length, pages } = self.windows.get(at);
            let begin = self.windows.begin(at).as_secs_f64();
            let until = |time: f64| {
                let part = ((time - begin) / length.as_secs_f64()).clamp(0.0, 1.0);
                (part * pages.len() as f64).round() as usize
            };
            pages[until(from)..until(to)].iter().for_each(|&page| into.insert(page));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of 10, 30 and 20 ms, with a page in the first, two in the second and one in the last.
    fn trace() -> Trace {
        let window =
            |ms, pages: &[u32]| Window { length: Duration::from_millis(ms), pages: pages.to_vec() };
        let all = vec![window(10, &[1]), window(30, &[2, 3]), window(20, &[4])];
        Trace::new(8, 100.0, Windows::new(all).unwrap())
    }

    fn written(from: f64, to: f64) -> Vec<u32> {
        let mut set = PageSet::empty(8);
        trace().writes_between(from, to, &mut set);
        set.iter().collect()
    }

    #[test]
    fn each_window_is_as_long_as_it_was_and_the_first_follows_the_last() {
        assert_eq!(written(0.0, 0.009), [1]);
        assert_eq!(written(0.011, 0.024), [2]);
        assert_eq!(written(0.026, 0.041), [3]);
        assert_eq!(written(0.0, 0.06), [1, 2, 3, 4]);
        assert_eq!(written(0.059, 0.069), [1], "the second lap");
        assert_eq!(written(0.631, 0.661), [3, 4], "the eleventh");
    }

    #[test]
    fn a_page_is_written_once_however_time_is_cut() {
        let mut seen = Vec::new();
        for ms in 0..120 {
            seen.extend(written(f64::from(ms) / 1e3, f64::from(ms + 1) / 1e3));
        }
        assert_eq!(seen, [1, 2, 3, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn a_probe_knows_how_long_its_windows_were() {
        let trace = trace();
        let ms = |time: Duration| time.as_millis();
        assert_eq!(trace.windows_in(Duration::from_millis(45)), 2);
        assert_eq!(trace.windows_in(Duration::from_millis(75)), 4);
        assert_eq!(ms(trace.time_of(4)), 70);
        let curve = trace.probe(4);
        let points: Vec<_> = curve.points().iter().map(|p| (ms(p.window), p.pages)).collect();
        assert_eq!(points, [(17, 5.0 / 4.0), (35, 5.0 / 2.0), (70, 4.0)]);
    }

    #[test]
    fn there_is_a_window_and_each_has_a_length() {
        assert!(Windows::new(Vec::new()).is_none());
        let none = Window { length: Duration::ZERO, pages: Vec::new() };
        assert!(Windows::new(vec![none]).is_none());
    }
}
