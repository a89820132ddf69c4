//! Which pages were written in each window, kept as they came: for those who want more than counts.

use std::time::Duration;

use crate::hypervisor::PfnSet;

/// A trace holds no more numbers than this, which are 32 MiB: a guest of many pages may write all of
/// them.
const MOST_NUMBERS: usize = 4 << 20;
/// What a window takes besides its runs.
const NUMBERS_PER_WINDOW: usize = 8;

/// The windows of a probe, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// In order.
    pub windows: Vec<TracedWindow>,
    /// There was no room for all windows: those after the last one here are left out.
    pub is_cut_off: bool,
    /// What there is of [`MOST_NUMBERS`].
    numbers: usize,
}

/// A window, and what was written in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedWindow {
    /// How long it was. It begins where the last one ended.
    pub length: Duration,
    /// From pfn 0 on: so many pfns that were not written, so many that were, and so on.
    pub runs: Vec<u64>,
}

impl Trace {
    /// The next window, if there is room for it.
    pub(super) fn add(&mut self, pages: &PfnSet, length: Duration) {
        if self.is_cut_off {
            return;
        }
        let runs = runs(pages);
        self.numbers += runs.len() + NUMBERS_PER_WINDOW;
        if self.numbers > MOST_NUMBERS {
            self.is_cut_off = true;
        } else {
            self.windows.push(TracedWindow { length, runs });
        }
    }
}

fn runs(pages: &PfnSet) -> Vec<u64> {
    let (mut runs, mut end) = (Vec::new(), 0);
    for pfn in pages.iter() {
        match runs.last_mut() {
            Some(run) if pfn.0 == end => *run += 1,
            _ => runs.extend([pfn.0 - end, 1]),
        }
        end = pfn.0 + 1;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::types::Pfn;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_window_is_told_by_what_is_skipped_and_what_is_written() {
        for (pfns, expected) in [
            (&[][..], &[][..]),
            (&[0, 1], &[0, 2]),
            (&[3, 4, 5, 9], &[3, 3, 3, 1]),
            (&[99], &[99, 1]),
        ] {
            let mut set = PfnSet::empty(100);
            pfns.iter().for_each(|&pfn| set.insert(Pfn(pfn)));
            let mut trace = Trace::default();
            trace.add(&set, MS);
            assert_eq!(trace.windows, [TracedWindow { length: MS, runs: expected.to_vec() }]);
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out_with_all_that_follows() {
        let mut every_second = PfnSet::empty(MOST_NUMBERS as u64);
        (0..MOST_NUMBERS as u64).step_by(2).for_each(|pfn| every_second.insert(Pfn(pfn)));
        let nothing = PfnSet::empty(MOST_NUMBERS as u64);
        let mut trace = Trace::default();
        trace.add(&nothing, MS);
        assert!(!trace.is_cut_off);
        trace.add(&every_second, MS);
        assert!(trace.is_cut_off);
        trace.add(&nothing, MS);
        assert_eq!(trace.windows.len(), 1);
    }
}
