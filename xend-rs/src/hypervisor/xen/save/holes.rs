//! Holes: pfns that had no memory when they were looked at.
//!
//! A guest fills holes when its balloon deflates. Xen does not report that as a write, so it is
//! found out here; otherwise a page that got its memory during the migration would be missing on
//! the other side.

use crate::hypervisor::error::Result;
use crate::hypervisor::types::{Domid, Pfn, PfnRange};
use crate::hypervisor::xen::Xen;
use crate::hypervisor::{MAX_BATCH_PFNS, PfnSet};
use crate::stream::libxc::PageType;

/// The holes seen so far that have not been filled since.
#[derive(Debug)]
pub(super) struct Holes {
    pfns: PfnSet,
    total_pages: u64,
}

impl Holes {
    /// No holes yet, in a guest that has `total_pages` pages.
    pub(super) fn new(pfn_count: u64, total_pages: u64) -> Self {
        Self { pfns: PfnSet::empty(pfn_count), total_pages }
    }

    /// Notes what these pfns have just been seen to be.
    pub(super) fn note(&mut self, seen: impl Iterator<Item = (Pfn, PageType)>) {
        for (pfn, page_type) in seen {
            match page_type {
                PageType::Invalid => self.pfns.insert(pfn),
                _ => self.pfns.remove(pfn),
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
    /// while it stands still. So they are looked at only after the guest's memory has grown or
    /// shrunk: a balloon that moves shows in that.
    pub(super) fn take_filled_hvm(
        &mut self,
        into: &mut PfnSet,
        xen: &Xen,
        domid: Domid,
    ) -> Result<()> {
        let total_pages = xen.domain_info(domid)?.total_pages;
        if total_pages == self.total_pages {
            return Ok(());
        }
        self.total_pages = total_pages;
        let holes: Vec<Pfn> = self.pfns.iter().collect();
        for pfns in holes.chunks(MAX_BATCH_PFNS) {
            let mut types: Vec<u64> = pfns.iter().map(|pfn| pfn.0).collect();
            let page_types = xen.page_types(domid, &mut types, PfnRange::spanning(pfns))?;
            for (&pfn, page_type) in pfns.iter().zip(page_types) {
                if page_type.has_data() {
                    self.pfns.remove(pfn);
                    into.insert(pfn);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_hole_is_reported_once() {
        let mut holes = Holes::new(100, 50);
        let hole = |pfn| (Pfn(pfn), PageType::Invalid);
        holes.note([3, 64, 70, 99].map(hole).into_iter());
        holes.note([(Pfn(70), PageType::L1)].into_iter());
        let mut dirty = PfnSet::empty(100);
        dirty.insert(Pfn(1));
        holes.take_filled(&mut dirty, |pfn| pfn >= Pfn(64) && pfn < Pfn(99));
        assert_eq!(dirty.iter().collect::<Vec<_>>(), [Pfn(1), Pfn(64)]);
        dirty.clear();
        holes.take_filled(&mut dirty, |pfn| pfn == Pfn(64));
        assert!(dirty.is_empty());
    }
}
