//! The simulated guest, arriving.

use super::faults::{Faults, Operation};
use super::memory::SimMemory;
use super::source::HVM_CONTEXT;
use crate::hypervisor::types::{Domid, Mfn, PAGE_SIZE, Pfn};
use crate::hypervisor::{DestinationGuest, HypervisorError, MissingPolicies, Result, RingFrames};
use crate::stream::libxc::{GuestType, PageEntry, PageType, Record};

/// What fresh memory is full of, as with a Xen that is built to find mistakes.
const LEFT_OVER: u8 = 0xc2;

/// The engine's view of a simulated domain that is being filled.
#[derive(Debug)]
pub struct SimDestination {
    memory: SimMemory,
    domid: Domid,
    faults: Faults,
    window: Vec<Pfn>,
    buffer: Vec<u8>,
    missing: MissingPolicies,
    context: Option<Vec<u8>>,
    params: Vec<(u32, u64)>,
    finished: bool,
}

impl SimDestination {
    /// A view of `memory`, which should be empty.
    pub fn new(memory: SimMemory, faults: Faults) -> Self {
        Self {
            memory,
            domid: Domid(2),
            faults,
            window: Vec::new(),
            buffer: Vec::new(),
            missing: MissingPolicies { cpuid: true, msr: true },
            context: None,
            params: Vec::new(),
            finished: false,
        }
    }

    /// Whether the domain got as far as being ready to run.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Gives the page memory, unless it has some. What is in it is left over from somebody else.
    fn populate(&self, pfn: Pfn) {
        if !self.memory.contents_of(pfn, |_| ()) {
            self.memory.balloon_in(pfn);
            self.memory.contents_of(pfn, |page| page.fill(LEFT_OVER));
        }
    }

    fn bad(&self, what: &str) -> HypervisorError {
        HypervisorError::BadState { domid: self.domid, what: what.to_owned() }
    }
}

impl DestinationGuest for SimDestination {
    fn domid(&self) -> Domid {
        self.domid
    }

    fn accept(&mut self, guest_type: GuestType) -> Result<()> {
        match guest_type {
            GuestType::X86Hvm => Ok(()),
            GuestType::X86Pv => Err(self.bad("a PV stream does not fit a simulated domain")),
        }
    }

    fn apply(&mut self, record: Record) -> Result<()> {
        match record {
            Record::CpuidPolicy(_) => self.missing.cpuid = false,
            Record::MsrPolicy(_) => self.missing.msr = false,
            Record::TscInfo(_) => {}
            Record::HvmContext(context) => self.context = Some(context),
            Record::HvmParams(params) => {
                self.params.extend(params.iter().map(|p| (p.index as u32, p.value)));
            }
            other => return Err(self.bad(&format!("{} is not for it", other.record_type()))),
        }
        Ok(())
    }

    fn static_data_end(&mut self) -> Result<MissingPolicies> {
        Ok(self.missing)
    }

    fn pfn_is_valid(&self, pfn: Pfn) -> bool {
        pfn.0 < self.memory.state().bound_pfns
    }

    fn open_window(&mut self, entries: &[PageEntry]) -> Result<&mut [u8]> {
        self.faults.check(self.domid, Operation::OpenWindow)?;
        let populate = entries.iter().filter(|e| e.page_type != PageType::Invalid);
        populate.for_each(|entry| self.populate(entry.pfn));
        let mut state = self.memory.state();
        for entry in entries {
            match entry.page_type.table_level() {
                Some(_) => state.tables.insert(entry.pfn),
                None => state.tables.remove(&entry.pfn),
            };
        }
        drop(state);
        self.window = entries.iter().filter(|e| e.page_type.has_data()).map(|e| e.pfn).collect();
        self.buffer.resize(self.window.len() * PAGE_SIZE, 0);
        Ok(&mut self.buffer)
    }

    fn close_window(&mut self) -> Result<()> {
        for (pfn, page) in self.window.drain(..).zip(self.buffer.chunks_exact(PAGE_SIZE)) {
            let mut state = self.memory.state();
            let to = state.pages.get_mut(&pfn).expect("the window's pages were populated");
            to.copy_from_slice(page);
        }
        Ok(())
    }

    fn clear_pages(&mut self, pfns: &[Pfn], coming: &[PageEntry]) -> Result<()> {
        self.faults.check(self.domid, Operation::ClearPages)?;
        assert!(pfns.is_sorted_by(|a, b| a < b), "each page once, in order");
        let coming = coming.iter().filter(|e| e.page_type != PageType::Invalid);
        coming.for_each(|entry| self.populate(entry.pfn));
        for &pfn in pfns {
            self.populate(pfn);
            self.memory.state().tables.remove(&pfn);
            self.memory.contents_of(pfn, |page| page.fill(0));
        }
        Ok(())
    }

    fn differing_pages(&mut self, entries: &[PageEntry], expected: &[u8]) -> Result<Vec<Pfn>> {
        let state = self.memory.state();
        let with_data = entries.iter().filter(|e| e.page_type.has_data());
        Ok(with_data
            .zip(expected.chunks_exact(PAGE_SIZE))
            .filter(|(e, bytes)| state.pages.get(&e.pfn).is_none_or(|page| page[..] != **bytes))
            .map(|(e, _)| e.pfn)
            .collect())
    }

    fn finish(&mut self) -> Result<RingFrames> {
        self.faults.check(self.domid, Operation::Finish)?;
        if self.context.as_deref() != Some(HVM_CONTEXT) {
            return Err(self.bad("its machine state is not the one that was saved"));
        }
        let param = |index| {
            self.params.iter().find(|(i, _)| *i == index).map_or(Mfn::INVALID, |(_, v)| Mfn(*v))
        };
        self.finished = true;
        Ok(RingFrames { store: param(1), console: param(17) })
    }
}
