//! Mappings of another domain's memory.
//!
//! What a [`ForeignMap`] shows belongs to a guest that may be running: it changes at any time,
//! under any reader. No reference to it is ever handed out. It is copied once, and the copy is
//! what is looked at. Only [`ForeignMapMut::as_mut_slice`] gives a slice, and says when it may.

use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::Arc;
use std::{io, ptr, slice};

use libxc_sys as sys;

use super::handles::{Xen, error_from, last_error};
use crate::hypervisor::error::Result;
use crate::hypervisor::types::{Domid, PAGE_SIZE};

/// One page's bytes.
pub type Page = [u8; PAGE_SIZE];

const WORDS_PER_PAGE: usize = PAGE_SIZE / size_of::<u64>();

/// Frames of a domain, mapped one after the other to be read. Unmapped on drop.
#[derive(Debug)]
pub struct ForeignMap {
    xen: Arc<Xen>,
    domid: Domid,
    base: NonNull<u8>,
    pages: usize,
    /// Empty, or one errno for each frame: 0 where it is mapped.
    errors: Vec<c_int>,
}

// SAFETY: a mapping belongs to the process, not to a thread, and the library's handle may be used
// from any.
unsafe impl Send for ForeignMap {}
// SAFETY: through a shared reference it can only be copied out of, word by word or page by page. That
// the guest writes meanwhile is no other than with one reader.
unsafe impl Sync for ForeignMap {}

impl ForeignMap {
    /// Maps `frames` (machine frames of a PV guest, guest frames of an HVM guest), all of them or
    /// none.
    pub fn map(xen: &Arc<Xen>, domid: Domid, frames: &[u64]) -> Result<Self> {
        Self::map_all_with(xen, domid, frames, libc::PROT_READ)
    }

    /// Maps those of `frames` that can be mapped; [`page_error`](Self::page_error) tells which
    /// could not.
    pub fn map_what_is_there(xen: &Arc<Xen>, domid: Domid, frames: &[u64]) -> Result<Self> {
        let mut map = Self::map_with(xen, domid, frames, libc::PROT_READ)?;
        if map.errors.iter().all(|&code| code == 0) {
            map.errors = Vec::new();
        }
        Ok(map)
    }

    /// How many frames it spans.
    pub fn len_pages(&self) -> usize {
        self.pages
    }

    /// Why the page at `index` is not mapped, if it is not.
    pub fn page_error(&self, index: usize) -> Option<io::Error> {
        match self.errors.get(index).copied().unwrap_or(0) {
            0 => None,
            // Linux reports them negated, the library's header promises them as they are.
            code => Some(io::Error::from_raw_os_error(code.saturating_abs())),
        }
    }

    /// Copies the page at `index`.
    ///
    /// # Errors
    /// The page's errno if it is not mapped.
    ///
    /// # Panics
    /// If `index` is not below [`len_pages`](Self::len_pages).
    pub fn copy_page_out(&self, index: usize, page: &mut Page) -> io::Result<()> {
        let source = self.page(index)?;
        // SAFETY: the page is mapped and `page` is as long. A guest that writes meanwhile can make
        // the copy a mixture of old and new bytes, which is what any reader of its memory gets:
        // only the copy is looked at from here on, and the page is dirty again.
        unsafe { ptr::copy_nonoverlapping(source, page.as_mut_ptr(), PAGE_SIZE) };
        Ok(())
    }

    /// Copies the page at `index` to the end of `out`.
    ///
    /// # Errors
    /// The page's errno if it is not mapped; `out` is then as it was.
    ///
    /// # Panics
    /// If `index` is not below [`len_pages`](Self::len_pages).
    pub fn append_page_to(&self, index: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let source = self.page(index)?;
        out.reserve(PAGE_SIZE);
        let tail = out.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: the page is mapped and there is room for it. As for a guest that writes
        // meanwhile: see `copy_page_out`.
        unsafe { ptr::copy_nonoverlapping(source, tail, PAGE_SIZE) };
        // SAFETY: the bytes up to here have just been written.
        unsafe { out.set_len(out.len() + PAGE_SIZE) };
        Ok(())
    }

    /// Reads the 64-bit word at `index`, counted over the whole mapping.
    ///
    /// # Errors
    /// The page's errno if it is not mapped.
    ///
    /// # Panics
    /// If the mapping is not that long.
    pub fn read_word(&self, index: usize) -> io::Result<u64> {
        let page = self.page(index / WORDS_PER_PAGE)?.cast::<u64>();
        // SAFETY: the word is within the page.
        let word = unsafe { page.add(index % WORDS_PER_PAGE) };
        // SAFETY: it is mapped and aligned. The guest may write it at any time, which is what
        // volatile is for: the word is loaded once, whole, and not again.
        Ok(unsafe { word.read_volatile() })
    }

    fn map_all_with(xen: &Arc<Xen>, domid: Domid, frames: &[u64], prot: c_int) -> Result<Self> {
        let mut map = Self::map_with(xen, domid, frames, prot)?;
        match (0..map.pages).find_map(|index| map.page_error(index)) {
            Some(source) => Err(error_from(source, MAP_FRAMES, domid, None)),
            None => {
                map.errors = Vec::new();
                Ok(map)
            }
        }
    }

    fn map_with(xen: &Arc<Xen>, domid: Domid, frames: &[u64], prot: c_int) -> Result<Self> {
        let pages = frames.len();
        let mut errors = vec![0; pages];
        // SAFETY: both arrays are `pages` long, and the library writes to `errors` only.
        let base = unsafe {
            sys::xenforeignmemory_map(
                xen.fmem(),
                u32::from(domid.0),
                prot,
                pages,
                frames.as_ptr(),
                errors.as_mut_ptr(),
            )
        };
        let base = NonNull::new(base.cast()).ok_or_else(|| last_error(MAP_FRAMES, domid))?;
        Ok(Self { xen: Arc::clone(xen), domid, base, pages, errors })
    }

    /// Where the page at `index` is, if it is mapped: an unmapped one would raise a signal.
    fn page(&self, index: usize) -> io::Result<*mut u8> {
        assert!(index < self.pages, "page {index} of a mapping of {}", self.pages);
        if let Some(error) = self.page_error(index) {
            return Err(error);
        }
        // SAFETY: the page is within the mapping.
        Ok(unsafe { self.base.as_ptr().add(index * PAGE_SIZE) })
    }
}

impl Drop for ForeignMap {
    fn drop(&mut self) {
        let base = self.base.as_ptr().cast();
        // SAFETY: this is the mapping that was made, and no pointer into it outlives `self`.
        let result = unsafe { sys::xenforeignmemory_unmap(self.xen.fmem(), base, self.pages) };
        if result != 0 {
            let error = io::Error::last_os_error();
            log::error!("{}: cannot unmap {} frames: {error}", self.domid, self.pages);
        }
    }
}

/// Frames of a domain, mapped one after the other to be read and written: always all of them.
#[derive(Debug)]
pub struct ForeignMapMut(ForeignMap);

impl ForeignMapMut {
    /// Maps `frames` (machine frames of a PV guest, guest frames of an HVM guest).
    pub fn map(xen: &Arc<Xen>, domid: Domid, frames: &[u64]) -> Result<Self> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        ForeignMap::map_all_with(xen, domid, frames, prot).map(Self)
    }

    /// The mapping, to be read only.
    pub fn as_map(&self) -> &ForeignMap {
        &self.0
    }

    /// The whole mapping, all frames one after the other.
    ///
    /// # Safety
    /// While the slice lives nobody else may touch the frames: the domain has not run yet (it is
    /// being restored), no device model or backend has mapped them, and no other mapping of the
    /// same frames is in use in this process.
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: every page is mapped to be read and written while `self` is borrowed, and the
        // caller vouches that nobody else has its hands on them.
        unsafe { slice::from_raw_parts_mut(self.0.base.as_ptr(), self.0.pages * PAGE_SIZE) }
    }

    /// Writes `bytes` at `offset_bytes` into the page at `index`.
    ///
    /// # Panics
    /// If they do not fit into that page.
    pub fn write(&mut self, index: usize, offset_bytes: usize, bytes: &[u8]) {
        assert!(offset_bytes + bytes.len() <= PAGE_SIZE, "a write stays within its page");
        let page = self.0.page(index).expect("a writable mapping has all its pages");
        // SAFETY: the offset is within the page.
        let target = unsafe { page.add(offset_bytes) };
        // SAFETY: the page is mapped to be written, the bytes fit, and they are not in it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    }
}

const MAP_FRAMES: &str = "map guest frames";
