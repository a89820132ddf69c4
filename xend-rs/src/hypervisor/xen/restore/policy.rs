//! The CPU that the guest was promised.

use libxc_sys as sys;

use super::calls::Target;
use crate::hypervisor::destination::MissingPolicies;
use crate::hypervisor::error::{HypervisorError, Result};
use crate::stream::libxc::{CpuidLeaf, MsrEntry};

/// Several times what any Xen serialises.
const MAX_ENTRIES: usize = 4096;

/// The CPU policies that came, until the static data is complete.
#[derive(Default)]
pub(super) struct CpuPolicy {
    leaves: Vec<sys::xen_cpuid_leaf_t>,
    msrs: Vec<sys::xen_msr_entry_t>,
}

impl CpuPolicy {
    /// Keeps the CPUID part.
    pub(super) fn keep_cpuid(&mut self, target: &Target, leaves: &[CpuidLeaf]) -> Result<()> {
        check_len(target, leaves.len(), "CPUID leaves")?;
        self.leaves =
            leaves
                .iter()
                .map(|&CpuidLeaf { leaf, subleaf, registers: [a, b, c, d] }| {
                    sys::xen_cpuid_leaf_t { leaf, subleaf, a, b, c, d }
                })
                .collect();
        Ok(())
    }

    /// Keeps the MSR part.
    pub(super) fn keep_msrs(&mut self, target: &Target, entries: &[MsrEntry]) -> Result<()> {
        check_len(target, entries.len(), "MSRs in its CPU policy")?;
        let entry = |e: &MsrEntry| sys::xen_msr_entry_t { idx: e.index, flags: 0, val: e.value };
        self.msrs = entries.iter().map(entry).collect();
        Ok(())
    }

    /// Gives the domain what came of the policies, and says what did not.
    pub(super) fn set(&mut self, target: &Target) -> Result<MissingPolicies> {
        let missing = MissingPolicies { cpuid: self.leaves.is_empty(), msr: self.msrs.is_empty() };
        if missing.cpuid && missing.msr {
            return Ok(missing);
        }
        match target.set_cpu_policy(&mut self.leaves, &mut self.msrs) {
            Ok(()) => Ok(missing),
            Err((fault, source)) => Err(HypervisorError::Refused {
                domid: target.domid,
                what: format!("its CPU policy, which this host cannot offer ({fault})"),
                source,
            }),
        }
    }
}

fn check_len(target: &Target, len: usize, what: &str) -> Result<()> {
    if len <= MAX_ENTRIES { Ok(()) } else { Err(target.bad(format!("{len} {what}"))) }
}
