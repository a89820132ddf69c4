//! What a guest wrote, window by window.

use std::time::Duration;

use xend_rs::migration::dirty_curve::{DirtyCurve, Point};

use crate::pages::PageSet;

/// The distinct pages that a guest wrote in each of a row of equal windows of time.
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
    /// The length of a window.
    pub window: Duration,
    /// Pages per second that the link takes.
    pub link_pages_per_s: f64,
    /// Pages written in each window, each once, in order. At least one window.
    pub windows: Vec<Vec<u32>>,
}

impl Trace {
    /// The pages written in a window.
    pub fn window(&self, at: usize) -> &[u32] {
        &self.windows[at % self.windows.len()]
    }

    /// What a probe sees that looks at the guest's first `windows` windows: distinct pages by length of
    /// time, for lengths of 1, 2, 4 and so on of them, each the mean of those that follow each other.
    pub fn probe(&self, windows: usize) -> DirtyCurve {
        let lengths = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|&n| n <= windows);
        let distinct = |from: usize, to: usize| {
            let mut seen = PageSet::empty(self.pages);
            (from..to).flat_map(|at| self.window(at)).for_each(|&page| seen.insert(page));
            seen.len() as f64
        };
        let point = |length: usize| {
            let rows = windows / length;
            let pages: f64 = (0..rows).map(|row| distinct(row * length, (row + 1) * length)).sum();
            Point { window: self.window * length as u32, pages: pages / rows as f64 }
        };
        DirtyCurve::new(lengths.map(point).collect())
    }

    /// Adds to `into` what the guest writes between these two times of its own, in seconds. The writes
    /// of a window are taken to be spread evenly over it.
    pub fn writes_between(&self, from: f64, to: f64, into: &mut PageSet) {
        let window_s = self.window.as_secs_f64();
        let (from, to) = (from / window_s, to / window_s);
        for at in from as usize..=to as usize {
            let writes = self.window(at);
            let until = |time: f64| {
                let part = (time - at as f64).clamp(0.0, 1.0);
                (part * writes.len() as f64).round() as usize
            };
            writes[until(from)..until(to)].iter().for_each(|&page| into.insert(page));
        }
    }
}
