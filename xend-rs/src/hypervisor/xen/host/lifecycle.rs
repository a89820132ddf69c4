//! A domain's life: create, pause, unpause, resume, shut down, destroy.

use std::ffi::{CString, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use libxc_sys as sys;

use crate::hypervisor::error::Result;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::handles::{check, error_from, last_error};

/// What Xen says to a call that was interrupted and should be made again.
const DESTROY_RETRY_PAUSE: Duration = Duration::from_millis(10);
/// A domain of a terabyte takes some seconds.
const MAX_DESTROY_TRIES: u32 = 6000;

/// What kind of domain Xen makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainKind {
    /// Paravirtualised.
    Pv,
    /// With hardware virtualisation, without a device model.
    Pvh {
        /// With nested virtualisation.
        nested: bool,
        /// With hardware-assisted paging.
        hap: bool,
        /// Shadow page tables of it may be out of step.
        out_of_sync: bool,
    },
}

/// What a domain is born with and keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    /// Its kind.
    pub kind: DomainKind,
    /// The domain id it must get; `None` for any free one.
    pub domid: Option<Domid>,
    /// Its handle, the UUID.
    pub uuid: [u8; 16],
    /// Virtual processors.
    pub max_vcpus: u32,
    /// The highest event channel port; -1 for Xen's limit.
    pub max_port: i32,
    /// Pages of its grant table; -1 for Xen's default.
    pub max_grant_frames: i32,
    /// Pages of its maptrack table; -1 for Xen's default.
    pub max_maptrack_frames: i32,
    /// The newest grant table version it may use: 1 or 2.
    pub max_grant_version: u32,
    /// The CPU pool that it runs in.
    pub cpupool: u32,
    /// Whether it has a virtual performance counter unit.
    pub vpmu: bool,
    /// Whether it may read MSRs that it should not know of.
    pub msr_relaxed: bool,
    /// Its security label; 0 where there is no security module.
    pub ssidref: u32,
}

/// Why a domain's virtual processors have stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// It is done.
    PowerOff,
    /// It wants to be started anew.
    Reboot,
    /// It wants to be saved or moved.
    Suspend,
    /// It failed, and Xen or its kernel noticed.
    Crash,
    /// Its watchdog was not fed.
    Watchdog,
    /// It wants to be started anew in the same domain.
    SoftReset,
}

impl ShutdownReason {
    /// Xen's number, `SHUTDOWN_*`.
    pub fn from_xen(reason: u32) -> Option<Self> {
        Some(match reason {
            sys::SHUTDOWN_poweroff => Self::PowerOff,
            sys::SHUTDOWN_reboot => Self::Reboot,
            sys::SHUTDOWN_suspend => Self::Suspend,
            sys::SHUTDOWN_crash => Self::Crash,
            sys::SHUTDOWN_watchdog => Self::Watchdog,
            sys::SHUTDOWN_soft_reset => Self::SoftReset,
            _ => return None,
        })
    }
}

impl Birth {
    fn to_raw(self) -> sys::xen_domctl_createdomain {
        let mut flags = if self.vpmu { sys::XEN_DOMCTL_CDF_vpmu } else { 0 };
        let mut emulation_flags = 0;
        if let DomainKind::Pvh { nested, hap, out_of_sync } = self.kind {
            flags |= sys::XEN_DOMCTL_CDF_hvm;
            flags |= if hap { sys::XEN_DOMCTL_CDF_hap } else { 0 };
            flags |= if out_of_sync { 0 } else { sys::XEN_DOMCTL_CDF_oos_off };
            flags |= if nested { sys::XEN_DOMCTL_CDF_nested_virt } else { 0 };
            emulation_flags = sys::XEN_X86_EMU_LAPIC;
        }
        let misc_flags = if self.msr_relaxed { sys::XEN_X86_MSR_RELAXED } else { 0 };
        sys::xen_domctl_createdomain {
            ssidref: self.ssidref,
            handle: self.uuid,
            flags,
            iommu_opts: 0,
            max_vcpus: self.max_vcpus,
            max_evtchn_port: self.max_port.cast_unsigned(),
            max_grant_frames: self.max_grant_frames,
            max_maptrack_frames: self.max_maptrack_frames,
            grant_opts: self.max_grant_version & 0xf,
            vmtrace_size: 0,
            cpupool_id: self.cpupool,
            arch: sys::xen_arch_domainconfig { emulation_flags, misc_flags },
        }
    }
}

impl Xen {
    /// Makes a domain. It has no memory and is paused.
    pub fn create_domain(&self, birth: &Birth) -> Result<Domid> {
        // Zero asks for any free one.
        let wanted = birth.domid.map_or(0, |domid| domid.0);
        let mut domid = u32::from(wanted);
        let mut raw = birth.to_raw();
        // SAFETY: both structures are ours; the call writes the id and what it chose.
        let result = unsafe { sys::xc_domain_create(self.xch(), &mut domid, &mut raw) };
        check(result, "create a domain", Domid(wanted))?;
        let domid = u16::try_from(domid).expect("Xen's domain ids have 15 bits");
        Ok(Domid(domid))
    }

    /// Gives a new domain its virtual processors, as many as it was born for.
    pub fn set_max_vcpus(&self, domid: Domid, count: u32) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result = unsafe { sys::xc_domain_max_vcpus(self.xch(), u32::from(domid.0), count) };
        check(result, "make virtual processors", domid).map(drop)
    }

    /// Stops it until it is unpaused as often as it was paused.
    pub fn pause(&self, domid: Domid) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result = unsafe { sys::xc_domain_pause(self.xch(), u32::from(domid.0)) };
        check(result, "pause", domid).map(drop)
    }

    /// Takes back one pause.
    pub fn unpause(&self, domid: Domid) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result = unsafe { sys::xc_domain_unpause(self.xch(), u32::from(domid.0)) };
        check(result, "unpause", domid).map(drop)
    }

    /// Lets a suspended domain go on where it is. Its suspend call returns that it was cancelled,
    /// so that it keeps its rings and devices.
    pub fn resume_in_place(&self, domid: Domid) -> Result<()> {
        let cooperative = 1;
        // SAFETY: no pointer but the handle is passed.
        let result = unsafe { sys::xc_domain_resume(self.xch(), u32::from(domid.0), cooperative) };
        check(result, "resume", domid).map(drop)
    }

    /// Stops its virtual processors for good, with a reason (`SHUTDOWN_*`).
    pub fn shut_down(&self, domid: Domid, reason: u32) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result =
            unsafe { sys::xc_domain_shutdown(self.xch(), u32::from(domid.0), reason as c_int) };
        check(result, "shut down", domid).map(drop)
    }

    /// Gives it another handle.
    pub fn set_uuid(&self, domid: Domid, mut uuid: [u8; 16]) -> Result<()> {
        // SAFETY: the array is as long as a handle, and is only read.
        let result =
            unsafe { sys::xc_domain_sethandle(self.xch(), u32::from(domid.0), uuid.as_mut_ptr()) };
        check(result, "set the UUID", domid).map(drop)
    }

    /// Writes its memory and state to a file, as an ELF core.
    pub fn dump_core(&self, domid: Domid, path: &Path) -> Result<()> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, error);
            error_from(source, "dump the core", domid, None)
        })?;
        // SAFETY: the path is a C string.
        let result =
            unsafe { sys::xc_domain_dumpcore(self.xch(), u32::from(domid.0), name.as_ptr()) };
        check(result, "dump the core", domid).map(drop)
    }

    /// Takes it out of the world with all its memory.
    pub fn destroy_domain(&self, domid: Domid) -> Result<()> {
        for _ in 0..MAX_DESTROY_TRIES {
            // SAFETY: no pointer but the handle is passed.
            let result = unsafe { sys::xc_domain_destroy(self.xch(), u32::from(domid.0)) };
            if result == 0 {
                return Ok(());
            }
            let error = last_error("destroy", domid);
            if !matches!(error.errno(), Some(libc::EAGAIN | libc::EBUSY | libc::EINTR)) {
                return Err(error);
            }
            thread::sleep(DESTROY_RETRY_PAUSE);
        }
        Err(last_error("destroy", domid))
    }

    /// Gives a new domain the CPU policy that Xen has for its kind.
    ///
    /// `restored`: it comes from a stream of before Xen 4.14, which carried no policy.
    /// `invariant_tsc`: it may rely on the frequency of its time stamp counter.
    pub fn apply_default_cpu_policy(
        &self,
        domid: Domid,
        restored: bool,
        invariant_tsc: bool,
        nested: bool,
    ) -> Result<()> {
        let physical_address_extension = true;
        // SAFETY: neither a feature set nor overrides are passed.
        let result = unsafe {
            sys::xc_cpuid_apply_policy(
                self.xch(),
                u32::from(domid.0),
                restored,
                std::ptr::null(),
                0,
                physical_address_extension,
                invariant_tsc,
                nested,
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        if result == 0 {
            return Ok(());
        }
        // This call returns the errno.
        let source = std::io::Error::from_raw_os_error(result.saturating_abs());
        Err(error_from(source, "apply the CPU policy", domid, None))
    }

    /// How the domain shall see the time stamp counter: `XEN_CPUID_TSC_MODE_*`.
    pub fn set_tsc_mode(&self, domid: Domid, mode: u32) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result =
            unsafe { sys::xc_domain_set_tsc_info(self.xch(), u32::from(domid.0), mode, 0, 0, 0) };
        check(result, "set the TSC mode", domid).map(drop)
    }

    /// How far the domain's clock is from UTC.
    pub fn set_time_offset(&self, domid: Domid, seconds: i32) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result =
            unsafe { sys::xc_domain_set_time_offset(self.xch(), u32::from(domid.0), seconds) };
        check(result, "set the time offset", domid).map(drop)
    }
}
