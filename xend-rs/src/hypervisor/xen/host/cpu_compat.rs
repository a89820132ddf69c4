//! Whether this host's processors can be what a guest was promised elsewhere.

use libxc_sys as sys;

use crate::hypervisor::error::Result;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::cpu_policy::PolicyObject;
use crate::hypervisor::xen::handles::check;
use crate::stream::libxc::{CpuidLeaf, MsrEntry};

/// No domain yet: the guest is still elsewhere.
const NOBODY: Domid = Domid(0);

impl Xen {
    /// Whether a guest with this CPU policy can run here. `is_hvm` for HVM and PVH.
    pub fn can_offer_cpu(
        &self,
        cpuid: &[CpuidLeaf],
        msrs: &[MsrEntry],
        is_hvm: bool,
    ) -> Result<bool> {
        let (host, guest) = (PolicyObject::new(NOBODY)?, PolicyObject::new(NOBODY)?);
        let most = if is_hvm {
            sys::XEN_SYSCTL_cpu_policy_hvm_max
        } else {
            sys::XEN_SYSCTL_cpu_policy_pv_max
        };
        // SAFETY: the policy object is alive.
        let result = unsafe { sys::xc_cpu_policy_get_system(self.xch(), most, host.0.as_ptr()) };
        check(result, "get the host's CPU policy", NOBODY)?;
        let leaves: Vec<_> =
            cpuid
                .iter()
                .map(|&CpuidLeaf { leaf, subleaf, registers: [a, b, c, d] }| {
                    sys::xen_cpuid_leaf_t { leaf, subleaf, a, b, c, d }
                })
                .collect();
        // SAFETY: the policy object is alive, and the array has the length that is said.
        let result = unsafe {
            sys::xc_cpu_policy_update_cpuid(
                self.xch(),
                guest.0.as_ptr(),
                leaves.as_ptr(),
                leaves.len() as u32,
            )
        };
        // A leaf that this Xen does not know is one that it cannot offer.
        if result != 0 {
            return Ok(false);
        }
        let entries: Vec<_> = msrs
            .iter()
            .map(|m| sys::xen_msr_entry_t { idx: m.index, flags: 0, val: m.value })
            .collect();
        // SAFETY: the policy object is alive, and the array has the length that is said.
        let result = unsafe {
            sys::xc_cpu_policy_update_msrs(
                self.xch(),
                guest.0.as_ptr(),
                entries.as_ptr(),
                entries.len() as u32,
            )
        };
        if result != 0 {
            return Ok(false);
        }
        // SAFETY: both policy objects are alive.
        Ok(unsafe {
            sys::xc_cpu_policy_is_compatible(self.xch(), host.0.as_ptr(), guest.0.as_ptr())
        })
    }
}
