//! The pages that are mapped for the next part of the stream to be read into.

use super::calls::Target;
use super::guest::{Check, Guest};
use crate::hypervisor::error::Result;
use crate::hypervisor::is_zero;
use crate::hypervisor::types::{PAGE_SIZE, Pfn};
use crate::hypervisor::xen::foreign::ForeignMapMut;
use crate::stream::libxc::{PageEntry, PageType};

/// Pages that are mapped at once to be made zero: 64 MiB.
const CLEARED_PAGES: usize = 16 << 10;

/// Entries whose pages are filled next. The vectors serve one window after the other.
#[derive(Default)]
pub(super) struct Window {
    /// Of the entries, those with data, in order: one page of the mapping each.
    with_data: Vec<PageEntry>,
    mapping: Option<ForeignMapMut>,
    unpopulated: Vec<Pfn>,
    frames: Vec<u64>,
}

impl Window {
    /// Populates what is missing of `entries`, notes their types and maps those with data.
    pub(super) fn open(
        &mut self,
        target: &Target,
        guest: &mut dyn Guest,
        entries: &[PageEntry],
    ) -> Result<&mut [u8]> {
        if self.is_open() {
            return Err(target.bad("pages were left unfinished"));
        }
        self.clear();
        check(guest, entries).map_err(|why| target.bad(why))?;
        self.populate(target, guest, entries.iter().copied())?;
        entries.iter().for_each(|entry| guest.note_type(entry));
        self.with_data.extend(entries.iter().filter(|entry| entry.page_type.has_data()));
        if self.with_data.is_empty() {
            return Ok(&mut []);
        }
        for entry in &self.with_data {
            self.frames.push(frame(target, guest, entry.pfn)?);
        }
        let mapping = ForeignMapMut::map(&target.xen, target.domid, &self.frames)?;
        Ok(bytes(self.mapping.insert(mapping)))
    }

    /// Makes plain pages of zeroes of `pfns`, and populates `coming`, too.
    pub(super) fn clear_pages(
        &mut self,
        target: &Target,
        guest: &mut dyn Guest,
        pfns: &[Pfn],
        coming: &[PageEntry],
    ) -> Result<()> {
        if self.is_open() {
            return Err(target.bad("pages were left unfinished"));
        }
        self.clear();
        check(guest, coming).map_err(|why| target.bad(why))?;
        let plain = |&pfn: &Pfn| PageEntry { pfn, page_type: PageType::Normal };
        let zeroes: Vec<PageEntry> = pfns.iter().map(plain).collect();
        check(guest, &zeroes).map_err(|why| target.bad(why))?;
        self.populate(target, guest, zeroes.iter().chain(coming).copied())?;
        zeroes.iter().for_each(|entry| guest.note_type(entry));
        for pfns in pfns.chunks(CLEARED_PAGES) {
            self.frames.clear();
            for &pfn in pfns {
                self.frames.push(frame(target, guest, pfn)?);
            }
            let mut mapping = ForeignMapMut::map(&target.xen, target.domid, &self.frames)?;
            // Memory that Xen has scrubbed is only looked at.
            let pages = bytes(&mut mapping).as_chunks_mut::<PAGE_SIZE>().0;
            pages.iter_mut().filter(|page| !is_zero(&page[..])).for_each(|page| page.fill(0));
        }
        Ok(())
    }

    /// The pages have their contents: makes them fit this host and unmaps them.
    pub(super) fn close(&mut self, target: &Target, guest: &mut dyn Guest) -> Result<()> {
        let Some(mut mapping) = self.mapping.take() else { return Ok(()) };
        guest.localise(target, &self.with_data, bytes(&mut mapping))
    }

    /// Whether pages are mapped whose contents are not complete.
    pub(super) fn is_open(&self) -> bool {
        self.mapping.is_some()
    }

    fn clear(&mut self) {
        self.with_data.clear();
        self.unpopulated.clear();
        self.frames.clear();
    }

    fn populate(
        &mut self,
        target: &Target,
        guest: &mut dyn Guest,
        entries: impl Iterator<Item = PageEntry>,
    ) -> Result<()> {
        let missing = entries
            .filter(|entry| needs_memory(entry.page_type) && guest.frame(entry.pfn).is_none())
            .map(|entry| entry.pfn);
        self.unpopulated.extend(missing);
        // A pfn may stand there twice; Xen would give it two frames.
        self.unpopulated.sort_unstable();
        self.unpopulated.dedup();
        guest.populate(target, &self.unpopulated)
    }
}

/// Where `pfn` is, which has been populated.
fn frame(target: &Target, guest: &dyn Guest, pfn: Pfn) -> Result<u64> {
    guest.frame(pfn).ok_or_else(|| target.bad(format!("{pfn} got no frame")))
}

/// The contents of the window.
fn bytes(mapping: &mut ForeignMapMut) -> &mut [u8] {
    // SAFETY: the domain has never run, and its toolstack connects no backend before it is
    // restored. No other mapping of its pages is in use: this is the one window, and it is closed
    // before a page is mapped for anything else. Should a stream name a pfn twice at once, two
    // parts of the slice show the same page; they are plain bytes, valid whatever they are, which
    // Xen checks before it relies on them.
    unsafe { mapping.as_mut_slice() }
}

fn check(guest: &dyn Guest, entries: &[PageEntry]) -> Check<()> {
    for PageEntry { pfn, page_type } in entries {
        if !guest.pfn_is_valid(*pfn) {
            return Err(format!("a page at {pfn}, which the guest cannot have"));
        }
        if !guest.type_is_valid(*page_type) {
            let (name, kind) = (page_type.name(), guest.guest_type().name());
            return Err(format!("{pfn} is of type {name}, which an {kind} guest does not have"));
        }
    }
    Ok(())
}

fn needs_memory(page_type: PageType) -> bool {
    page_type.has_data() || page_type == PageType::AllocOnly
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::xen::restore::hvm::HvmGuest;

    #[test]
    fn entries_are_checked_before_anything_is_done_for_them() {
        let guest = HvmGuest::new(36);
        let entry = |pfn, page_type| PageEntry { pfn: Pfn(pfn), page_type };
        let (good, absent) = (entry(5, PageType::Normal), entry(6, PageType::Invalid));
        assert_eq!(check(&guest, &[good, absent]), Ok(()));
        let beyond = check(&guest, &[good, entry(1 << 24, PageType::Invalid)]);
        assert_eq!(beyond.unwrap_err(), "a page at pfn 0x1000000, which the guest cannot have");
        let table = check(&guest, &[good, entry(6, PageType::L1)]);
        assert!(table.unwrap_err().starts_with("pfn 0x6 is of type L1TAB"));
    }

    #[test]
    fn pages_without_contents_need_memory_only_if_they_are_to_be_allocated() {
        let needed = PageType::ALL.into_iter().filter(|t| needs_memory(*t)).count();
        assert_eq!(needed, 10);
        assert!(needs_memory(PageType::AllocOnly));
        assert!(!needs_memory(PageType::Invalid) && !needs_memory(PageType::Broken));
    }
}
