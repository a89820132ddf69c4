//! The state of HVM and PVH guests that is not memory.

use std::ptr;

use libxc_sys as sys;

use super::handles::{Xen, check};
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::Domid;

/// Some ten KiB for each of at most 512 vCPUs, with room to spare.
const MAX_CONTEXT_BYTES: u32 = 16 << 20;

impl Xen {
    /// The virtual processors and platform devices, in Xen's own format.
    pub fn hvm_context(&self, domid: Domid) -> Result<Vec<u8>> {
        // Without a buffer it says how large one must be.
        // SAFETY: with size zero nothing is written.
        let size = unsafe {
            sys::xc_domain_hvm_getcontext(self.xch(), u32::from(domid.0), ptr::null_mut(), 0)
        };
        let size = check(size, "get size of HVM context", domid)?.unsigned_abs();
        if size > MAX_CONTEXT_BYTES {
            let what = format!("its HVM context is of {size} bytes");
            return Err(HypervisorError::Unsupported { domid, what });
        }
        let mut context = vec![0; size as usize];
        // SAFETY: the buffer is as long as is said.
        let used = unsafe {
            sys::xc_domain_hvm_getcontext(
                self.xch(),
                u32::from(domid.0),
                context.as_mut_ptr(),
                size,
            )
        };
        let used = check(used, "get HVM context", domid)?;
        context.truncate(used.unsigned_abs() as usize);
        Ok(context)
    }

    /// One of the domain's parameters, `HVM_PARAM_*`.
    pub fn hvm_param(&self, domid: Domid, index: u32) -> Result<u64> {
        let mut value = 0;
        // SAFETY: the value is written to a variable of ours.
        let result =
            unsafe { sys::xc_hvm_param_get(self.xch(), u32::from(domid.0), index, &mut value) };
        check(result, "get HVM parameter", domid)?;
        Ok(value)
    }
}
