//! The window: many pages of the guest, mapped in one go because each mapping call is dear.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::kept::{Kept, Slot};
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
    /// Where each of `pages` is mapped.
    places: Vec<Place>,
    /// What is mapped for this window alone.
    own: Option<ForeignMap>,
    kept: Kept,
    retired: Retired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Kept(Slot),
    Own(u32),
}

impl Window {
    /// Replaces the window by one of these `pages`. With `keep`, what is mapped stays so for later
    /// windows, as far as there is room.
    pub(super) fn replace(
        &mut self,
        xen: &Arc<Xen>,
        domid: Domid,
        pages: Vec<WindowPage>,
        keep: bool,
    ) -> Result<()> {
        if let Some(own) = self.own.take() {
            self.retired.take_over(own);
        }
        self.pages = pages;
        self.places.clear();
        let mut missing = Vec::new();
        for page in &self.pages {
            self.places.push(match self.kept.find(page.pfn, page.frame) {
                _ if !page.page_type.has_data() => Place::Nowhere,
                Some(slot) => Place::Kept(slot),
                None => {
                    missing.push(page.frame);
                    Place::Own(missing.len() as u32 - 1)
                }
            });
        }
        if missing.is_empty() {
            return Ok(());
        }
        let map = ForeignMap::map_what_is_there(xen, domid, &missing)?;
        if keep && self.kept.has_room_for(missing.len()) {
            self.keep(map, missing);
        } else {
            self.own = Some(map);
        }
        Ok(())
    }

    /// Gives the window's own mapping, of `frames`, to those that are kept.
    fn keep(&mut self, map: ForeignMap, frames: Vec<u64>) {
        let number = self.kept.add(map, frames);
        for (place, page) in self.places.iter_mut().zip(&self.pages) {
            if let Place::Own(index) = *place {
                let slot = Slot { map: number, index };
                self.kept.note(page.pfn, slot);
                *place = Place::Kept(slot);
            }
        }
    }

    pub(super) fn page(&self, at: usize) -> WindowPage {
        self.pages[at]
    }

    /// Copies the page to the end of `out`, which stays as it was if there is nothing to copy.
    pub(super) fn append_page_to(&self, at: usize, out: &mut Vec<u8>) -> io::Result<()> {
        match (self.places[at], &self.own) {
            (Place::Kept(slot), _) => self.kept.append_page_to(slot, out),
            (Place::Own(index), Some(map)) => map.append_page_to(index as usize, out),
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
struct Retired {
    maps: VecDeque<ForeignMap>,
    pages: usize,
}

/// Pages that may stay mapped unused: 4 GiB of the guest, for 8 MiB of Dom0's page tables.
const MAX_RETIRED_PAGES: usize = 1 << 20;

impl Retired {
    /// Takes a window that is not needed any more; unmaps the oldest if there are too many.
    fn take_over(&mut self, map: ForeignMap) {
        self.pages += map.len_pages();
        self.maps.push_back(map);
        while self.pages > MAX_RETIRED_PAGES
            && let Some(oldest) = self.maps.pop_front()
        {
            self.pages -= oldest.len_pages();
        }
    }
}
