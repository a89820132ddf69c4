//! Event channels between this domain and a guest.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};

use libxc_sys as sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::handles::{Xen, check, last_error};
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::{Domid, Port};

/// One channel. It is closed when this is dropped. Does not survive a fork.
#[derive(Debug)]
pub struct EventChannel {
    handle: NonNull<sys::xenevtchn_handle>,
    domid: Domid,
    /// Our end.
    port: Port,
}

// SAFETY: the handle is a file descriptor and is not tied to the thread that opened it.
unsafe impl Send for EventChannel {}
// SAFETY: every call is one system call on that descriptor, which the kernel serialises.
unsafe impl Sync for EventChannel {}

impl EventChannel {
    /// A channel that the guest can bind to: tell it our [port](Self::port).
    ///
    /// # Errors
    /// If Xen refuses.
    pub fn for_guest(domid: Domid) -> Result<Self> {
        Self::open(domid, "allocate an event channel", |handle| {
            // SAFETY: the handle is open.
            unsafe { sys::xenevtchn_bind_unbound_port(handle, u32::from(domid.0)) }
        })
    }

    /// A channel to a port that the guest has offered. The guest may have said any number; Xen
    /// refuses what it has not offered. An event is pending at once.
    ///
    /// # Errors
    /// If Xen refuses.
    pub fn to_guest(domid: Domid, remote: Port) -> Result<Self> {
        Self::open(domid, "bind the guest's event channel", |handle| {
            // SAFETY: the handle is open.
            unsafe { sys::xenevtchn_bind_interdomain(handle, u32::from(domid.0), remote.0) }
        })
    }

    fn open(
        domid: Domid,
        operation: &'static str,
        bind: impl FnOnce(*mut sys::xenevtchn_handle) -> sys::xenevtchn_port_or_error_t,
    ) -> Result<Self> {
        let (logger, flags) = (ptr::null_mut(), 0);
        // SAFETY: it may be called without a logger.
        let handle = unsafe { sys::xenevtchn_open(logger, flags) };
        let handle = NonNull::new(handle).ok_or_else(|| HypervisorError::NoXen {
            interface: "Xen's event channels",
            source: io::Error::last_os_error(),
        })?;
        // From here on it is closed whatever happens.
        let mut channel = Self { handle, domid, port: Port(0) };
        let port = check(bind(channel.raw()), operation, domid)?;
        channel.port = Port(port.unsigned_abs());
        Ok(channel)
    }

    /// Our end.
    pub fn port(&self) -> Port {
        self.port
    }

    /// Sends an event.
    ///
    /// # Errors
    /// If the channel is closed at the other end.
    pub fn notify(&self) -> Result<()> {
        // SAFETY: the handle is open.
        let result = unsafe { sys::xenevtchn_notify(self.raw(), self.port.0) };
        check(result, "notify the guest", self.domid).map(drop)
    }

    /// Takes the event that is pending, if one is, and lets the next one come. Does not wait.
    ///
    /// # Errors
    /// If the descriptor fails.
    pub fn take_event(&self) -> Result<bool> {
        // Without one pending, asking for it may block, whatever the descriptor's flags.
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO) != Ok(1) {
            return Ok(false);
        }
        // SAFETY: the handle is open, and an event is pending.
        let port = unsafe { sys::xenevtchn_pending(self.raw()) };
        check(port, "take an event", self.domid)?;
        // SAFETY: the handle is open.
        let result = unsafe { sys::xenevtchn_unmask(self.raw(), self.port.0) };
        check(result, "unmask an event channel", self.domid)?;
        Ok(true)
    }

    fn raw(&self) -> *mut sys::xenevtchn_handle {
        self.handle.as_ptr()
    }

    fn fd(&self) -> c_int {
        // SAFETY: the handle is open.
        unsafe { sys::xenevtchn_fd(self.raw()) }
    }
}

impl AsFd for EventChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let fd = self.fd();
        // SAFETY: the descriptor is open as long as the handle, which we have.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        // SAFETY: the handle is open and nobody else has it. Its channel is closed with it.
        unsafe { sys::xenevtchn_close(self.raw()) };
    }
}

impl Xen {
    /// From now on Xen sends an event through the guest's `port` when the guest has suspended, and to
    /// nobody else: xenstored does not hear of it.
    pub fn tell_of_suspend(&self, domid: Domid, port: Port) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let result =
            unsafe { sys::xc_domain_subscribe_for_suspend(self.xch(), u32::from(domid.0), port.0) };
        if result < 0 {
            return Err(last_error("be told of the suspend", domid));
        }
        Ok(())
    }
}
