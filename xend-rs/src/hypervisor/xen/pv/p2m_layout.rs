//! Where a PV guest keeps its p2m, the table from its pfns to machine frames.
//!
//! Guests describe it in one of two ways. Newer kernels map it *linearly* at a virtual address and
//! name the page table to walk. Older ones hang its frames (*leaves*) into a *3-level* tree: a list
//! of lists of leaves. Both may promise far more pfns than there are, with all the absent ones
//! sharing a few structures that say "nothing here". Those are recognised and cut off, for
//! everything that follows takes memory in proportion.
//!
//! All of it is written by the guest, and none of it is believed further than it can be checked.

use super::page_table::{frame_of, is_pointer};
use super::shared_info::P2mPointers;
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::{Domid, PAGE_SIZE};

/// Entries in a page of anything here: p2m leaves, lists of frames, page tables.
const PER_PAGE: u64 = (PAGE_SIZE / size_of::<u64>()) as u64;
/// The stream has 32 bits for the highest pfn.
const MAX_PFN_COUNT: u64 = 1 << 32;
/// A 3-level tree has one page at its top.
const MAX_TREE_PFN_COUNT: u64 = PER_PAGE * PER_PAGE * PER_PAGE;
/// What one entry of a level 2 table spans.
const LEVEL_2_SHIFT: u32 = 21;
/// The virtual addresses that are Xen's, where no p2m can be.
const XEN_FIRST_VADDR: u64 = 0xffff_8000_0000_0000;
const XEN_LAST_VADDR: u64 = 0xffff_87ff_ffff_ffff;
/// The part of a virtual address that page tables translate.
const VADDR_MASK: u64 = (1 << 48) - 1;

/// The frames of a p2m.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct P2mLayout {
    /// The machine frames of its leaves, in order.
    pub leaves: Vec<u64>,
    /// How many pfns it describes.
    pub pfn_count: u64,
    /// The generation of a linear p2m at which this was true; a 3-level one has none.
    pub generation: Option<u64>,
}

/// What a layout is held against.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Whose p2m it is, for error messages.
    pub domid: Domid,
    /// How many machine frames the host has.
    pub machine_frames: u64,
    /// The most pfns that the guest may have a use for.
    pub pfn_count: u64,
}

/// Finds the p2m that `pointers` describe. `read` gives the words of some of the guest's machine
/// frames, one frame after the other.
pub fn find(
    pointers: &P2mPointers,
    bounds: &Bounds,
    mut read: impl FnMut(&[u64]) -> Result<Vec<u64>>,
) -> Result<P2mLayout> {
    if pointers.max_pfn == 0 || pointers.max_pfn > MAX_PFN_COUNT {
        return Err(bounds.bad(format!("p2m claims {:#x} pfns", pointers.max_pfn)));
    }
    let layout = if pointers.cr3 == 0 {
        walk_tree(pointers, bounds, &mut read)?
    } else {
        walk_page_table(pointers, bounds, &mut read)?
    };
    bounds.check_pfn_count(layout.pfn_count)?;
    Ok(layout)
}

/// The linear p2m: walks the page table over its virtual addresses, level by level.
fn walk_page_table(
    pointers: &P2mPointers,
    bounds: &Bounds,
    read: &mut impl FnMut(&[u64]) -> Result<Vec<u64>>,
) -> Result<P2mLayout> {
    let mut pfn_count = pointers.max_pfn;
    check_vaddr(pointers.vaddr, pfn_count, bounds)?;
    let start = pointers.vaddr & VADDR_MASK;
    let root = frame_of(pointers.cr3);
    bounds.check_frame(root, "p2m root")?;

    let mut frames = vec![root];
    for level in (1..=4u8).rev() {
        // All the entries of this level that translate the p2m, numbered through the whole address
        // space; `frames` are the tables from the one that has the first of them.
        let shift = 12 + 9 * (u32::from(level) - 1);
        let first = start >> shift;
        let last = (start + p2m_bytes(pfn_count) - 1) >> shift;
        if level == 1 {
            // Only now is known how much there is to read.
            bounds.check_pfn_count(pfn_count)?;
        }
        let tables = read(&frames)?;
        let skip = (first % PER_PAGE) as usize;
        let entries = &tables[skip..][..(last - first + 1) as usize];
        frames = Vec::with_capacity(entries.len());
        for (number, &pte) in (first..).zip(entries) {
            if !is_pointer(level, pte) {
                let vaddr = number << shift;
                return Err(bounds.bad(format!("p2m is not mapped at {vaddr:#x} (L{level})")));
            }
            bounds.check_frame(frame_of(pte), "p2m page table")?;
            frames.push(frame_of(pte));
        }
        if level == 2 {
            let kept = without_shared_tail(&frames);
            frames.truncate(kept);
            let kept_bytes = ((first + kept as u64) << LEVEL_2_SHIFT) - start;
            pfn_count = pfn_count.min(kept_bytes / size_of::<u64>() as u64);
        }
    }
    Ok(P2mLayout { leaves: frames, pfn_count, generation: Some(pointers.generation) })
}

/// How many of these tables hold something. Where the last two or more are one and the same, that
/// one must say "nothing here": if it held pages, they would have several pfns each.
fn without_shared_tail(frames: &[u64]) -> usize {
    match shared_tail(frames) {
        0 | 1 => frames.len(),
        // All are the same: that is no p2m, and it is for later checks to find out.
        shared if shared == frames.len() => frames.len(),
        shared => frames.len() - shared,
    }
}

/// How many frames at the end are equal to the last one, itself included.
fn shared_tail(frames: &[u64]) -> usize {
    frames.iter().rev().take_while(|&frame| Some(frame) == frames.last()).count()
}

fn check_vaddr(vaddr: u64, pfn_count: u64, bounds: &Bounds) -> Result<()> {
    let is_canonical = |vaddr: u64| matches!(vaddr.cast_signed() >> 47, 0 | -1);
    let last = vaddr.checked_add(p2m_bytes(pfn_count) - 1);
    let sound = last.is_some_and(|last| {
        let is_xens = vaddr <= XEN_LAST_VADDR && last >= XEN_FIRST_VADDR;
        let is_in_one_half = vaddr >> 63 == last >> 63;
        is_canonical(vaddr) && is_canonical(last) && is_in_one_half && !is_xens
    });
    if !sound || !vaddr.is_multiple_of(PAGE_SIZE as u64) {
        return Err(bounds.bad(format!("p2m of {pfn_count:#x} pfns cannot be at {vaddr:#x}")));
    }
    Ok(())
}

/// The 3-level p2m: a page of pages of leaves.
fn walk_tree(
    pointers: &P2mPointers,
    bounds: &Bounds,
    read: &mut impl FnMut(&[u64]) -> Result<Vec<u64>>,
) -> Result<P2mLayout> {
    let mut pfn_count = pointers.max_pfn;
    if pfn_count > MAX_TREE_PFN_COUNT {
        return Err(bounds.bad(format!("3-level p2m claims {pfn_count:#x} pfns")));
    }
    bounds.check_frame(pointers.frame_list_list, "p2m frame list list")?;

    let per_list = PER_PAGE * PER_PAGE;
    let top = read(&[pointers.frame_list_list])?;
    let mut lists = top[..pfn_count.div_ceil(per_list) as usize].to_vec();
    bounds.check_frames(&lists, "p2m frame list")?;
    // Here the first of the lists that are one and the same is kept: guests promise no more than
    // that pages beyond are absent.
    lists.truncate(lists.len() + 1 - shared_tail(&lists));
    pfn_count = pfn_count.min(lists.len() as u64 * per_list);
    bounds.check_pfn_count(pfn_count)?;

    let mut leaves = read(&lists)?;
    leaves.truncate(pfn_count.div_ceil(PER_PAGE) as usize);
    bounds.check_frames(&leaves, "p2m")?;
    Ok(P2mLayout { leaves, pfn_count, generation: None })
}

/// What a linear p2m takes, in whole pages.
fn p2m_bytes(pfn_count: u64) -> u64 {
    pfn_count.div_ceil(PER_PAGE) * PAGE_SIZE as u64
}

impl Bounds {
    fn check_frames(&self, frames: &[u64], what: &str) -> Result<()> {
        frames.iter().try_for_each(|&frame| self.check_frame(frame, what))
    }

    fn check_frame(&self, frame: u64, what: &str) -> Result<()> {
        if frame == 0 || frame >= self.machine_frames {
            return Err(self.bad(format!("{what} is at mfn {frame:#x}, which does not exist")));
        }
        Ok(())
    }

    fn check_pfn_count(&self, pfn_count: u64) -> Result<()> {
        if pfn_count > self.pfn_count {
            let most = self.pfn_count;
            return Err(
                self.bad(format!("p2m has {pfn_count:#x} pfns, and {most:#x} are believable"))
            );
        }
        Ok(())
    }

    fn bad(&self, what: String) -> HypervisorError {
        HypervisorError::BadGuest { domid: self.domid, what }
    }
}

#[cfg(test)]
#[path = "p2m_layout_tests.rs"]
mod tests;
