//! The hypercalls that put state into a domain.

use std::ffi::{c_uint, c_ulong};
use std::sync::Arc;
use std::{fmt, io};

use libxc_sys as sys;

use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::{Domid, Mfn, Pfn, PfnRange};
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::handles::{check, last_error_for};
use crate::hypervisor::xen::hypercall_buffer::HypercallBuffer;
use crate::hypervisor::xen::pv::vcpu::CONTEXT_BYTES;

/// The CPU policy that Xen found fault with, `u32::MAX` where it named nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PolicyFault {
    pub(super) leaf: u32,
    pub(super) subleaf: u32,
    pub(super) msr: u32,
}

/// Superpages are 2^9 pages: 2 MiB.
pub(super) const SUPERPAGE_ORDER: c_uint = 9;

type VcpuContext = sys::vcpu_guest_context_x86_64_t;

/// Bytes that a domctl has for its argument.
pub(super) const MAX_EXT_CONTEXT_BYTES: usize = 128;

/// Page tables that are pinned with one hypercall.
pub(super) const MAX_PIN_BATCH: usize = 1024;

/// One domain that is being built, and the way to Xen.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) xen: Arc<Xen>,
    pub(super) domid: Domid,
    pub(super) max_pages: u64,
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { leaf, subleaf, msr } = self;
        match (*leaf, *msr) {
            (u32::MAX, u32::MAX) => f.write_str("Xen does not say which part"),
            (u32::MAX, _) => write!(f, "MSR {msr:#x}"),
            _ => write!(f, "CPUID leaf {leaf:#x}, subleaf {subleaf:#x}"),
        }
    }
}

impl Target {
    /// The state that the stream asks for is wrong.
    pub(super) fn bad(&self, what: impl Into<String>) -> HypervisorError {
        HypervisorError::BadState { domid: self.domid, what: what.into() }
    }

    /// Gives the domain a page at each of the pfns in `frames`, none of which has one. For a PV
    /// guest each is replaced by the machine frame that it got.
    pub(super) fn populate(&self, frames: &mut [u64]) -> Result<()> {
        let range = frames.iter().min().zip(frames.iter().max());
        let range = range.map(|(&first, &last)| PfnRange { first: Pfn(first), last: Pfn(last) });
        // SAFETY: the array is as long as is said; the library copies it to and fro.
        let result = unsafe {
            sys::xc_domain_populate_physmap_exact(
                self.xen.xch(),
                self.dom(),
                frames.len() as c_ulong,
                0,
                0,
                frames.as_mut_ptr(),
            )
        };
        if result == 0 {
            return Ok(());
        }
        let source = io::Error::last_os_error();
        // Xen only tells how many pages it got, which libxc turns into EBUSY.
        if matches!(source.raw_os_error(), Some(libc::EBUSY | libc::ENOMEM)) {
            let (domid, max_pages) = (self.domid, self.max_pages);
            return Err(HypervisorError::NoMemory {
                domid,
                pages: frames.len() as u64,
                max_pages,
                source,
            });
        }
        Err(last_error_for("populate guest memory", self.domid, range))
    }

    /// Gives the domain a superpage at each of the pfns in `frames`, as far as there are any free.
    /// Says how many of them, from the first on, it got.
    pub(super) fn populate_superpages(&self, frames: &mut [u64]) -> Result<usize> {
        // SAFETY: the array is as long as is said; the library copies it to and fro.
        let result = unsafe {
            sys::xc_domain_populate_physmap(
                self.xen.xch(),
                self.dom(),
                frames.len() as c_ulong,
                SUPERPAGE_ORDER,
                0,
                frames.as_mut_ptr(),
            )
        };
        check(result, "populate guest memory", self.domid)
            .map(|done| (done as usize).min(frames.len()))
    }

    /// Sets the CPU policy, which works only until the domain first runs.
    pub(super) fn set_cpu_policy(
        &self,
        leaves: &mut [sys::xen_cpuid_leaf_t],
        msrs: &mut [sys::xen_msr_entry_t],
    ) -> std::result::Result<(), (PolicyFault, io::Error)> {
        let mut fault = PolicyFault { leaf: !0, subleaf: !0, msr: !0 };
        // SAFETY: both arrays are as long as is said, and the library only reads them.
        let result = unsafe {
            sys::xc_set_domain_cpu_policy(
                self.xen.xch(),
                self.dom(),
                leaves.len() as u32,
                leaves.as_mut_ptr(),
                msrs.len() as u32,
                msrs.as_mut_ptr(),
                &mut fault.leaf,
                &mut fault.subleaf,
                &mut fault.msr,
            )
        };
        if result == 0 { Ok(()) } else { Err((fault, io::Error::last_os_error())) }
    }

    /// Sets how the guest sees the time stamp counter.
    pub(super) fn set_tsc_info(
        &self,
        mode: u32,
        ns: u64,
        khz: u32,
        incarnation: u32,
    ) -> Result<()> {
        let xch = self.xen.xch();
        // SAFETY: no pointer but the handle is passed.
        let result =
            unsafe { sys::xc_domain_set_tsc_info(xch, self.dom(), mode, ns, khz, incarnation) };
        self.accepted(result, || format!("TSC mode {mode} at {khz} kHz"))
    }

    /// Sets a PV vCPU's registers. Xen checks the page tables they lead to.
    pub(super) fn set_vcpu_context(&self, vcpu: u32, context: &[u8; CONTEXT_BYTES]) -> Result<()> {
        // SAFETY: the bytes are as many as the structure has, and all its fields are numbers.
        let x64 = unsafe { context.as_ptr().cast::<VcpuContext>().read_unaligned() };
        let mut any = sys::vcpu_guest_context_any_t { x64 };
        let xch = self.xen.xch();
        // SAFETY: the structure is as large as any guest's; the library only reads it.
        let result = unsafe { sys::xc_vcpu_setcontext(xch, self.dom(), vcpu, &mut any) };
        self.accepted(result, || format!("the registers of vCPU {vcpu}"))
    }

    /// Sets a PV vCPU's system call entries and machine check state: at most
    /// [`MAX_EXT_CONTEXT_BYTES`] of `xen_domctl_ext_vcpucontext`, which names a vCPU itself. Only
    /// `vcpu` counts.
    pub(super) fn set_ext_vcpu_context(&self, vcpu: u32, context: &[u8]) -> Result<()> {
        let mut pad = [0; MAX_EXT_CONTEXT_BYTES];
        pad[..context.len()].copy_from_slice(context);
        pad[..size_of::<u32>()].copy_from_slice(&vcpu.to_ne_bytes());
        let mut domctl = self.domctl(sys::XEN_DOMCTL_set_ext_vcpucontext);
        domctl.u.pad = pad;
        let result = self.call(&mut domctl);
        self.accepted(result, || format!("the extended state of vCPU {vcpu}"))
    }

    /// Sets a vCPU's XCR0 and XSAVE area.
    pub(super) fn set_vcpu_xsave(&self, vcpu: u32, state: &[u8]) -> Result<()> {
        let mut buffer = self.buffer_of(state, "set XSAVE state")?;
        let mut domctl = self.domctl(sys::XEN_DOMCTL_setvcpuextstate);
        domctl.u.vcpuextstate = sys::xen_domctl_vcpuextstate {
            vcpu,
            xfeature_mask: 0,
            size: state.len() as u64,
            buffer: sys::__guest_handle_uint64 { p: buffer.as_mut_ptr() },
        };
        let result = self.call(&mut domctl);
        self.accepted(result, || format!("the {} bytes of XSAVE state of vCPU {vcpu}", state.len()))
    }

    /// Sets a PV vCPU's model-specific registers: `xen_domctl_vcpu_msr_t`, one after the other.
    pub(super) fn set_vcpu_msrs(&self, vcpu: u32, entries: &[u8]) -> Result<()> {
        let count = entries.len() / size_of::<sys::xen_domctl_vcpu_msr_t>();
        let mut buffer = self.buffer_of(entries, "set vCPU MSRs")?;
        let mut domctl = self.domctl(sys::XEN_DOMCTL_set_vcpu_msrs);
        domctl.u.vcpu_msrs = sys::xen_domctl_vcpu_msrs {
            vcpu,
            msr_count: count as u32,
            msrs: sys::__guest_handle_xen_domctl_vcpu_msr_t { p: buffer.as_mut_ptr() },
        };
        let result = self.call(&mut domctl);
        self.accepted(result, || format!("the {count} MSRs of vCPU {vcpu}"))
    }

    /// Pins page tables, each of the level that stands with it: at most [`MAX_PIN_BATCH`].
    pub(super) fn pin_page_tables(&self, tables: &[(u8, Mfn)]) -> Result<()> {
        let mut ops: Vec<sys::mmuext_op> =
            tables.iter().map(|&(level, mfn)| pin(level, mfn)).collect();
        // SAFETY: the array is as long as is said; the library copies it to and fro.
        let result = unsafe {
            sys::xc_mmuext_op(self.xen.xch(), ops.as_mut_ptr(), ops.len() as c_uint, self.dom())
        };
        self.accepted(result, || format!("to pin {} of its page tables", tables.len()))
    }

    /// Sets an HVM parameter.
    pub(super) fn set_hvm_param(&self, index: u32, value: u64) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result = unsafe { sys::xc_hvm_param_set(self.xen.xch(), self.dom(), index, value) };
        self.accepted(result, || format!("HVM parameter {index} with value {value:#x}"))
    }

    /// Loads the vCPUs and platform devices of an HVM guest.
    pub(super) fn set_hvm_context(&self, context: &mut [u8]) -> Result<()> {
        let (xch, len) = (self.xen.xch(), context.len());
        let size = u32::try_from(len).map_err(|_| self.bad("its HVM context is too large"))?;
        // SAFETY: the array is as long as is said, and the library only reads it.
        let result =
            unsafe { sys::xc_domain_hvm_setcontext(xch, self.dom(), context.as_mut_ptr(), size) };
        self.accepted(result, || format!("the {len} bytes of its HVM context"))
    }

    /// Grants the rings to their daemons, which look for them in the first two grant entries.
    pub(super) fn seed_grants(
        &self,
        is_hvm: bool,
        (console, console_domid): (Mfn, Domid),
        (store, store_domid): (Mfn, Domid),
    ) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result = unsafe {
            sys::xc_dom_gnttab_seed(
                self.xen.xch(),
                self.dom(),
                is_hvm,
                console.0,
                store.0,
                u32::from(console_domid.0),
                u32::from(store_domid.0),
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(last_error_for("seed the grant table", self.domid, None))
        }
    }

    fn dom(&self) -> u32 {
        u32::from(self.domid.0)
    }

    fn domctl(&self, cmd: u32) -> sys::xen_domctl {
        let u = sys::xen_domctl__bindgen_ty_1 { pad: [0; 128] };
        // The library fills in the interface version.
        sys::xen_domctl { cmd, interface_version: 0, domain: self.domid.0, _pad: [0; 3], u }
    }

    fn call(&self, domctl: &mut sys::xen_domctl) -> i32 {
        // SAFETY: the structure is whole, and a buffer that it names outlives the call.
        unsafe { sys::xc_domctl(self.xen.xch(), domctl) }
    }

    fn buffer_of(&self, bytes: &[u8], operation: &'static str) -> Result<HypercallBuffer> {
        let mut buffer = HypercallBuffer::alloc(&self.xen, bytes.len(), operation, self.domid)?;
        buffer.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        Ok(buffer)
    }

    /// Turns the result of a call that passed on what the stream asked for into a [`Result`].
    fn accepted(&self, result: i32, what: impl FnOnce() -> String) -> Result<()> {
        if result == 0 {
            return Ok(());
        }
        let source = io::Error::last_os_error();
        if source.raw_os_error() == Some(libc::ESRCH) {
            return Err(HypervisorError::NoSuchDomain { domid: self.domid });
        }
        Err(HypervisorError::Refused { domid: self.domid, what: what(), source })
    }
}

fn pin(level: u8, mfn: Mfn) -> sys::mmuext_op {
    let cmd = match level {
        1 => sys::MMUEXT_PIN_L1_TABLE,
        2 => sys::MMUEXT_PIN_L2_TABLE,
        3 => sys::MMUEXT_PIN_L3_TABLE,
        _ => sys::MMUEXT_PIN_L4_TABLE,
    };
    sys::mmuext_op {
        cmd,
        arg1: sys::mmuext_op__bindgen_ty_1 { mfn: mfn.0 },
        arg2: sys::mmuext_op__bindgen_ty_2 { src_mfn: 0 },
    }
}
