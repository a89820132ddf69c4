//! Memory that a hypercall can read and write: page-granular, locked, and never copied on write.
//!
//! Ordinary memory will not do. The kernel may be moving a page of it while Xen writes to it.

use std::ptr::NonNull;
use std::sync::Arc;
use std::{fmt, ptr, slice};

use libxc_sys as sys;

use super::handles::{Xen, error_from};
use crate::hypervisor::error::Result;
use crate::hypervisor::types::{Domid, PAGE_SIZE};

/// A zeroed buffer for hypercalls, whole pages long. Freed on drop.
pub struct HypercallBuffer {
    xen: Arc<Xen>,
    base: NonNull<u8>,
    pages: usize,
    /// libxc's name for the buffer. It is boxed because libxc keeps pointers to it during a call.
    descriptor: Box<sys::xc_hypercall_buffer_t>,
}

// SAFETY: the buffer is memory of this process, owned by this value alone, and no thread is
// special to it.
unsafe impl Send for HypercallBuffer {}
// SAFETY: through a shared reference it can only be read, and Xen writes to it only during a call
// that borrowed it mutably.
unsafe impl Sync for HypercallBuffer {}

impl HypercallBuffer {
    /// Allocates at least `bytes` bytes (at least one page), all zero. `operation` and `domid` are
    /// what the error says it was for.
    pub fn alloc(
        xen: &Arc<Xen>,
        bytes: usize,
        operation: &'static str,
        domid: Domid,
    ) -> Result<Self> {
        let pages = bytes.div_ceil(PAGE_SIZE).max(1);
        let mut descriptor = Box::new(sys::xc_hypercall_buffer_t {
            hbuf: ptr::null_mut(),
            param_shadow: ptr::null_mut(),
            dir: 0,
            // libxc's mark for a buffer that is not a bounce buffer.
            ubuf: ptr::without_provenance_mut(usize::MAX),
            sz: 0,
        });
        let failed = |source| error_from(source, operation, domid, None);
        let count =
            i32::try_from(pages).map_err(|_| failed(std::io::ErrorKind::OutOfMemory.into()))?;
        // SAFETY: the handle is open and the descriptor fresh.
        let base =
            unsafe { sys::xc__hypercall_buffer_alloc_pages(xen.xch(), &mut *descriptor, count) };
        let base =
            NonNull::new(base.cast()).ok_or_else(|| failed(std::io::Error::last_os_error()))?;
        Ok(Self { xen: Arc::clone(xen), base, pages, descriptor })
    }

    /// Its length: a multiple of the page size.
    pub fn len_bytes(&self) -> usize {
        self.pages * PAGE_SIZE
    }

    /// libxc's name for the buffer, for calls that take one. They do not keep it.
    pub fn descriptor(&mut self) -> *mut sys::xc_hypercall_buffer_t {
        &mut *self.descriptor
    }

    /// Where the buffer is, to be put into a guest handle of a hypercall's argument.
    pub fn as_mut_ptr<T>(&mut self) -> *mut T {
        self.base.as_ptr().cast()
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the pages are mapped and initialised for as long as `self` lives, and Xen writes
        // to them only during a call that borrowed `self` mutably to name them.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.len_bytes()) }
    }

    /// What is in it, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr(), self.len_bytes()) }
    }

    /// What is in it as 64-bit words, the form of Xen's bitmaps.
    pub fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.bytes().as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word))
    }
}

impl fmt::Debug for HypercallBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HypercallBuffer").field("pages", &self.pages).finish_non_exhaustive()
    }
}

impl Drop for HypercallBuffer {
    fn drop(&mut self) {
        let (xch, descriptor) = (self.xen.xch(), self.descriptor());
        // SAFETY: these are the pages that were allocated under this descriptor, whose number
        // fitted an int then.
        unsafe { sys::xc__hypercall_buffer_free_pages(xch, descriptor, self.pages as i32) };
    }
}
