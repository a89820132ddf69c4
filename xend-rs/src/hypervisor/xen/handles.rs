//! The open handles to Xen, and what every call through them has in common.

use std::ffi::c_int;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use libxc_sys as sys;

use super::toollog;
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::{Domid, PfnRange};

/// Open handles to the running Xen: hypercalls and foreign memory. Shared by everything that
/// belongs to one domain, and closed with the last of it. Does not survive a fork.
#[derive(Debug)]
pub struct Xen {
    xch: NonNull<sys::xc_interface>,
    fmem: NonNull<sys::xenforeignmemory_handle>,
    version: (u32, u32),
}

// SAFETY: neither handle is tied to the thread that opened it.
unsafe impl Send for Xen {}
// SAFETY: libxc may be entered by several threads at once unless it is opened with
// XC_OPENFLAG_NON_REENTRANT, which it is not. The exception, xc_get_last_error, is not used.
unsafe impl Sync for Xen {}

impl Xen {
    /// Opens Xen, and makes sure that it is the release that this was built for: the domctl and
    /// sysctl interfaces differ from one to the next.
    ///
    /// # Errors
    /// [`NoXen`](HypervisorError::NoXen) outside of Dom0 or without privilege,
    /// [`WrongXen`](HypervisorError::WrongXen) for another release.
    pub fn open() -> Result<Arc<Self>> {
        let (logger, open_flags) = (toollog::logger(), 0);
        // SAFETY: the logger lives forever.
        let xch = unsafe { sys::xc_interface_open(logger, logger, open_flags) };
        let no_xen =
            |interface| HypervisorError::NoXen { interface, source: io::Error::last_os_error() };
        let xch = NonNull::new(xch).ok_or_else(|| no_xen("Xen's control interface"))?;
        // SAFETY: the interface is open, and what it returns lives as long as it does.
        let fmem = unsafe { sys::xc_interface_fmem_handle(xch.as_ptr()) };
        let mut xen = Self { xch, fmem: NonNull::dangling(), version: (0, 0) };
        xen.fmem = NonNull::new(fmem).ok_or_else(|| no_xen("Xen's foreign memory interface"))?;
        xen.version = xen.query_version()?;
        if xen.version != sys::XEN_VERSION {
            let display = |(major, minor)| format!("{major}.{minor}");
            return Err(HypervisorError::WrongXen {
                built_for: display(sys::XEN_VERSION),
                running: display(xen.version),
            });
        }
        Ok(Arc::new(xen))
    }

    /// The release of the running Xen: major, minor.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The handle for calls into libxenctrl and libxenguest. Valid while `self` lives.
    pub fn xch(&self) -> *mut sys::xc_interface {
        self.xch.as_ptr()
    }

    /// The handle for foreign mappings. Valid while `self` lives.
    pub fn fmem(&self) -> *mut sys::xenforeignmemory_handle {
        self.fmem.as_ptr()
    }

    fn query_version(&self) -> Result<(u32, u32)> {
        let command = sys::XENVER_version as c_int;
        // SAFETY: this command takes no argument.
        let version = unsafe { sys::xc_version(self.xch(), command, std::ptr::null_mut()) };
        let version = u32::try_from(version).map_err(|_| HypervisorError::NoXen {
            interface: "Xen's version",
            source: io::Error::last_os_error(),
        })?;
        Ok((version >> 16, version & 0xffff))
    }
}

impl Drop for Xen {
    fn drop(&mut self) {
        // SAFETY: the interface is open and nothing refers to it any more. It closes the foreign
        // memory handle, which is its own.
        unsafe { sys::xc_interface_close(self.xch()) };
    }
}

/// The errno of the call that has just failed, as an error that says what it was for.
pub fn last_error(operation: &'static str, domid: Domid) -> HypervisorError {
    error_from(io::Error::last_os_error(), operation, domid, None)
}

/// Like [`last_error`], for an operation on certain pages.
pub fn last_error_for(
    operation: &'static str,
    domid: Domid,
    range: Option<PfnRange>,
) -> HypervisorError {
    error_from(io::Error::last_os_error(), operation, domid, range)
}

/// A failure of a call into Xen. A domain that is not there has its own error.
pub fn error_from(
    source: io::Error,
    operation: &'static str,
    domid: Domid,
    range: Option<PfnRange>,
) -> HypervisorError {
    if source.raw_os_error() == Some(libc::ESRCH) {
        return HypervisorError::NoSuchDomain { domid };
    }
    HypervisorError::Call { operation, domid, range, source }
}

/// Turns a C result, where anything but zero or more is a failure with errno set, into a
/// [`Result`].
pub fn check(result: c_int, operation: &'static str, domid: Domid) -> Result<c_int> {
    if result < 0 { Err(last_error(operation, domid)) } else { Ok(result) }
}

/// As [`check`], for a call that is about the host and no domain.
pub fn check_host(result: c_int, operation: &'static str) -> Result<c_int> {
    if result < 0 { Err(last_host_error(operation)) } else { Ok(result) }
}

/// The errno of the call about the host that has just failed.
pub fn last_host_error(operation: &'static str) -> HypervisorError {
    HypervisorError::HostCall { operation, source: io::Error::last_os_error() }
}
