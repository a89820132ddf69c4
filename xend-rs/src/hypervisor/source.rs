//! The guest as its source host sees it: memory to read, writes to track, state to save.

use std::ops::Range;

use super::error::Result;
use super::pfn_set::PfnSet;
use super::types::{Domid, PAGE_SIZE, Pfn};
use super::zero::is_zero;
use crate::stream::libxc::{GuestType, PageEntry, PageType, Record};

/// Whether a guest's vCPUs may run while its memory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// The guest runs: a page that cannot be read now is *owed*, and tried again later.
    Running,
    /// The guest is suspended: a page that cannot be read is an error, for nothing will change it
    /// and there is no later.
    Suspended,
}

/// What Xen counted since dirty bits were last cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirtyStats {
    /// Pages that were dirty.
    pub dirty_pages: u64,
    /// Write faults that tracking took.
    pub faults: u64,
}

/// Whether Xen can note each page that a guest writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDirtySupport {
    /// It can, by what it says of itself.
    Available,
    /// It cannot, and this is what it lacks, as a clause ("this Xen is built without ...").
    Missing(String),
}

/// Says of each page that was read whether it has to travel.
///
/// Asked by several readers at once, but never at the same time about the same pfn.
pub trait Sieve: Sync {
    /// Whether this page has to travel. If so it will, and the sieve may take it as sent.
    ///
    /// `page` is the very copy that will travel, its page tables in terms of pfns already; empty
    /// for types that carry no data.
    fn lets_through(&self, entry: PageEntry, page: &[u8]) -> bool;
}

/// The sieve that holds nothing back.
#[derive(Clone, Copy, Debug)]
pub struct EverythingTravels;

impl Sieve for EverythingTravels {
    fn lets_through(&self, _: PageEntry, _: &[u8]) -> bool {
        true
    }
}

/// Copies of guest pages on their way out, one batch of them. Reused from batch to batch.
#[derive(Debug)]
pub struct PageBatch {
    /// What to say of each pfn; those whose type carries data have one page in `data`, in order.
    pub entries: Vec<PageEntry>,
    /// The page contents, [`PAGE_SIZE`](super::types::PAGE_SIZE) bytes each: private copies, page
    /// tables already in terms of pfns.
    pub data: Vec<u8>,
    /// Plain pages that travel and hold only zeroes, where those are [told apart](Self::tell_zeroes).
    pub zeroes: Vec<Pfn>,
    /// Whether pages of zeroes go to `zeroes`, and not to `entries` and `data`.
    pub tell_zeroes: bool,
    /// Pfns that could not be read as the guest runs, or that have no memory now: they are owed
    /// and must be looked at again after the suspend.
    pub owed: Vec<Pfn>,
    /// Pages whose contents were copied, whether they travel or not.
    pub read_pages: u64,
}

impl PageBatch {
    /// An empty batch with room for [`MAX_BATCH_PFNS`] pages.
    pub fn new() -> Self {
        Self {
            entries: Vec::with_capacity(MAX_BATCH_PFNS),
            data: Vec::with_capacity(MAX_BATCH_PFNS * PAGE_SIZE),
            zeroes: Vec::new(),
            tell_zeroes: false,
            owed: Vec::new(),
            read_pages: 0,
        }
    }

    /// Adds a page whose contents, if it has any, are what `data` has from `start` on. Where the sieve
    /// holds it back they are taken off again: the next page is then read to the same place, which
    /// the processor has at hand.
    pub fn add(&mut self, entry: PageEntry, start: usize, sieve: &dyn Sieve) {
        let page = &self.data[start..];
        if !sieve.lets_through(entry, page) {
            self.data.truncate(start);
        } else if self.tell_zeroes && entry.page_type == PageType::Normal && is_zero(page) {
            self.data.truncate(start);
            self.zeroes.push(entry.pfn);
        } else {
            self.entries.push(entry);
        }
    }

    /// Whether nothing of it travels.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.zeroes.is_empty()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.data.clear();
        self.zeroes.clear();
        self.tell_zeroes = false;
        self.owed.clear();
        self.read_pages = 0;
    }
}

/// A guest that is being saved or migrated away.
///
/// The order of calls is the engine's: [`static_records`](Self::static_records), then pages, rounds
/// and dirty bitmaps while the guest runs, then (after the toolstack suspended it)
/// [`confirm_suspended`](Self::confirm_suspended), the last pages and
/// [`suspended_records`](Self::suspended_records).
///
/// Dropping the value unmaps everything, frees every buffer and turns write tracking off.
///
/// Several threads may read batches at once; everything else is one thread's.
pub trait SourceGuest: Sync {
    /// The domain.
    fn domid(&self) -> Domid;

    /// What the stream calls this guest: PV, or HVM (which PVH is to the engine).
    fn guest_type(&self) -> GuestType;

    /// The version of the running Xen, for the domain header: major, minor.
    fn xen_version(&self) -> (u32, u32);

    /// One more than the highest pfn. Fixed for the life of this value.
    fn pfn_count(&self) -> u64;

    /// The records that come before STATIC_DATA_END: PV_INFO for PV, then the CPU policies.
    fn static_records(&mut self) -> Result<Vec<Record>>;

    /// The records between STATIC_DATA_END and the first page: the p2m frames of a PV guest.
    fn layout_records(&mut self) -> Result<Vec<Record>>;

    /// Whether Xen says that it can track this guest's writes. Nothing is touched by asking; that it
    /// really can is known once [`enable_log_dirty`](Self::enable_log_dirty) has succeeded.
    fn log_dirty_support(&mut self) -> Result<LogDirtySupport>;

    /// Whether a device of the host is passed through to it. That writes to its memory by itself, also
    /// while the guest is suspended.
    fn has_passed_through_device(&mut self) -> Result<bool>;

    /// Starts write tracking, with every page clean. State that an earlier, killed toolstack left
    /// on is cleared first.
    fn enable_log_dirty(&mut self) -> Result<()>;

    /// Starts write tracking, as [`enable_log_dirty`](Self::enable_log_dirty) does, but not where it is
    /// on: for whoever only wants to look, and must not take somebody else's log.
    ///
    /// # Errors
    /// If it is on already, or cannot be turned on.
    fn enable_log_dirty_unless_on(&mut self) -> Result<()>;

    /// Adds the pages written since the last call to `into` and marks them clean in Xen. From here
    /// on they are the caller's debt: nobody else remembers them.
    ///
    /// With [`Liveness::Suspended`] Xen also reports frames that it keeps mapped for itself.
    fn take_dirty(&mut self, into: &mut PfnSet, liveness: Liveness) -> Result<DirtyStats>;

    /// Adds the pages written since the last [`take_dirty`](Self::take_dirty) to `into` and leaves them
    /// as they are: they will be told again. The guest is stopped meanwhile.
    ///
    /// # Errors
    /// Xen's, or if writes are not tracked.
    fn peek_dirty(&mut self, into: &mut PfnSet) -> Result<()>;

    /// Stops write tracking. Harmless where it is off.
    fn disable_log_dirty(&mut self) -> Result<()>;

    /// Says which pfns the next [`read_batch`](Self::read_batch) calls will ask for, so that they can
    /// be mapped in one go. Replaces what an earlier call announced. Pages that are
    /// to be read with [`Liveness::Suspended`] must be announced after the suspend.
    fn map_window(&mut self, pfns: &[Pfn]) -> Result<()>;

    /// Appends private copies of pages to `batch`: those at the places `pages` of the last window,
    /// at most [`MAX_BATCH_PFNS`] of them, as far as `sieve` lets them through.
    ///
    /// A pfn without memory gets an entry of type XTAB (`Invalid`). Should it get memory while the guest runs,
    /// that counts as a write to it: either [`take_dirty`](Self::take_dirty) will report it, or it
    /// is owed from now on. A page table that is changing under a running guest gets no entry and
    /// is owed.
    ///
    /// # Errors
    /// With [`Liveness::Suspended`], any page that has memory and cannot be read.
    fn read_batch(
        &self,
        pages: Range<usize>,
        liveness: Liveness,
        sieve: &dyn Sieve,
        batch: &mut PageBatch,
    ) -> Result<()>;

    /// Fails if the guest moved a structure that was read at the start (a PV guest's p2m), or has got
    /// pages beyond its [`pfn_count`](Self::pfn_count).
    fn check_layout(&mut self) -> Result<()>;

    /// Whether the domain has in truth stopped with the reason *suspend*.
    fn confirm_suspended(&mut self) -> Result<bool>;

    /// The state that only holds still in a suspended guest, in stream order: TSC, shared info and
    /// vCPUs for PV; TSC, HVM context and parameters for HVM.
    fn suspended_records(&mut self) -> Result<Vec<Record>>;
}

impl Default for PageBatch {
    fn default() -> Self {
        Self::new()
    }
}

/// How many pfns Xen types in one call (`XEN_DOMCTL_getpageframeinfo3`), and therefore the size of
/// a batch and of a PAGE_DATA record.
pub const MAX_BATCH_PFNS: usize = 1024;
