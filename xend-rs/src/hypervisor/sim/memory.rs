//! The simulated guest itself: pages, a dirty log, and whether it runs.

use std::collections::BTreeMap;
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
            dirty: None,
            suspended: false,
        })))
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
    /// memory cannot be: then nothing happens and `false` is returned.
    pub fn write(&self, pfn: Pfn, offset: usize, bytes: &[u8]) -> bool {
        let mut state = self.state();
        if state.suspended {
            return false;
        }
        let Some(page) = state.pages.get_mut(&pfn) else { return false };
        page[offset..offset + bytes.len()].copy_from_slice(bytes);
        state.mark_dirty(pfn);
        true
    }

    /// Gives the page's memory back to the hypervisor. A suspended guest does not.
    pub fn balloon_out(&self, pfn: Pfn) {
        let mut state = self.state();
        if !state.suspended {
            state.pages.remove(&pfn);
        }
    }

    /// Gets (zeroed) memory for the page; a suspended guest does not. The new frame is not in the
    /// dirty log: Xen does not put a PV guest's there either.
    pub fn balloon_in(&self, pfn: Pfn) {
        let mut state = self.state();
        if !state.suspended {
            state.pages.entry(pfn).or_insert_with(|| Box::new([0; PAGE_SIZE]));
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
}
