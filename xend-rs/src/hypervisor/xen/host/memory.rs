//! How much memory a domain may have, and what it is told of it.

use std::ffi::c_ulong;

use libxc_sys as sys;

use crate::hypervisor::error::Result;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::handles::check;

/// What an entry of a memory map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Memory.
    Ram = 1,
    /// Something else that is not to be touched.
    Reserved = 2,
    /// Memory with ACPI tables.
    Acpi = 3,
}

/// An entry of a domain's memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// Where it starts, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// What it is.
    pub kind: MemoryKind,
}

/// `HVMPTM_no_delay_for_missed_ticks`.
const NO_DELAY_FOR_MISSED_TICKS: u64 = 1;

impl Xen {
    /// Bounds the memory of a domain.
    pub fn set_max_memory(&self, domid: Domid, kib: u64) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result = unsafe { sys::xc_domain_setmaxmem(self.xch(), u32::from(domid.0), kib) };
        check(result, "set the maximum memory", domid).map(drop)
    }

    /// Tells a PV domain the size that its memory may grow to.
    pub fn set_memory_map_limit(&self, domid: Domid, kib: u64) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result = unsafe {
            sys::xc_domain_set_memmap_limit(self.xch(), u32::from(domid.0), kib as c_ulong)
        };
        check(result, "set the limit of the memory map", domid).map(drop)
    }

    /// Gives Xen memory for the page tables of a PVH domain.
    pub fn set_paging_pool(&self, domid: Domid, bytes: u64) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result =
            unsafe { sys::xc_set_paging_mempool_size(self.xch(), u32::from(domid.0), bytes) };
        check(result, "set the size of the paging pool", domid).map(drop)
    }

    /// Sets what a toolstack says to every PVH domain: ticks that it missed are not made up for,
    /// and it has no alternate p2m.
    pub fn set_pvh_platform(&self, domid: Domid) -> Result<()> {
        self.set_hvm_param(domid, sys::HVM_PARAM_TIMER_MODE, NO_DELAY_FOR_MISSED_TICKS)?;
        self.set_hvm_param(domid, sys::HVM_PARAM_ALTP2M, u64::from(sys::XEN_ALTP2M_disabled))
    }

    fn set_hvm_param(&self, domid: Domid, index: u32, value: u64) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result = unsafe { sys::xc_hvm_param_set(self.xch(), u32::from(domid.0), index, value) };
        check(result, "set an HVM parameter", domid).map(drop)
    }
}
