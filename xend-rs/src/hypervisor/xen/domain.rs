//! What Xen knows of a domain as a whole.

use std::ffi::c_uint;
use std::{io, ptr};

use libxc_sys as sys;

use super::handles::{Xen, check, error_from, last_error, last_error_for};
use crate::hypervisor::MAX_BATCH_PFNS;
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::{Domid, PfnRange};
use crate::stream::libxc::{PageType, TscInfo};

/// A domain's state, as far as a migration cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// HVM or PVH: Xen translates its addresses. If not set, it is PV.
    pub is_hvm: bool,
    /// It is being destroyed. Paging operations on it succeed and do nothing.
    pub is_dying: bool,
    /// Why its vCPUs have stopped for good, if they have: `SHUTDOWN_*`.
    pub shutdown_reason: Option<u32>,
    /// Pages that it has.
    pub total_pages: u64,
    /// Pages that it may have.
    pub max_pages: u64,
    /// The machine frame that it shares with Xen (PV).
    pub shared_info_frame: u64,
    /// Its highest vCPU id; `None` if it has no vCPU.
    pub max_vcpu_id: Option<u32>,
    /// Bits of a guest-physical address.
    pub address_bits: u8,
}

impl DomainInfo {
    /// Whether it has stopped, to be moved or saved.
    pub fn is_suspended(&self) -> bool {
        self.shutdown_reason == Some(sys::SHUTDOWN_suspend) && !self.is_dying
    }

    fn from_xen(info: &sys::xc_domaininfo_t) -> Self {
        let has = |flag| info.flags & flag != 0;
        let reason = (info.flags >> sys::XEN_DOMINF_shutdownshift) & sys::XEN_DOMINF_shutdownmask;
        Self {
            is_hvm: has(sys::XEN_DOMINF_hvm_guest),
            is_dying: has(sys::XEN_DOMINF_dying),
            shutdown_reason: has(sys::XEN_DOMINF_shutdown).then_some(reason),
            total_pages: info.tot_pages,
            max_pages: info.max_pages,
            shared_info_frame: info.shared_info_frame,
            max_vcpu_id: (info.max_vcpu_id != sys::XEN_INVALID_MAX_VCPU_ID as u32)
                .then_some(info.max_vcpu_id),
            address_bits: info.gpaddr_bits,
        }
    }
}

impl Xen {
    /// What Xen knows of `domid`.
    pub fn domain_info(&self, domid: Domid) -> Result<DomainInfo> {
        let mut info = sys::xc_domaininfo_t::default();
        // SAFETY: there is room for the one entry that is asked for.
        let found =
            unsafe { sys::xc_domain_getinfolist(self.xch(), u32::from(domid.0), 1, &mut info) };
        // The list starts at the first domain from `domid` on, which may be another one.
        match check(found, "get domain information", domid)? {
            1 if info.domain == domid.0 => Ok(DomainInfo::from_xen(&info)),
            _ => Err(HypervisorError::NoSuchDomain { domid }),
        }
    }

    /// Whether the domain sees a NUMA topology.
    pub fn has_vnuma(&self, domid: Domid) -> Result<bool> {
        let (mut nodes, mut ranges, mut vcpus) = (0, 0, 0);
        // SAFETY: the counts are zero, so nothing is written through the null pointers.
        let result = unsafe {
            sys::xc_domain_getvnuma(
                self.xch(),
                u32::from(domid.0),
                &mut nodes,
                &mut ranges,
                &mut vcpus,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        // With a topology the call fails as well, for want of room.
        let error = match check(result, "get NUMA topology", domid) {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        match error.errno() {
            Some(libc::EOPNOTSUPP) => Ok(false),
            Some(libc::ENOBUFS) => Ok(true),
            _ => Err(error),
        }
    }

    /// Bytes in a word of a PV guest: 4 or 8.
    pub fn guest_width_bytes(&self, domid: Domid) -> Result<u32> {
        let mut width: c_uint = 0;
        // SAFETY: the width is written to a variable of ours.
        let result =
            unsafe { sys::xc_domain_get_guest_width(self.xch(), u32::from(domid.0), &mut width) };
        // This call fails with 1.
        if result == 0 { Ok(width) } else { Err(last_error("get guest width", domid)) }
    }

    /// One more than the highest gfn of an HVM guest.
    pub fn gfn_count(&self, domid: Domid) -> Result<u64> {
        let mut count: sys::xen_pfn_t = 0;
        // SAFETY: the count is written to a variable of ours.
        let result = unsafe { sys::xc_domain_nr_gpfns(self.xch(), u32::from(domid.0), &mut count) };
        check(result, "get highest guest frame", domid)?;
        Ok(count)
    }

    /// What each of `frames` is (machine frames of a PV guest, guest frames of an HVM guest).
    /// `frames` is used up. `range` is what an error says it was for.
    ///
    /// # Panics
    /// For more than [`MAX_BATCH_PFNS`] frames.
    pub fn page_types(
        &self,
        domid: Domid,
        frames: &mut [u64],
        range: Option<PfnRange>,
    ) -> Result<Vec<PageType>> {
        const WHAT: &str = "get page types";
        assert!(frames.len() <= MAX_BATCH_PFNS, "Xen types {MAX_BATCH_PFNS} frames in one call");
        if frames.is_empty() {
            return Ok(Vec::new());
        }
        // SAFETY: the array is as long as is said, and each frame in it is replaced by its type.
        let result = unsafe {
            sys::xc_get_pfn_type_batch(
                self.xch(),
                u32::from(domid.0),
                frames.len() as c_uint,
                frames.as_mut_ptr(),
            )
        };
        if result < 0 {
            return Err(last_error_for(WHAT, domid, range));
        }
        let from_xen = |&word: &u64| {
            let bits = (word >> sys::XEN_DOMCTL_PFINFO_LTAB_SHIFT) as u8 & 0xf;
            PageType::from_bits(bits).ok_or_else(|| {
                let unknown = io::Error::other(format!("Xen knows a page type {bits:#x}"));
                error_from(unknown, WHAT, domid, range)
            })
        };
        frames.iter().map(from_xen).collect()
    }

    /// How the guest sees the time stamp counter.
    pub fn tsc_info(&self, domid: Domid) -> Result<TscInfo> {
        let mut tsc = TscInfo { mode: 0, khz: 0, elapsed_ns: 0, incarnation: 0 };
        // SAFETY: the values are written to variables of ours.
        let result = unsafe {
            sys::xc_domain_get_tsc_info(
                self.xch(),
                u32::from(domid.0),
                &mut tsc.mode,
                &mut tsc.elapsed_ns,
                &mut tsc.khz,
                &mut tsc.incarnation,
            )
        };
        check(result, "get TSC information", domid)?;
        Ok(tsc)
    }
}
