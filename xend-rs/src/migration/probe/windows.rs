//! From what was written in each short window to what would have been written in longer ones.

use std::time::Duration;

use super::{HOT_SHARE, HOTTEST, Probe, Trace};
use crate::hypervisor::PfnSet;
use crate::hypervisor::types::Pfn;
use crate::migration::Tracking;
use crate::migration::dirty_curve::{DirtyCurve, Point, Unseen};

/// A page that is written again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HotPage {
    /// Which.
    pub pfn: Pfn,
    /// In what share of the windows it was written.
    pub share: f64,
}

/// Windows so far, and their unions.
pub(super) struct Windows {
    /// Windows of 1, 2, 4, ... base windows.
    levels: Vec<Level>,
    /// In how many windows each pfn was written.
    counts: Counts,
    windows: u32,
    length: Duration,
    written: PfnSet,
    /// They themselves, if they are to be kept.
    trace: Option<Trace>,
}

/// Pfns whose counts are allocated together, when the first of them is written: a guest may have many
/// more pfns than pages.
const BLOCK_PFNS: u64 = 4096;

/// A number for each pfn.
struct Counts(Vec<Option<Box<[u16]>>>);

impl Counts {
    fn new(pfn_count: u64) -> Self {
        let blocks = usize::try_from(pfn_count.div_ceil(BLOCK_PFNS));
        Self(vec![None; blocks.expect("a pfn bitmap fits in memory")])
    }

    fn add(&mut self, pfn: Pfn) {
        let block = &mut self.0[(pfn.0 / BLOCK_PFNS) as usize];
        let block = block.get_or_insert_with(|| vec![0; BLOCK_PFNS as usize].into());
        let count = &mut block[(pfn.0 % BLOCK_PFNS) as usize];
        *count = count.saturating_add(1);
    }

    /// The pfns of which some are counted, and their counts.
    fn iter(&self) -> impl Iterator<Item = (u64, u16)> + '_ {
        (0..).step_by(BLOCK_PFNS as usize).zip(&self.0).flat_map(|(first, block)| {
            (first..).zip(block.iter().flat_map(|counts| counts.iter().copied()))
        })
    }
}

/// What is known of windows of one length.
#[derive(Default)]
struct Level {
    windows: u32,
    pages: u64,
    length: Duration,
    /// One that waits for its neighbour.
    waiting: Option<(PfnSet, Duration)>,
}

impl Windows {
    /// None yet, of a guest with so many pfns. With `keep` each window is kept besides.
    pub(super) fn new(pfn_count: u64, keep: bool) -> Self {
        Self {
            levels: Vec::new(),
            counts: Counts::new(pfn_count),
            windows: 0,
            length: Duration::ZERO,
            written: PfnSet::empty(pfn_count),
            trace: keep.then(Trace::default),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.windows
    }

    /// The next window, which begins where the last one ended.
    pub(super) fn add(&mut self, pages: &PfnSet, length: Duration) {
        self.windows += 1;
        self.length += length;
        self.written.union_with(pages);
        if let Some(trace) = &mut self.trace {
            trace.add(pages, length);
        }
        for pfn in pages.iter() {
            self.counts.add(pfn);
        }
        let mut next = (pages.clone(), length);
        for at in 0.. {
            if at == self.levels.len() {
                self.levels.push(Level::default());
            }
            match self.levels[at].take_in(next) {
                Some(pair) => next = pair,
                None => return,
            }
        }
    }

    fn curve(&self) -> DirtyCurve {
        let mut points: Vec<Point> = self.levels.iter().map(Level::point).collect();
        // All of it, which need not be a power of two.
        points.push(Point { window: self.length, pages: self.written.len_pfns() as f64 });
        DirtyCurve::new(points).with_unseen(self.unseen())
    }

    fn unseen(&self) -> Option<Unseen> {
        let (mut once, mut twice) = (0, 0);
        for (_, count) in self.counts.iter() {
            once += u64::from(count == 1);
            twice += u64::from(count == 2);
        }
        Unseen::told_by(self.windows, self.length, once, twice)
    }

    fn hot(&self) -> (u64, Vec<HotPage>) {
        let least = (f64::from(self.windows) * HOT_SHARE).ceil().max(1.0);
        let mut hot: Vec<(u64, u16)> =
            self.counts.iter().filter(|&(_, count)| f64::from(count) >= least).collect();
        let pages = hot.len() as u64;
        hot.sort_by_key(|&(pfn, count)| (std::cmp::Reverse(count), pfn));
        let windows = f64::from(self.windows.max(1));
        let named = |(pfn, count)| HotPage { pfn: Pfn(pfn), share: f64::from(count) / windows };
        (pages, hot.into_iter().take(HOTTEST).map(named).collect())
    }

    /// What they come to. `reading` is the time that the guest stood still in all.
    pub(super) fn finish(self, tracking: Tracking, reading: Duration, cut_short: bool) -> Probe {
        let (hot_pages, hottest) = self.hot();
        Probe {
            tracking,
            length: self.length,
            windows: self.windows,
            pause: reading / self.windows.max(1),
            curve: self.curve(),
            written: self.written,
            hot_pages,
            hottest,
            cut_short,
            trace: self.trace,
        }
    }
}

impl Level {
    /// Counts a window, and gives it with its neighbour if it is the second of two.
    fn take_in(&mut self, (pages, length): (PfnSet, Duration)) -> Option<(PfnSet, Duration)> {
        self.windows += 1;
        self.pages += pages.len_pfns();
        self.length += length;
        match self.waiting.take() {
            None => {
                self.waiting = Some((pages, length));
                None
            }
            Some((mut both, before)) => {
                both.union_with(&pages);
                Some((both, before + length))
            }
        }
    }

    fn point(&self) -> Point {
        let windows = self.windows.max(1);
        Point { window: self.length / windows, pages: self.pages as f64 / f64::from(windows) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pfns: &[u64]) -> PfnSet {
        let mut set = PfnSet::empty(64);
        pfns.iter().for_each(|&pfn| set.insert(Pfn(pfn)));
        set
    }

    #[test]
    fn neighbours_are_united_and_their_pages_counted_once() {
        let mut windows = Windows::new(64, true);
        for pfns in [&[1, 2][..], &[2, 3], &[1], &[], &[2, 40]] {
            windows.add(&set(pfns), Duration::from_millis(100));
        }
        let probe = windows.finish(Tracking::LogDirty, Duration::from_millis(50), false);
        assert_eq!((probe.windows, probe.length), (5, Duration::from_millis(500)));
        assert_eq!(probe.written, set(&[1, 2, 3, 40]));
        assert_eq!((probe.written_pages(), probe.pause), (4, Duration::from_millis(10)));
        let expected = [
            (100, 7.0 / 5.0),
            // 1 2 3, and 1.
            (200, 2.0),
            (400, 3.0),
            (500, 4.0),
        ];
        let points: Vec<_> =
            probe.curve.points().iter().map(|p| (p.window.as_millis(), p.pages)).collect();
        assert_eq!(points, expected);
        // In 3 and 2 of 5 windows; the others in one.
        assert_eq!(probe.hot_pages, 2);
        let named: Vec<_> = probe.hottest.iter().map(|hot| (hot.pfn, hot.share)).collect();
        assert_eq!(named, [(Pfn(2), 0.6), (Pfn(1), 0.4)]);
        let kept = probe.trace.unwrap().windows;
        let runs: Vec<_> = kept.iter().map(|window| window.runs.as_slice()).collect();
        assert_eq!(runs, [&[1, 2][..], &[2, 2], &[1, 1], &[], &[2, 1, 37, 1]]);
        assert!(kept.iter().all(|window| window.length == Duration::from_millis(100)));
    }

    #[test]
    fn without_a_window_there_is_nothing_and_no_division() {
        let probe = Windows::new(64, false).finish(Tracking::LogDirty, Duration::ZERO, true);
        assert_eq!((probe.windows, probe.written_pages(), probe.hot_pages), (0, 0, 0));
        assert_eq!((probe.window(), probe.pages_per_s()), (Duration::ZERO, 0.0));
        assert!(probe.curve.points().is_empty() && probe.trace.is_none());
    }
}
