//! Tracking by looking: all memory is read again, and what differs from what was sent travels.
//!
//! Nothing in the hypervisor takes part, so it works for every guest on every Xen. The price is a
//! pass over memory for each round, and the last one is downtime. Whatever a live round misses (a
//! page that changes just after it was read, a torn copy, a page that comes, goes or becomes a page
//! table) differs in the last pass from what was sent, so only that one has to be complete.

use super::digest_table::DigestTable;
use super::{Tracker, Tracking};
use crate::hypervisor::{HypervisorError, Liveness, PfnSet, Result, Sieve, SourceGuest};

/// Live scans of all memory before scans may be coarse.
const FULL_SCANS: u32 = 2;
/// Coarse scans before there is a full one again.
const COARSE_SCANS: u32 = 3;

/// Digests of what was sent, and what they cost to compare: 16 bytes for each pfn of a part of
/// memory that the guest uses, 3 bits for each other one.
pub struct Digest {
    table: DigestTable,
    readers: usize,
    /// How often the set of a next pass was asked for, which is after each pass.
    passes: u32,
    coarse_scans: u32,
    /// What changed from the last but one scan to the last.
    last_changed: PfnSet,
}

impl Digest {
    /// A tracker for a guest of `pfn_count` pfns, whose memory is read by `readers` threads.
    pub fn new(pfn_count: u64, readers: usize) -> Self {
        Self {
            table: DigestTable::new(pfn_count),
            readers,
            passes: 0,
            coarse_scans: 0,
            last_changed: PfnSet::empty(pfn_count),
        }
    }

    /// Whether the next live scan may leave out what was stable in the last two. What is written
    /// there meanwhile is left to the next full scan, or the last pass. In return the pages that are
    /// hot are looked at once more and very soon: that makes the last pass short.
    fn may_be_coarse(&mut self, recent: &PfnSet, pfn_count: u64) -> bool {
        let pays = recent.len_pfns() < pfn_count / 4;
        if self.passes <= FULL_SCANS || self.coarse_scans >= COARSE_SCANS || !pays {
            self.coarse_scans = 0;
            return false;
        }
        self.coarse_scans += 1;
        true
    }
}

impl<G: SourceGuest> Tracker<G> for Digest {
    fn tracking(&self) -> Tracking {
        Tracking::Digest
    }

    /// Xen refuses to log the writes of a guest with a device of its own; here nobody else would.
    fn start(&mut self, guest: &mut G) -> Result<()> {
        if guest.has_passed_through_device()? {
            let what =
                "a device is passed through to it, which may write to its memory at any time; \
                        detach it"
                    .to_owned();
            return Err(HypervisorError::Unsupported { domid: guest.domid(), what });
        }
        Ok(())
    }

    fn is_live(&self) -> bool {
        true
    }

    /// A device model's writes are found like all others.
    fn needs_device_model_log(&self) -> bool {
        false
    }

    fn reads_everything(&self) -> bool {
        true
    }

    fn readers(&self) -> usize {
        self.readers
    }

    fn next_set(
        &mut self,
        guest: &mut G,
        into: &mut PfnSet,
        liveness: Liveness,
    ) -> Result<Option<u64>> {
        let changed = self.table.take_changed();
        self.passes += 1;
        // In the first pass everything was new.
        let found = (self.passes > 1).then(|| changed.len_pfns());
        let mut recent = changed.clone();
        recent.union_with(&self.last_changed);
        self.last_changed = changed;
        if liveness == Liveness::Running && self.may_be_coarse(&recent, guest.pfn_count()) {
            into.union_with(&recent);
        } else {
            *into = PfnSet::full(guest.pfn_count());
        }
        Ok(found)
    }

    /// What was found to differ. In the first pass that was everything.
    fn written<'a>(&'a self, _: &'a PfnSet) -> Option<&'a PfnSet> {
        (self.passes > 1).then_some(&self.last_changed)
    }

    fn sieve(&self) -> &dyn Sieve {
        &self.table
    }

    fn stop(&mut self, _: &mut G) -> Result<()> {
        Ok(())
    }
}
