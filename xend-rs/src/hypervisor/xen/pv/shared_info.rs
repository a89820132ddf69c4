//! The page that a PV guest shares with Xen: time, event channels, and where its p2m is.

use std::mem::offset_of;
use std::sync::Arc;

use libxc_sys as sys;

use crate::hypervisor::error::Result;
use crate::hypervisor::types::{Domid, PAGE_SIZE};
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::foreign::{ForeignMap, Page};
use crate::hypervisor::xen::handles::error_from;

type Layout = sys::shared_info_x86_64_t;

/// A mapping of a 64-bit PV guest's shared info page.
#[derive(Debug)]
pub struct SharedInfo {
    map: ForeignMap,
    domid: Domid,
}

impl SharedInfo {
    /// Maps the page at machine frame `frame`.
    pub fn map(xen: &Arc<Xen>, domid: Domid, frame: u64) -> Result<Self> {
        Ok(Self { map: ForeignMap::map(xen, domid, &[frame])?, domid })
    }

    /// Where the guest says its p2m is. The generation is the first field to be read: if it has not
    /// changed when the others have been used, they belonged together.
    pub fn p2m_pointers(&self) -> Result<P2mPointers> {
        let generation = self.p2m_generation()?;
        Ok(P2mPointers {
            generation,
            max_pfn: self.read(offset_of!(Layout, arch.max_pfn))?,
            frame_list_list: self.read(offset_of!(Layout, arch.pfn_to_mfn_frame_list_list))?,
            cr3: self.read(offset_of!(Layout, arch.p2m_cr3))?,
            vaddr: self.read(offset_of!(Layout, arch.p2m_vaddr))?,
        })
    }

    /// A number that the guest changes around each change to the structure of a linear p2m.
    pub fn p2m_generation(&self) -> Result<u64> {
        self.read(offset_of!(Layout, arch.p2m_generation))
    }

    /// A copy of the page.
    pub fn copy(&self) -> Result<Box<Page>> {
        let mut page = Box::new([0; PAGE_SIZE]);
        match self.map.copy_page_out(0, &mut page) {
            Ok(()) => Ok(page),
            Err(error) => Err(error_from(error, "read shared info", self.domid, None)),
        }
    }

    fn read(&self, offset_bytes: usize) -> Result<u64> {
        let word = self.map.read_word(offset_bytes / size_of::<u64>());
        word.map_err(|error| error_from(error, "read shared info", self.domid, None))
    }
}

/// What a guest says about its p2m, none of it checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct P2mPointers {
    /// Changes with the structure of a linear p2m.
    pub generation: u64,
    /// One more than the highest pfn, in spite of its name.
    pub max_pfn: u64,
    /// The machine frame of the top of a 3-level p2m.
    pub frame_list_list: u64,
    /// The page table that maps a linear p2m, as a cr3 value; 0 for a 3-level p2m.
    pub cr3: u64,
    /// The guest-virtual address of a linear p2m.
    pub vaddr: u64,
}

const _: () = assert!(size_of::<Layout>() <= PAGE_SIZE);
