//! Mappings of a PV guest's pages that are kept from one round to the next.
//!
//! Mapping a page costs more than reading it, and where all memory is read while the guest stands
//! still, that would be the larger part of its downtime. A mapping is of a frame. It is used again
//! only while the p2m has that same frame for the pfn, which can be looked up at once; and as long
//! as it is mapped Xen gives the frame to nobody else. For HVM guests nobody could tell.

use std::io;

use crate::hypervisor::types::Pfn;
use crate::hypervisor::xen::foreign::ForeignMap;

/// Pages that are kept mapped: 32 GiB of a guest. Dom0 pays for each with 8 bytes of page table and
/// 16 of what is known of it here, 192 MiB at the most. Of a larger guest the rest is mapped anew.
const MAX_KEPT_PAGES: usize = 1 << 23;
/// Pfns whose places are allocated together, when the first of them is mapped.
const BLOCK_PFNS: u64 = 4096;

/// One page of one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Which mapping, in the order in which they were made.
    pub(super) map: u32,
    /// Which page of it.
    pub(super) index: u32,
}

/// In the place of a slot where there is none, to be as small as one.
const NOWHERE: Slot = Slot { map: u32::MAX, index: 0 };

/// What is mapped, and where each pfn is in it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    maps: Vec<Mapping>,
    /// Where the pfns of each block are.
    places: Vec<Option<Box<[Slot]>>>,
    pages: usize,
}

#[derive(Debug)]
struct Mapping {
    map: ForeignMap,
    frames: Vec<u64>,
}

impl Kept {
    pub(super) fn has_room_for(&self, pages: usize) -> bool {
        self.pages + pages <= MAX_KEPT_PAGES
    }

    /// Keeps a mapping of `frames` and gives its number.
    pub(super) fn add(&mut self, map: ForeignMap, frames: Vec<u64>) -> u32 {
        self.pages += frames.len();
        self.maps.push(Mapping { map, frames });
        self.maps.len() as u32 - 1
    }

    /// Notes where `pfn` is mapped.
    pub(super) fn note(&mut self, pfn: Pfn, slot: Slot) {
        let (block, index) = place_of(pfn);
        if self.places.len() <= block {
            self.places.resize_with(block + 1, || None);
        }
        let places = &mut self.places[block];
        places.get_or_insert_with(|| vec![NOWHERE; BLOCK_PFNS as usize].into())[index] = slot;
    }

    /// Where `pfn` is mapped, if it is and its frame still is `frame`.
    pub(super) fn find(&self, pfn: Pfn, frame: u64) -> Option<Slot> {
        let (block, index) = place_of(pfn);
        let slot = self.places.get(block)?.as_ref()?[index];
        let Mapping { map, frames } = self.maps.get(slot.map as usize)?;
        let index = slot.index as usize;
        (frames[index] == frame && map.page_error(index).is_none()).then_some(slot)
    }

    /// Copies the page to the end of `out`, which stays as it was if that page is not mapped.
    pub(super) fn append_page_to(&self, slot: Slot, out: &mut Vec<u8>) -> io::Result<()> {
        self.maps[slot.map as usize].map.append_page_to(slot.index as usize, out)
    }
}

/// The block of a pfn, and its place in that.
fn place_of(pfn: Pfn) -> (usize, usize) {
    ((pfn.0 / BLOCK_PFNS) as usize, (pfn.0 % BLOCK_PFNS) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_mapped_is_nowhere() {
        let mut kept = Kept::default();
        assert_eq!(kept.find(Pfn(5), 7), None);
        // A place in a mapping that is not there is as good as none.
        kept.note(Pfn(3 * BLOCK_PFNS + 1), Slot { map: 0, index: 9 });
        for pfn in [0, 3 * BLOCK_PFNS, 3 * BLOCK_PFNS + 1, 9 * BLOCK_PFNS] {
            assert_eq!(kept.find(Pfn(pfn), 7), None);
        }
        assert!(kept.has_room_for(MAX_KEPT_PAGES) && !kept.has_room_for(MAX_KEPT_PAGES + 1));
    }
}
