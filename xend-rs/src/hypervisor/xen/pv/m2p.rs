//! The M2P: Xen's own table from machine frames to pfns, for the whole host. Dom0 may read it.

use std::sync::Arc;

use libxc_sys as sys;

use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::{Domid, Mfn, Pfn};
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::foreign::ForeignMap;
use crate::hypervisor::xen::handles::{check, last_error};

/// Xen keeps the M2P in machine memory in pieces of 2 MiB, and names the first frame of each.
const CHUNK_BYTES: u64 = 2 << 20;
const CHUNK_FRAMES: u64 = CHUNK_BYTES / 4096;
const ENTRY_BYTES: u64 = 8;
/// 16 TiB, the most that x86 Xen supports in its usual build.
const MAX_HOST_FRAMES: u64 = 1 << 32;

/// A mapping of the M2P.
#[derive(Debug)]
pub struct M2p {
    map: ForeignMap,
    frame_count: u64,
}

impl M2p {
    /// Maps the M2P. `domid` is the guest it is for, for error messages.
    pub fn map(xen: &Arc<Xen>, domid: Domid) -> Result<Self> {
        let frame_count = host_frame_count(xen, domid)?;
        let chunks = (frame_count * ENTRY_BYTES).div_ceil(CHUNK_BYTES) as usize;
        let mut firsts = vec![0; chunks];
        // SAFETY: the array is as long as is said.
        let result =
            unsafe { sys::xc_machphys_mfn_list(xen.xch(), chunks as u64, firsts.as_mut_ptr()) };
        check(result, "find the M2P", domid)?;
        let frames: Vec<u64> =
            firsts.into_iter().flat_map(|first| first..first + CHUNK_FRAMES).collect();
        let map = ForeignMap::map(xen, Domid(sys::DOMID_XEN), &frames)?;
        Ok(Self { map, frame_count })
    }

    /// How many machine frames there are: one more than the highest.
    pub fn frame_count(&self) -> u64 {
        self.frame_count
    }

    /// What the M2P says of `mfn`: the pfn that its owner knows it by, whoever that is. It may be
    /// nonsense where there is no owner. `None` beyond the last frame.
    pub fn pfn(&self, mfn: Mfn) -> Option<Pfn> {
        if mfn.0 >= self.frame_count {
            return None;
        }
        self.map.read_word(mfn.0 as usize).ok().map(Pfn)
    }
}

fn host_frame_count(xen: &Xen, domid: Domid) -> Result<u64> {
    let mut frame_count = 0;
    // SAFETY: the count is written to a variable of ours.
    let result = unsafe { sys::xc_maximum_ram_page(xen.xch(), &mut frame_count) };
    if result != 0 {
        return Err(last_error("get size of machine memory", domid));
    }
    if frame_count > MAX_HOST_FRAMES {
        let what = format!("this host has machine frames up to {frame_count:#x}");
        return Err(HypervisorError::Unsupported { domid, what });
    }
    Ok(frame_count)
}
