//! The state of a PV guest's vCPUs, in the raw forms that Xen gives and takes.

use std::sync::Arc;

use libxc_sys as sys;

use super::handles::{Xen, check};
use super::hypercall_buffer::HypercallBuffer;
use super::pv::vcpu::{CONTEXT_BYTES, Context};
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::Domid;
use crate::stream::libxc::VcpuKind;

/// What the stream takes, which is more than any processor has.
const MAX_XSAVE_BYTES: u64 = VcpuKind::Xsave.max_state_bytes() as u64;
/// What the stream takes, which is more than Xen knows how to move.
const MAX_MSRS: u32 =
    VcpuKind::Msrs.max_state_bytes() / size_of::<sys::xen_domctl_vcpu_msr_t>() as u32;

impl Xen {
    /// Whether a vCPU is up.
    pub fn vcpu_is_online(&self, domid: Domid, vcpu: u32) -> Result<bool> {
        let mut info = sys::xc_vcpuinfo_t::default();
        // SAFETY: the information is written to a variable of ours.
        let result =
            unsafe { sys::xc_vcpu_getinfo(self.xch(), u32::from(domid.0), vcpu, &mut info) };
        check(result, "get vCPU information", domid)?;
        Ok(info.online != 0)
    }

    /// A 64-bit vCPU's registers and tables.
    pub fn vcpu_context(&self, domid: Domid, vcpu: u32) -> Result<Context> {
        // The call writes a context of the largest kind of guest. It is received as words, for the
        // padding in it counts.
        const WORDS: usize = size_of::<sys::vcpu_guest_context_any_t>() / size_of::<u64>();
        const { assert!(align_of::<sys::vcpu_guest_context_any_t>() == align_of::<u64>()) };
        const { assert!(WORDS * size_of::<u64>() >= CONTEXT_BYTES) };
        let mut words = vec![0u64; WORDS];
        let context = words.as_mut_ptr().cast();
        // SAFETY: the buffer is as large and as aligned as a context.
        let result =
            unsafe { sys::xc_vcpu_getcontext(self.xch(), u32::from(domid.0), vcpu, context) };
        check(result, "get vCPU context", domid)?;
        let mut bytes = Box::new([0; CONTEXT_BYTES]);
        for (chunk, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *chunk = word.to_ne_bytes();
        }
        Ok(Context::new(bytes))
    }

    /// A vCPU's callbacks and machine check state as `struct xen_domctl_ext_vcpucontext`; empty
    /// if it has none.
    pub fn vcpu_extended(&self, domid: Domid, vcpu: u32) -> Result<Vec<u8>> {
        let mut domctl = domctl(sys::XEN_DOMCTL_get_ext_vcpucontext, domid);
        domctl.u.ext_vcpucontext.vcpu = vcpu;
        // SAFETY: this one has no guest handle.
        unsafe { self.domctl(&mut domctl, "get extended vCPU context", domid) }?;
        // SAFETY: this is the member that the call wrote.
        let context = unsafe { domctl.u.ext_vcpucontext };
        // The context is at the start of the union and may be longer than its declaration: up to
        // the whole of it.
        // SAFETY: any bytes will do.
        let raw = unsafe { domctl.u.pad };
        let state = raw.get(..context.size as usize).map(<[u8]>::to_vec);
        state.ok_or_else(|| too_large("extended vCPU context", u64::from(context.size), domid))
    }

    /// A vCPU's XSAVE state: XCR0, the XCR0 that it ever had, the area. Empty if it has none.
    pub fn vcpu_xsave(self: &Arc<Self>, domid: Domid, vcpu: u32) -> Result<Vec<u8>> {
        const WHAT: &str = "get XSAVE state";
        let mut domctl = domctl(sys::XEN_DOMCTL_getvcpuextstate, domid);
        domctl.u.vcpuextstate.vcpu = vcpu;
        // Without a buffer it says how large one must be.
        // SAFETY: the guest handle is null.
        unsafe { self.domctl(&mut domctl, WHAT, domid) }?;
        // SAFETY: this is the member that the call wrote.
        let query = unsafe { domctl.u.vcpuextstate };
        if query.xfeature_mask == 0 || query.size == 0 {
            return Ok(Vec::new());
        }
        if query.size > MAX_XSAVE_BYTES {
            return Err(too_large("XSAVE state", query.size, domid));
        }
        let mut buffer = HypercallBuffer::alloc(self, query.size as usize, WHAT, domid)?;
        domctl.u.vcpuextstate.buffer.p = buffer.as_mut_ptr();
        // SAFETY: the guest handle names a buffer that is as large as the answer to the query said,
        // which is still in there.
        unsafe { self.domctl(&mut domctl, WHAT, domid) }?;
        // SAFETY: this is the member that the call wrote.
        let bytes = unsafe { domctl.u.vcpuextstate.size };
        let state = usize::try_from(bytes).ok().and_then(|bytes| buffer.bytes().get(..bytes));
        state.map(<[u8]>::to_vec).ok_or_else(|| too_large("XSAVE state", bytes, domid))
    }

    /// The MSRs of a vCPU that are not zero, as an array of `struct xen_domctl_vcpu_msr`.
    pub fn vcpu_msrs(self: &Arc<Self>, domid: Domid, vcpu: u32) -> Result<Vec<u8>> {
        const WHAT: &str = "get vCPU MSRs";
        const ENTRY_BYTES: usize = size_of::<sys::xen_domctl_vcpu_msr_t>();
        let mut domctl = domctl(sys::XEN_DOMCTL_get_vcpu_msrs, domid);
        domctl.u.vcpu_msrs.vcpu = vcpu;
        // Without a buffer it says how many there can be.
        // SAFETY: the guest handle is null.
        unsafe { self.domctl(&mut domctl, WHAT, domid) }?;
        // SAFETY: this is the member that the call wrote.
        let count = unsafe { domctl.u.vcpu_msrs.msr_count };
        if count == 0 {
            return Ok(Vec::new());
        }
        if count > MAX_MSRS {
            return Err(too_large("vCPU MSRs", u64::from(count), domid));
        }
        let mut buffer = HypercallBuffer::alloc(self, count as usize * ENTRY_BYTES, WHAT, domid)?;
        domctl.u.vcpu_msrs.msrs.p = buffer.as_mut_ptr();
        // SAFETY: the guest handle names a buffer with room for as many as the answer to the query
        // said, which is still in there.
        unsafe { self.domctl(&mut domctl, WHAT, domid) }?;
        // SAFETY: this is the member that the call wrote.
        let count = unsafe { domctl.u.vcpu_msrs.msr_count };
        let msrs = buffer.bytes().get(..count as usize * ENTRY_BYTES);
        msrs.map(<[u8]>::to_vec).ok_or_else(|| too_large("vCPU MSRs", u64::from(count), domid))
    }

    /// Issues a domctl for which libxc has no call of its own.
    ///
    /// # Safety
    /// Each guest handle in it is null or names a hypercall buffer that is as large as the domctl
    /// says.
    unsafe fn domctl(
        &self,
        domctl: &mut sys::xen_domctl,
        operation: &'static str,
        domid: Domid,
    ) -> Result<()> {
        // SAFETY: the structure is copied to and from, and the caller has seen to its handles.
        let result = unsafe { sys::xc_domctl(self.xch(), domctl) };
        check(result, operation, domid).map(drop)
    }
}

/// An empty domctl. libxc fills in the interface version.
fn domctl(command: u32, domid: Domid) -> sys::xen_domctl {
    sys::xen_domctl { cmd: command, domain: domid.0, ..Default::default() }
}

/// Xen claims a size that it does not have by its own rules.
fn too_large(what: &'static str, size: u64, domid: Domid) -> HypervisorError {
    HypervisorError::Unsupported { domid, what: format!("its {what} is of size {size}") }
}
