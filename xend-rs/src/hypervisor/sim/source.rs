//! The simulated guest, leaving.

use std::collections::BTreeSet;

use super::faults::{Faults, Operation};
use super::memory::SimMemory;
use crate::hypervisor::types::{Domid, Pfn, PfnRange};
use crate::hypervisor::{
    DirtyStats, HypervisorError, Liveness, MAX_BATCH_PFNS, PageBatch, PfnSet, Result, SourceGuest,
};
use crate::stream::libxc::{
    CpuidLeaf, GuestType, HvmParam, MsrEntry, PageEntry, PageType, Record, TscInfo,
};

/// What the simulated guest's device and CPU state consists of.
pub(super) const HVM_CONTEXT: &[u8] = b"the state of a simulated machine";

/// The engine's view of a simulated guest that is being saved.
#[derive(Debug)]
pub struct SimSource {
    memory: SimMemory,
    domid: Domid,
    faults: Faults,
    window: BTreeSet<Pfn>,
    /// Pages that cannot be read while the guest runs, as a page table in flux cannot.
    in_flux: BTreeSet<Pfn>,
}

impl SimSource {
    /// A view of `memory`.
    pub fn new(memory: SimMemory, faults: Faults) -> Self {
        Self { memory, domid: Domid(1), faults, window: BTreeSet::new(), in_flux: BTreeSet::new() }
    }

    /// Makes `pfns` unreadable while the guest runs.
    pub fn with_pages_in_flux(mut self, pfns: impl IntoIterator<Item = Pfn>) -> Self {
        self.in_flux.extend(pfns);
        self
    }

    fn check(&mut self, operation: Operation) -> Result<()> {
        self.faults.check(self.domid, operation)
    }
}

impl SourceGuest for SimSource {
    fn domid(&self) -> Domid {
        self.domid
    }

    fn guest_type(&self) -> GuestType {
        GuestType::X86Hvm
    }

    fn xen_version(&self) -> (u32, u32) {
        (4, 17)
    }

    fn pfn_count(&self) -> u64 {
        self.memory.state().bound_pfns
    }

    fn static_records(&mut self) -> Result<Vec<Record>> {
        self.check(Operation::StaticRecords)?;
        let leaf = CpuidLeaf { leaf: 0, subleaf: u32::MAX, registers: [1, 2, 3, 4] };
        Ok(vec![
            Record::CpuidPolicy(vec![leaf]),
            Record::MsrPolicy(vec![MsrEntry { index: 0xce, value: 0 }]),
        ])
    }

    fn layout_records(&mut self) -> Result<Vec<Record>> {
        self.check(Operation::LayoutRecords)?;
        Ok(Vec::new())
    }

    fn enable_log_dirty(&mut self) -> Result<()> {
        self.check(Operation::EnableLogDirty)?;
        let mut state = self.memory.state();
        state.dirty = Some(PfnSet::empty(state.bound_pfns));
        Ok(())
    }

    fn take_dirty(&mut self, into: &mut PfnSet, _: Liveness) -> Result<DirtyStats> {
        self.check(Operation::TakeDirty)?;
        let mut state = self.memory.state();
        let dirty = state.dirty.as_mut().expect("the engine starts tracking before it asks");
        let dirty_pages = dirty.len_pfns();
        into.union_with(dirty);
        dirty.clear();
        Ok(DirtyStats { dirty_pages, faults: dirty_pages })
    }

    fn disable_log_dirty(&mut self) -> Result<()> {
        self.memory.state().dirty = None;
        Ok(())
    }

    fn map_window(&mut self, pfns: &[Pfn]) -> Result<()> {
        self.check(Operation::MapWindow)?;
        self.window = pfns.iter().copied().collect();
        Ok(())
    }

    fn read_batch(
        &mut self,
        pfns: &[Pfn],
        liveness: Liveness,
        batch: &mut PageBatch,
    ) -> Result<()> {
        self.check(Operation::ReadBatch)?;
        assert!(pfns.len() <= MAX_BATCH_PFNS, "the engine keeps batches to what Xen takes");
        for &pfn in pfns {
            assert!(self.window.contains(&pfn), "the engine reads within the window");
            if self.in_flux.contains(&pfn) && liveness == Liveness::Running {
                batch.owed.push(pfn);
                continue;
            }
            // One lock per page: the guest writes between two pages of a batch.
            let state = self.memory.state();
            let page_type = match state.pages.get(&pfn) {
                Some(page) => {
                    batch.data.extend_from_slice(&page[..]);
                    PageType::Normal
                }
                None => {
                    if liveness == Liveness::Running {
                        batch.owed.push(pfn);
                    }
                    PageType::Invalid
                }
            };
            batch.entries.push(PageEntry { pfn, page_type });
        }
        Ok(())
    }

    fn check_layout(&mut self) -> Result<()> {
        self.check(Operation::CheckLayout)
    }

    fn confirm_suspended(&mut self) -> Result<bool> {
        Ok(self.memory.is_suspended())
    }

    fn suspended_records(&mut self) -> Result<Vec<Record>> {
        self.check(Operation::SuspendedRecords)?;
        if !self.memory.is_suspended() {
            let range = PfnRange { first: Pfn(0), last: Pfn(0) };
            return Err(HypervisorError::BadGuest {
                domid: self.domid,
                what: format!("vCPUs run while their state is read ({range})"),
            });
        }
        Ok(vec![
            Record::TscInfo(TscInfo { mode: 2, khz: 1_000_000, elapsed_ns: 0, incarnation: 0 }),
            Record::HvmContext(HVM_CONTEXT.to_vec()),
            Record::HvmParams(vec![
                HvmParam { index: 1, value: 7 },
                HvmParam { index: 17, value: 8 },
            ]),
        ])
    }
}
