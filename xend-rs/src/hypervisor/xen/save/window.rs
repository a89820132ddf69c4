//! The window: many pages of the guest, mapped in one go because each mapping call is dear.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::hypervisor::error::Result;
use crate::hypervisor::types::{Domid, Pfn};
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::foreign::ForeignMap;
use crate::stream::libxc::PageType;

/// One page that is to be in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowPage {
    /// Which page.
    pub(super) pfn: Pfn,
    /// Where it is: its machine frame (PV) or guest frame (HVM).
    pub(super) frame: u64,
    /// What it is, as far as it is known by now. Only pages with data are mapped.
    pub(super) page_type: PageType,
}

/// The pages that the next batches ask for, mapped as far as they have memory.
#[derive(Debug, Default)]
pub(super) struct Window {
    pages: Vec<WindowPage>,
    /// Which page of the mapping each of `pages` is; only meaningful for those with data.
    slots: Vec<u32>,
    map: Option<ForeignMap>,
    next: usize,
}

impl Window {
    pub(super) fn map(xen: &Arc<Xen>, domid: Domid, pages: Vec<WindowPage>) -> Result<Self> {
        let mut frames = Vec::with_capacity(pages.len());
        let mut slots = Vec::with_capacity(pages.len());
        for page in &pages {
            slots.push(frames.len() as u32);
            if page.page_type.has_data() {
                frames.push(page.frame);
            }
        }
        let map = match frames.as_slice() {
            [] => None,
            frames => Some(ForeignMap::map_what_is_there(xen, domid, frames)?),
        };
        Ok(Self { pages, slots, map, next: 0 })
    }

    /// Where `pfn` is in the window. They are asked for in order, mostly.
    ///
    /// # Panics
    /// If it is not in the window.
    pub(super) fn position(&mut self, pfn: Pfn) -> usize {
        let (before, rest) = self.pages.split_at(self.next);
        let ahead = rest.iter().position(|page| page.pfn == pfn).map(|at| at + before.len());
        let found = ahead.or_else(|| before.iter().position(|page| page.pfn == pfn));
        let at = found.unwrap_or_else(|| panic!("{pfn} is not in the window"));
        self.next = at + 1;
        at
    }

    pub(super) fn frame(&self, at: usize) -> u64 {
        self.pages[at].frame
    }

    pub(super) fn page_type(&self, at: usize) -> PageType {
        self.pages[at].page_type
    }

    /// Copies the page to the end of `out`, which stays as it was if there is nothing to copy.
    pub(super) fn append_page_to(&self, at: usize, out: &mut Vec<u8>) -> io::Result<()> {
        match &self.map {
            Some(map) if self.pages[at].page_type.has_data() => {
                map.append_page_to(self.slots[at] as usize, out)
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Windows that have been read and not been unmapped yet.
///
/// In a PV Dom0 a foreign page is unmapped by a write to a page table that Xen has to emulate, one
/// trap for each page. When a process ends Linux first gives its page tables back to itself, and
/// then takes them down without Xen. So windows are put off for as long as they cost little, and a
/// process that saves one guest and ends never unmaps them itself.
#[derive(Debug, Default)]
pub(super) struct Retired {
    maps: VecDeque<ForeignMap>,
    pages: usize,
}

/// Pages that may stay mapped unused: 4 GiB of the guest, for 8 MiB of Dom0's page tables.
const MAX_RETIRED_PAGES: usize = 1 << 20;

impl Retired {
    /// Takes a window that is not needed any more; unmaps the oldest if there are too many.
    pub(super) fn take_over(&mut self, window: Window) {
        let Some(map) = window.map else { return };
        self.pages += map.len_pages();
        self.maps.push_back(map);
        while self.pages > MAX_RETIRED_PAGES
            && let Some(oldest) = self.maps.pop_front()
        {
            self.pages -= oldest.len_pages();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(pfns: &[u64]) -> Window {
        let page = |&pfn| WindowPage { pfn: Pfn(pfn), frame: pfn, page_type: PageType::Invalid };
        Window { pages: pfns.iter().map(page).collect(), ..Window::default() }
    }

    #[test]
    fn pages_are_found_in_order_and_out_of_order() {
        let mut window = window(&[5, 9, 2, 7]);
        let found = [5, 2, 7, 9, 9, 5].map(|pfn| window.position(Pfn(pfn)));
        assert_eq!(found, [0, 2, 3, 1, 1, 0]);
    }

    #[test]
    #[should_panic(expected = "pfn 0x6 is not in the window")]
    fn a_page_outside_of_the_window_is_a_bug() {
        window(&[5]).position(Pfn(6));
    }
}
