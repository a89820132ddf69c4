//! The p2m of a running PV guest, and the question of which frames are its own.

use std::sync::Arc;

use super::p2m_layout::{self, Bounds, P2mLayout};
use super::shared_info::SharedInfo;
use super::{M2p, page_table};
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::{Domid, Mfn, PAGE_SIZE, Pfn};
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::foreign::ForeignMap;
use crate::hypervisor::xen::handles::error_from;

/// A mapping of a PV guest's p2m. The guest goes on writing to it.
#[derive(Debug)]
pub struct P2m {
    map: ForeignMap,
    pfn_count: u64,
    generation: Option<u64>,
    leaves: Vec<Pfn>,
}

impl P2m {
    /// Finds and maps the p2m that `shared_info` names, with no more than `most_pfns` pfns.
    pub fn map(
        xen: &Arc<Xen>,
        domid: Domid,
        shared_info: &SharedInfo,
        m2p: &M2p,
        most_pfns: u64,
    ) -> Result<Self> {
        let bounds = Bounds { domid, machine_frames: m2p.frame_count(), pfn_count: most_pfns };
        let P2mLayout { leaves, pfn_count, generation } =
            p2m_layout::find(&shared_info.p2m_pointers()?, &bounds, |frames| {
                read_words(xen, domid, frames)
            })?;
        let map = ForeignMap::map(xen, domid, &leaves)?;
        let mut p2m = Self { map, pfn_count, generation, leaves: Vec::new() };
        for mfn in leaves.into_iter().map(Mfn) {
            let pfn = p2m.own_pfn(m2p, mfn).ok_or_else(|| HypervisorError::BadGuest {
                domid,
                what: format!("p2m is in {mfn}, which is not its own"),
            })?;
            p2m.leaves.push(pfn);
        }
        Ok(p2m)
    }

    /// One more than the highest pfn.
    pub fn pfn_count(&self) -> u64 {
        self.pfn_count
    }

    /// The pfns that the p2m itself is in, in order.
    pub fn leaves(&self) -> &[Pfn] {
        &self.leaves
    }

    /// The generation of its structure when it was mapped, if it has one.
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// What the p2m has for `pfn` now: a machine frame, [`Mfn::INVALID`], or whatever the guest has
    /// put there. `None` beyond its end.
    pub fn entry(&self, pfn: Pfn) -> Option<Mfn> {
        if pfn.0 >= self.pfn_count {
            return None;
        }
        self.map.read_word(pfn.0 as usize).ok().map(Mfn)
    }

    /// The pfn of a machine frame that is the guest's own: where the M2P and the p2m agree.
    pub fn own_pfn(&self, m2p: &M2p, mfn: Mfn) -> Option<Pfn> {
        let pfn = m2p.pfn(mfn)?;
        (self.entry(pfn)? == mfn).then_some(pfn)
    }
}

/// The words of some frames, copied.
fn read_words(xen: &Arc<Xen>, domid: Domid, frames: &[u64]) -> Result<Vec<u64>> {
    let map = ForeignMap::map(xen, domid, frames)?;
    let mut words = Vec::with_capacity(frames.len() * page_table::ENTRIES);
    let mut page = [0; PAGE_SIZE];
    for index in 0..map.len_pages() {
        map.copy_page_out(index, &mut page)
            .map_err(|error| error_from(error, "read p2m structure", domid, None))?;
        words.extend(page.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)));
    }
    Ok(words)
}
