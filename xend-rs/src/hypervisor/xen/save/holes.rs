//! Holes: pfns that had no memory when they were looked at.
//!
//! A guest fills holes when its balloon deflates. Xen does not report that as a write, so it is
//! found out here; otherwise a page that got its memory during the migration would be missing on
//! the other side.
//!
//! Nor are writes to new memory of an HVM guest noted, until Xen has been asked for the dirty pages
//! the next time. So a hole stays one, whatever is seen of it meanwhile, until it is found filled
//! right before Xen is asked: what is read of it after that is new enough, and what is written
//! later is noted.

use crate::hypervisor::error::Result;
use crate::hypervisor::types::{Domid, Pfn, PfnRange};
use crate::hypervisor::xen::Xen;
use crate::hypervisor::{Liveness, MAX_BATCH_PFNS, PfnSet};
use crate::stream::libxc::PageType;

/// The holes seen so far that have not been found filled since.
#[derive(Debug)]
pub(super) struct Holes {
    pfns: PfnSet,
    /// What the guest had at the last look.
    total_pages: u64,
}

impl Holes {
    /// No holes yet, in a guest that has `total_pages` pages.
    pub(super) fn new(pfn_count: u64, total_pages: u64) -> Self {
        Self { pfns: PfnSet::empty(pfn_count), total_pages }
    }

    /// Notes which of these pfns have just been seen to be holes.
    pub(super) fn note(&mut self, seen: impl Iterator<Item = (Pfn, PageType)>) {
        for (pfn, page_type) in seen {
            if page_type == PageType::Invalid {
                self.pfns.insert(pfn);
            }
        }
    }

    /// Moves the holes that have memory now to `into`.
    pub(super) fn take_filled(&mut self, into: &mut PfnSet, has_memory: impl Fn(Pfn) -> bool) {
        let filled: Vec<Pfn> = self.pfns.iter().filter(|&pfn| has_memory(pfn)).collect();
        for pfn in filled {
            self.pfns.remove(pfn);
            into.insert(pfn);
        }
    }

    /// The same for an HVM guest, where Xen must be asked about each hole. There are hundreds of
    /// thousands of them, between the end of its memory and its device pages, too many to ask about
    /// in each round, or while it stands still.
    pub(super) fn take_filled_hvm(
        &mut self,
        into: &mut PfnSet,
        liveness: Liveness,
        xen: &Xen,
        domid: Domid,
    ) -> Result<()> {
        let domain = xen.domain_info(domid)?;
        let Some(which) = self.worth_asking(domain.total_pages, liveness) else { return Ok(()) };
        let is_meant = |pfn| which == Which::All || is_memory(pfn, domain.max_pages);
        self.take_those_with_data(into, is_meant, |pfns| {
            let mut frames: Vec<u64> = pfns.iter().map(|pfn| pfn.0).collect();
            xen.page_types(domid, &mut frames, PfnRange::spanning(pfns))
        })
    }

    /// Which holes to ask about in a guest that has `total_pages` now.
    ///
    /// While it runs, none unless its memory has grown or shrunk: a balloon that moves mostly shows in
    /// that. What was given back and taken again between two looks does not, and stays a hole here. So
    /// once it stands still, those that a balloon leaves are asked about in any case.
    fn worth_asking(&mut self, total_pages: u64, liveness: Liveness) -> Option<Which> {
        let before = std::mem::replace(&mut self.total_pages, total_pages);
        match liveness {
            _ if total_pages != before => Some(Which::All),
            Liveness::Suspended => Some(Which::OfBalloon),
            Liveness::Running => None,
        }
    }

    /// Moves those of the holes that are meant and have data by what `page_types` says to `into`.
    fn take_those_with_data(
        &mut self,
        into: &mut PfnSet,
        is_meant: impl Fn(Pfn) -> bool,
        mut page_types: impl FnMut(&[Pfn]) -> Result<Vec<PageType>>,
    ) -> Result<()> {
        let holes: Vec<Pfn> = self.pfns.iter().filter(|&pfn| is_meant(pfn)).collect();
        for pfns in holes.chunks(MAX_BATCH_PFNS) {
            for (&pfn, page_type) in pfns.iter().zip(page_types(pfns)?) {
                if page_type.has_data() {
                    self.pfns.remove(pfn);
                    into.insert(pfn);
                }
            }
        }
        Ok(())
    }
}

/// Holes to ask Xen about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    /// Those where a guest of this size has its memory.
    OfBalloon,
}

/// Whether an HVM guest that may have `max_pages` has memory there, or had before its balloon took it.
fn is_memory(pfn: Pfn, max_pages: u64) -> bool {
    /// Memory that has no room below the devices under 4 GiB goes on from there.
    const HIGH_MEMORY: Pfn = Pfn(1 << 20);
    pfn.0 < max_pages || pfn >= HIGH_MEMORY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_hole_is_reported_once() {
        let mut holes = Holes::new(100, 50);
        let hole = |pfn| (Pfn(pfn), PageType::Invalid);
        holes.note([3, 64, 99].map(hole).into_iter());
        holes.note([(Pfn(70), PageType::L1)].into_iter());
        let mut dirty = PfnSet::empty(100);
        dirty.insert(Pfn(1));
        holes.take_filled(&mut dirty, |pfn| pfn >= Pfn(64) && pfn < Pfn(99));
        assert_eq!(dirty.iter().collect::<Vec<_>>(), [Pfn(1), Pfn(64)]);
        dirty.clear();
        holes.take_filled(&mut dirty, |pfn| pfn == Pfn(64));
        assert!(dirty.is_empty());
    }

    #[test]
    fn a_filled_hole_is_reported_although_it_was_read_meanwhile() {
        let mut holes = Holes::new(100, 50);
        for page_type in [PageType::Invalid, PageType::Normal] {
            holes.note([(Pfn(7), page_type)].into_iter());
        }
        let mut dirty = PfnSet::empty(100);
        holes.take_filled(&mut dirty, |_| true);
        assert!(dirty.contains(Pfn(7)));
    }

    #[test]
    fn all_holes_are_looked_at_if_the_balloon_has_moved_and_likely_ones_at_last() {
        let mut holes = Holes::new(100, 50);
        let mut look = |total_pages| holes.worth_asking(total_pages, Liveness::Running);
        let all = Some(Which::All);
        assert_eq!([50, 51, 51, 50, 50].map(&mut look), [None, all, None, all, None]);
        assert_eq!(holes.worth_asking(50, Liveness::Suspended), Some(Which::OfBalloon));
        assert_eq!(holes.worth_asking(49, Liveness::Suspended), all);
        assert!(is_memory(Pfn(999), 1000) && is_memory(Pfn(1 << 20), 1000));
        assert!(!is_memory(Pfn(1000), 1000) && !is_memory(Pfn(0xf_eff0), 1000));
    }

    #[test]
    fn each_hole_is_asked_about_and_only_those_with_data_leave() {
        const PFNS: u64 = 3000;
        let mut holes = Holes::new(PFNS, 0);
        holes.note((0..PFNS).map(|pfn| (Pfn(pfn), PageType::Invalid)));
        let is_filled = |pfn: Pfn| pfn.0.is_multiple_of(1000);
        let answer = |pfns: &[Pfn]| {
            assert!(pfns.len() <= MAX_BATCH_PFNS);
            let page_type = |&pfn: &Pfn| match is_filled(pfn) {
                true => PageType::Normal,
                false => PageType::Invalid,
            };
            Ok(pfns.iter().map(page_type).collect())
        };
        let mut dirty = PfnSet::empty(PFNS);
        holes.take_those_with_data(&mut dirty, |pfn| pfn != Pfn(1000), answer).unwrap();
        assert_eq!(dirty.iter().collect::<Vec<_>>(), [Pfn(0), Pfn(2000)]);
        dirty.clear();
        holes.take_those_with_data(&mut dirty, |pfn| pfn != Pfn(1000), answer).unwrap();
        assert!(dirty.is_empty());
    }
}
