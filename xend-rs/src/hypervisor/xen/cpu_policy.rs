//! What a guest is told of its processor: the CPUID leaves and MSRs of its policy.

use std::ptr::NonNull;

use libxc_sys as sys;

use super::handles::{Xen, check, last_error};
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::Domid;
use crate::stream::libxc::{CpuidLeaf, MsrEntry};

/// Far more than any policy has of either.
const MAX_ENTRIES: u32 = 4096;

/// A guest's CPU policy in the architectural form that travels.
pub struct CpuPolicy {
    /// CPUID leaves.
    pub leaves: Vec<CpuidLeaf>,
    /// MSRs that describe the processor.
    pub msrs: Vec<MsrEntry>,
}

impl Xen {
    /// The CPU policy of `domid`.
    pub fn cpu_policy(&self, domid: Domid) -> Result<CpuPolicy> {
        let (mut leaf_count, mut msr_count) = (0u32, 0u32);
        // SAFETY: the counts are written to variables of ours.
        let result =
            unsafe { sys::xc_cpu_policy_get_size(self.xch(), &mut leaf_count, &mut msr_count) };
        check(result, "get size of CPU policy", domid)?;
        if leaf_count > MAX_ENTRIES || msr_count > MAX_ENTRIES {
            let what = format!("its CPU policy has {leaf_count} leaves and {msr_count} MSRs");
            return Err(HypervisorError::Unsupported { domid, what });
        }
        let policy = PolicyObject::new(domid)?;
        // SAFETY: the policy object is alive.
        let result = unsafe {
            sys::xc_cpu_policy_get_domain(self.xch(), u32::from(domid.0), policy.0.as_ptr())
        };
        check(result, "get CPU policy", domid)?;
        let mut leaves = vec![sys::xen_cpuid_leaf_t::default(); leaf_count as usize];
        let mut msrs = vec![sys::xen_msr_entry_t::default(); msr_count as usize];
        // SAFETY: each array is as long as its count says, and the counts come back as what of it
        // was used.
        let result = unsafe {
            sys::xc_cpu_policy_serialise(
                self.xch(),
                policy.0.as_ptr(),
                leaves.as_mut_ptr(),
                &mut leaf_count,
                msrs.as_mut_ptr(),
                &mut msr_count,
            )
        };
        check(result, "serialise CPU policy", domid)?;
        leaves.truncate(leaf_count as usize);
        msrs.truncate(msr_count as usize);
        let leaf = |it: &sys::xen_cpuid_leaf_t| CpuidLeaf {
            leaf: it.leaf,
            subleaf: it.subleaf,
            registers: [it.a, it.b, it.c, it.d],
        };
        let msr = |it: &sys::xen_msr_entry_t| MsrEntry { index: it.idx, value: it.val };
        Ok(CpuPolicy {
            leaves: leaves.iter().map(leaf).collect(),
            msrs: msrs.iter().map(msr).collect(),
        })
    }
}

/// libxenguest's own form of a policy.
pub(super) struct PolicyObject(pub(super) NonNull<sys::xc_cpu_policy_t>);

impl PolicyObject {
    pub(super) fn new(domid: Domid) -> Result<Self> {
        // SAFETY: it takes no arguments.
        let object = unsafe { sys::xc_cpu_policy_init() };
        NonNull::new(object).map(Self).ok_or_else(|| last_error("allocate CPU policy", domid))
    }
}

impl Drop for PolicyObject {
    fn drop(&mut self) {
        // SAFETY: the object is alive and ours.
        unsafe { sys::xc_cpu_policy_destroy(self.0.as_ptr()) };
    }
}
