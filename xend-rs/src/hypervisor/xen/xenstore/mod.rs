//! Xenstore, through libxenstore: the tree in which toolstack, drivers and guests find each other.
//!
//! [`Xenstore`] is a connection. What can be done with nodes is in [`Nodes`], which a connection
//! and a [`Transaction`] on it share. A [`Watcher`] is a connection of its own for waiting, so that
//! nobody takes another's events.

mod error;
mod nodes;
mod transaction;
mod watcher;

use std::io;
use std::ptr::NonNull;

use libxc_sys as sys;

pub use error::{Result, XenstoreError};
pub use nodes::{Access, Nodes, Permission};
pub use transaction::Transaction;
pub use watcher::{WatchEvent, Watcher};

use crate::hypervisor::types::{Domid, Mfn, Port};

/// A connection to xenstored. Does not survive a fork.
#[derive(Debug)]
pub struct Xenstore {
    handle: NonNull<sys::xs_handle>,
}

// SAFETY: the handle is not tied to the thread that opened it.
unsafe impl Send for Xenstore {}
// SAFETY: libxenstore locks each request and its answer inside the handle.
unsafe impl Sync for Xenstore {}

impl Xenstore {
    /// Connects to the xenstored of this host.
    ///
    /// # Errors
    /// [`XenstoreError::Open`] where none runs or the caller may not.
    pub fn open() -> Result<Self> {
        let no_flags = 0;
        // SAFETY: it takes no pointers.
        let handle = unsafe { sys::xs_open(no_flags) };
        NonNull::new(handle)
            .map(|handle| Self { handle })
            .ok_or_else(|| XenstoreError::Open(io::Error::last_os_error()))
    }

    /// Tells xenstored of a new domain and its ring: from here on the domain can talk to it.
    /// `ring` is a machine frame of a PV domain, a guest frame of any other; the grant table must
    /// have been seeded with it.
    pub fn introduce(&self, domid: Domid, ring: Mfn, port: Port) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let good =
            unsafe { sys::xs_introduce_domain(self.raw(), u32::from(domid.0), ring.0, port.0) };
        self.domain_call(good, "introduce", domid)
    }

    /// Has xenstored report the domain's next shutdown again, after it was resumed from one.
    pub fn resumed(&self, domid: Domid) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let good = unsafe { sys::xs_resume_domain(self.raw(), u32::from(domid.0)) };
        self.domain_call(good, "take note of the resume of", domid)
    }

    /// Has xenstored let go of a domain that is about to be destroyed.
    pub fn release(&self, domid: Domid) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let good = unsafe { sys::xs_release_domain(self.raw(), u32::from(domid.0)) };
        self.domain_call(good, "release", domid)
    }

    fn raw(&self) -> *mut sys::xs_handle {
        self.handle.as_ptr()
    }

    fn domain_call(&self, good: bool, operation: &'static str, domid: Domid) -> Result<()> {
        if good {
            return Ok(());
        }
        let source = io::Error::last_os_error();
        Err(XenstoreError::Call { operation, path: domid.to_string(), source })
    }
}

impl Drop for Xenstore {
    fn drop(&mut self) {
        // SAFETY: the handle is open and nobody else has it.
        unsafe { sys::xs_close(self.raw()) };
    }
}
