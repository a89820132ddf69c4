//! The simulated guest itself: pages, the frames they are in, a dirty log, and whether it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hypervisor::PfnSet;
use crate::hypervisor::types::{PAGE_SIZE, Pfn};

/// A page's contents.
pub type Page = Box<[u8; PAGE_SIZE]>;

/// A guest's memory, shared by the guest that writes it and the engine that reads it. Clones are
/// the same guest.
#[derive(Clone, Debug)]
pub struct SimMemory(Arc<Mutex<State>>);

#[derive(Debug)]
pub(super) struct State {
    pub(super) bound_pfns: u64,
    pub(super) pages: BTreeMap<Pfn, Page>,
    /// Which of the pages are page tables: words that are frames, up to the first zero.
    pub(super) tables: BTreeSet<Pfn>,
    /// The frame of each page, and whose each frame is. Frames are numbered from 1.
    frames: BTreeMap<Pfn, u64>,
    owners: BTreeMap<u64, Pfn>,
    next_frame: u64,
    /// The dirty log, while tracking is on.
    pub(super) dirty: Option<PfnSet>,
    pub(super) suspended: bool,
}

impl SimMemory {
    /// A guest of `bound_pfns` pages, with no memory in any of them.
    pub fn empty(bound_pfns: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            bound_pfns,
            pages: BTreeMap::new(),
            tables: BTreeSet::new(),
            frames: BTreeMap::new(),
            owners: BTreeMap::new(),
            next_frame: 1,
            dirty: None,
            suspended: false,
        })))
    }

    /// Views of this guest that there are, this one included.
    pub fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// A guest with memory in each of its pages, and something to tell them apart by.
    pub fn filled(bound_pfns: u64) -> Self {
        let memory = Self::empty(bound_pfns);
        for n in 0..bound_pfns {
            memory.balloon_in(Pfn(n));
            memory.write(Pfn(n), 0, &n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        }
        memory
    }

    /// Writes into a page, as the guest does. A suspended guest does not, and a page without
    /// memory cannot be, nor can a page table: then nothing happens and `false` is returned.
    pub fn write(&self, pfn: Pfn, offset: usize, bytes: &[u8]) -> bool {
        let mut state = self.state();
        if state.suspended || state.tables.contains(&pfn) {
            return false;
        }
        let Some(page) = state.pages.get_mut(&pfn) else { return false };
        page[offset..offset + bytes.len()].copy_from_slice(bytes);
        state.mark_dirty(pfn);
        true
    }

    /// Makes the page a page table that refers to those of `targets` that have memory.
    pub fn make_table(&self, pfn: Pfn, targets: &[Pfn]) {
        let mut state = self.state();
        if state.suspended || !state.pages.contains_key(&pfn) {
            return;
        }
        let frames: Vec<u64> =
            targets.iter().filter_map(|target| state.frames.get(target).copied()).collect();
        let page = state.pages.get_mut(&pfn).expect("it is there");
        page.fill(0);
        for (word, frame) in page.as_chunks_mut().0.iter_mut().zip(frames) {
            *word = frame.to_le_bytes();
        }
        state.tables.insert(pfn);
        state.mark_dirty(pfn);
    }

    /// Makes a page table a page like any other, with the contents that it has.
    pub fn make_plain(&self, pfn: Pfn) {
        let mut state = self.state();
        if !state.suspended && state.tables.remove(&pfn) {
            state.mark_dirty(pfn);
        }
    }

    /// Exchanges the frames of two pages, and with them what is in them. Page tables that refer to
    /// one of the frames stay as they are and mean the other page from then on; no log tells that.
    pub fn exchange_frames(&self, a: Pfn, b: Pfn) {
        let mut state = self.state();
        let (Some(frame_a), Some(frame_b)) =
            (state.frames.get(&a).copied(), state.frames.get(&b).copied())
        else {
            return;
        };
        if state.suspended || a == b {
            return;
        }
        state.place(a, frame_b);
        state.place(b, frame_a);
        let (page_a, page_b) = (state.pages.remove(&a), state.pages.remove(&b));
        state.pages.extend(
            [page_b.map(|page| (a, page)), page_a.map(|page| (b, page))].into_iter().flatten(),
        );
        let (table_a, table_b) = (state.tables.remove(&a), state.tables.remove(&b));
        if table_a {
            state.tables.insert(b);
        }
        if table_b {
            state.tables.insert(a);
        }
        state.mark_dirty(a);
        state.mark_dirty(b);
    }

    /// Gives the page's memory back to the hypervisor. A suspended guest does not, and none can
    /// where a page table refers to it.
    pub fn balloon_out(&self, pfn: Pfn) {
        let mut state = self.state();
        let Some(frame) = state.frames.get(&pfn).copied() else { return };
        if state.suspended || state.is_referred_to(frame) {
            return;
        }
        state.pages.remove(&pfn);
        state.tables.remove(&pfn);
        state.frames.remove(&pfn);
        state.owners.remove(&frame);
    }

    /// Gets (zeroed) memory for the page; a suspended guest does not. The new frame is not in the
    /// dirty log: Xen does not put a PV guest's there either.
    pub fn balloon_in(&self, pfn: Pfn) {
        let mut state = self.state();
        if !state.suspended && !state.pages.contains_key(&pfn) {
            let frame = state.next_frame;
            state.next_frame += 1;
            state.place(pfn, frame);
            state.pages.insert(pfn, Box::new([0; PAGE_SIZE]));
        }
    }

    /// Stops the guest.
    pub fn suspend(&self) {
        self.state().suspended = true;
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.state().suspended = false;
    }

    /// Whether the guest is stopped.
    pub fn is_suspended(&self) -> bool {
        self.state().suspended
    }

    /// Whether writes are tracked.
    pub fn is_tracked(&self) -> bool {
        self.state().dirty.is_some()
    }

    /// All pages that have memory.
    pub fn contents(&self) -> BTreeMap<Pfn, Page> {
        self.state().pages.clone()
    }

    /// Whether the page is a page table.
    pub fn is_table(&self, pfn: Pfn) -> bool {
        self.state().tables.contains(&pfn)
    }

    /// All pages that have memory as they travel: whether each is a page table, and its contents with
    /// pfns in the place of frames.
    ///
    /// # Panics
    /// If a page table refers to a frame that no page has.
    pub fn as_it_travels(&self) -> BTreeMap<Pfn, (bool, Page)> {
        let state = self.state();
        let travels = |(&pfn, page): (&Pfn, &Page)| {
            let is_table = state.tables.contains(&pfn);
            let page = if is_table { state.translated(page) } else { Some(page.clone()) };
            (pfn, (is_table, page.expect("its page tables refer to its own frames")))
        };
        state.pages.iter().map(travels).collect()
    }

    /// Does something to the contents of a page; says whether it has memory.
    pub(super) fn contents_of(&self, pfn: Pfn, act: impl FnOnce(&mut Page)) -> bool {
        self.state().pages.get_mut(&pfn).map(act).is_some()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn mark_dirty(&mut self, pfn: Pfn) {
        if let Some(dirty) = &mut self.dirty {
            dirty.insert(pfn);
        }
    }

    /// A page table with pfns in the place of frames; `None` if one of them is nobody's.
    pub(super) fn translated(&self, table: &Page) -> Option<Page> {
        let mut page = table.clone();
        for word in page.as_chunks_mut().0 {
            match u64::from_le_bytes(*word) {
                0 => break,
                // As a frame, pfn 0 would look like the end.
                frame => *word = (self.owners.get(&frame)?.0 + 1).to_le_bytes(),
            }
        }
        Some(page)
    }

    fn place(&mut self, pfn: Pfn, frame: u64) {
        self.frames.insert(pfn, frame);
        self.owners.insert(frame, pfn);
    }

    fn is_referred_to(&self, frame: u64) -> bool {
        self.tables.iter().any(|table| {
            let words = self.pages[table].as_chunks().0.iter();
            words.map(|word| u64::from_le_bytes(*word)).take_while(|&w| w != 0).any(|w| w == frame)
        })
    }
}
