//! Memory that is promised to a domain before it has it.

use std::ffi::c_ulong;

use libxc_sys as sys;

use crate::hypervisor::error::Result;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::handles::check;

impl Xen {
    /// Keeps memory for a domain, so that it has `pages` in all once it has taken it: nobody else
    /// gets it in between. 0 gives back what is left of a claim.
    pub fn claim_pages(&self, domid: Domid, pages: u64) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result =
            unsafe { sys::xc_domain_claim_pages(self.xch(), u32::from(domid.0), pages as c_ulong) };
        check(result, "claim memory", domid).map(drop)
    }
}
