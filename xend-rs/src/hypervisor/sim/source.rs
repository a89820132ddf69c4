//! The simulated guest, leaving.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::faults::{Faults, Operation};
use super::memory::{Page, SimMemory};
use crate::hypervisor::types::{Domid, Pfn, PfnRange};
use crate::hypervisor::{
    DirtyStats, HypervisorError, Liveness, LogDirtySupport, MAX_BATCH_PFNS, PageBatch, PfnSet,
    Result, Sieve, SourceGuest,
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
    faults: Mutex<Faults>,
    window: Vec<Pfn>,
    /// Pages that cannot be read while the guest runs, as a page table in flux cannot.
    in_flux: BTreeSet<Pfn>,
    has_log_dirty: bool,
    has_device: bool,
}

impl SimSource {
    /// A view of `memory`.
    pub fn new(memory: SimMemory, faults: Faults) -> Self {
        Self {
            memory,
            domid: Domid(1),
            faults: Mutex::new(faults),
            window: Vec::new(),
            in_flux: BTreeSet::new(),
            has_log_dirty: true,
            has_device: false,
        }
    }

    /// Makes `pfns` unreadable while the guest runs.
    pub fn with_pages_in_flux(mut self, pfns: impl IntoIterator<Item = Pfn>) -> Self {
        self.in_flux.extend(pfns);
        self
    }

    /// Makes this a hypervisor that cannot track writes.
    pub fn without_log_dirty(mut self) -> Self {
        self.has_log_dirty = false;
        self
    }

    /// Passes a device through to the guest.
    pub fn with_passed_through_device(mut self) -> Self {
        self.has_device = true;
        self
    }

    fn check(&self, operation: Operation) -> Result<()> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).check(self.domid, operation)
    }

    /// What is at `pfn` now, as it travels: its type, and its contents if it has any. `None` for a
    /// page table that cannot be translated.
    fn look_at(&self, pfn: Pfn) -> Option<(PageType, Option<Page>)> {
        let state = self.memory.state();
        match state.pages.get(&pfn) {
            None => Some((PageType::Invalid, None)),
            Some(page) if state.tables.contains(&pfn) => {
                Some((PageType::L1, Some(state.translated(page)?)))
            }
            Some(page) => Some((PageType::Normal, Some(page.clone()))),
        }
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

    fn log_dirty_support(&mut self) -> Result<LogDirtySupport> {
        Ok(if self.has_log_dirty {
            LogDirtySupport::Available
        } else {
            LogDirtySupport::Missing("this hypervisor is made of memory".to_owned())
        })
    }

    fn has_passed_through_device(&mut self) -> Result<bool> {
        Ok(self.has_device)
    }

    fn enable_log_dirty(&mut self) -> Result<()> {
        self.check(Operation::EnableLogDirty)?;
        if !self.has_log_dirty {
            return Err(HypervisorError::NoTracking {
                domid: self.domid,
                why: "this hypervisor is made of memory".to_owned(),
                source: std::io::Error::from_raw_os_error(nix::libc::EOPNOTSUPP),
            });
        }
        let mut state = self.memory.state();
        state.dirty = Some(PfnSet::empty(state.bound_pfns));
        Ok(())
    }

    fn enable_log_dirty_unless_on(&mut self) -> Result<()> {
        if self.memory.is_tracked() {
            return Err(HypervisorError::NoTracking {
                domid: self.domid,
                why: "somebody tracks them already".to_owned(),
                source: std::io::Error::from_raw_os_error(nix::libc::EINVAL),
            });
        }
        self.enable_log_dirty()
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

    fn peek_dirty(&mut self, into: &mut PfnSet) -> Result<()> {
        self.check(Operation::PeekDirty)?;
        let state = self.memory.state();
        into.union_with(state.dirty.as_ref().expect("only what is tracked is looked at"));
        Ok(())
    }

    fn disable_log_dirty(&mut self) -> Result<()> {
        self.memory.state().dirty = None;
        Ok(())
    }

    fn map_window(&mut self, pfns: &[Pfn]) -> Result<()> {
        self.check(Operation::MapWindow)?;
        self.window = pfns.to_vec();
        Ok(())
    }

    fn read_batch(
        &self,
        pages: Range<usize>,
        liveness: Liveness,
        sieve: &dyn Sieve,
        batch: &mut PageBatch,
    ) -> Result<()> {
        self.check(Operation::ReadBatch)?;
        assert!(pages.len() <= MAX_BATCH_PFNS, "the engine keeps batches to what Xen takes");
        for &pfn in &self.window[pages] {
            let in_flux = self.in_flux.contains(&pfn) && liveness == Liveness::Running;
            // One lock per page: the guest writes between two pages of a batch.
            let Some((page_type, page)) = self.look_at(pfn).filter(|_| !in_flux) else {
                if liveness == Liveness::Suspended {
                    let what = format!("page table at {pfn} refers to a frame that is not its own");
                    return Err(HypervisorError::BadGuest { domid: self.domid, what });
                }
                batch.owed.push(pfn);
                continue;
            };
            if page_type == PageType::Invalid && liveness == Liveness::Running {
                batch.owed.push(pfn);
            }
            let start = batch.data.len();
            if let Some(page) = page {
                batch.data.extend_from_slice(&page[..]);
                batch.read_pages += 1;
            }
            batch.add(PageEntry { pfn, page_type }, start, sieve);
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
