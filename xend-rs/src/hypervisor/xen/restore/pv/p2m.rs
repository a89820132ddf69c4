//! A PV guest's p2m as it is built here: which machine frame each pfn got, and what it holds.

use crate::hypervisor::types::{Mfn, PAGE_SIZE, Pfn};
use crate::hypervisor::xen::foreign::Page;
use crate::hypervisor::xen::restore::guest::Check;
use crate::stream::libxc::{P2mFrames, PageType};

/// Pfns whose frames one page of the guest's p2m names.
const PFNS_PER_FRAME: u64 = (PAGE_SIZE / size_of::<u64>()) as u64;

/// Pfns in one leaf of the p2m here. Few, because a hostile stream can have a leaf made for every
/// page that the domain may have, by scattering them.
const LEAF_PFNS: usize = 64;
const LEAVES_PER_FRAME: usize = PFNS_PER_FRAME as usize / LEAF_PFNS;

struct Leaf {
    mfns: [Mfn; LEAF_PFNS],
    types: [PageType; LEAF_PFNS],
}

/// The p2m of the guest to be, and the pfns of the guest pages that will hold it.
///
/// Leaves are made when their first pfn gets a frame. That bounds what a stream can have kept here
/// by what the domain may have: 64 bytes a page for pfns that are only announced, and 600 for those
/// that are populated. An honest guest takes 9.
pub(super) struct P2m {
    leaves: Vec<Option<Box<Leaf>>>,
    frame_pfns: Vec<Option<Pfn>>,
    pfn_count: u64,
    max_frames: u64,
}

impl P2m {
    /// An empty p2m for a domain that may have `max_pages` pages.
    pub(super) fn new(max_pages: u64) -> Self {
        Self { leaves: Vec::new(), frame_pfns: Vec::new(), pfn_count: 0, max_frames: max_pages }
    }

    /// One more than the highest pfn; 0 as long as no p2m frames came.
    pub(super) fn pfn_count(&self) -> u64 {
        self.pfn_count
    }

    /// Takes in the pages that a part of the guest's p2m is in. Grows to its last pfn: the guest
    /// may have grown since an earlier record.
    pub(super) fn learn_frames(&mut self, record: &P2mFrames) -> Check<()> {
        let (start, end) = (u64::from(record.start), u64::from(record.end));
        if start > end {
            return Err(format!("its p2m frames are of pfns {start:#x} to {end:#x}, backwards"));
        }
        let first = start / PFNS_PER_FRAME;
        let frames = end / PFNS_PER_FRAME + 1;
        if record.frames.len() as u64 != frames - first {
            return Err(format!(
                "its p2m of pfns {start:#x} to {end:#x} is in {} frames, {} were announced",
                frames - first,
                record.frames.len()
            ));
        }
        // The p2m is made of the guest's own pages. One that does not fit in all the memory that
        // the domain may have is no p2m, however much of the guest is ballooned out.
        if frames > self.max_frames {
            return Err(format!(
                "a p2m for pfns up to {end:#x} takes {frames} pages, the domain may have no more \
                 than {} in all",
                self.max_frames
            ));
        }
        self.pfn_count = self.pfn_count.max(end + 1);
        if frames as usize > self.frame_pfns.len() {
            self.leaves.resize_with(frames as usize * LEAVES_PER_FRAME, || None);
            self.frame_pfns.resize(frames as usize, None);
        }
        for (slot, pfn) in self.frame_pfns[first as usize..].iter_mut().zip(&record.frames) {
            *slot = Some(*pfn);
        }
        Ok(())
    }

    /// The machine frame of `pfn`, if it has one.
    pub(super) fn mfn(&self, pfn: Pfn) -> Option<Mfn> {
        let leaf = self.leaf(pfn)?;
        Some(leaf.mfns[slot(pfn)]).filter(|mfn| *mfn != Mfn::INVALID)
    }

    /// Fails if `pfn` is beyond the guest's last.
    pub(super) fn check_range(&self, pfn: Pfn) -> Check<()> {
        if pfn.0 < self.pfn_count {
            return Ok(());
        }
        Err(format!("{pfn} is beyond the guest's last, {:#x}", self.pfn_count.saturating_sub(1)))
    }

    /// Adds those of `pfns` that have no frame to `missing`. A page table may name a page long before
    /// it arrives, or one that never does.
    pub(super) fn find_missing(
        &self,
        pfns: impl Iterator<Item = Pfn>,
        missing: &mut Vec<Pfn>,
    ) -> Check<()> {
        for pfn in pfns {
            self.check_range(pfn)?;
            if self.mfn(pfn).is_none() {
                missing.push(pfn);
            }
        }
        Ok(())
    }

    /// Notes that Xen gave `pfn` the frame `mfn`.
    ///
    /// # Panics
    /// If `pfn` is out of range.
    pub(super) fn set_mfn(&mut self, pfn: Pfn, mfn: Mfn) {
        self.leaf_mut(pfn).mfns[slot(pfn)] = mfn;
    }

    /// Notes what the stream says of `pfn`. Of a pfn without a frame nothing need be known.
    pub(super) fn set_type(&mut self, pfn: Pfn, page_type: PageType) {
        if self.mfn(pfn).is_some() {
            self.leaf_mut(pfn).types[slot(pfn)] = page_type;
        }
    }

    /// The frame of `pfn`, which must be a plain page; `what` says what it is needed for.
    pub(super) fn plain_page(&self, pfn: Pfn, what: &str) -> Check<Mfn> {
        self.page_of(pfn, what, "a plain page", |page_type| page_type == PageType::Normal)
    }

    /// The frame of `pfn`, which must be a top-level page table; `what` says what it is needed for.
    pub(super) fn top_table(&self, pfn: Pfn, what: &str) -> Check<Mfn> {
        self.page_of(pfn, what, "a level 4 page table", |t| t.table_level() == Some(4))
    }

    /// The pinned page tables in pfn order, each with its level.
    pub(super) fn pinned_tables(&self) -> impl Iterator<Item = (u8, Mfn)> + '_ {
        self.leaves.iter().flatten().flat_map(|leaf| {
            leaf.types.iter().zip(&leaf.mfns).filter_map(|(page_type, mfn)| {
                let level = page_type.table_level().filter(|_| page_type.is_pinned())?;
                (*mfn != Mfn::INVALID).then_some((level, *mfn))
            })
        })
    }

    /// The frames of the guest pages that will hold the p2m, in order.
    pub(super) fn own_frames(&self) -> Check<Vec<Mfn>> {
        let frames = self.frame_pfns.iter().enumerate().map(|(index, pfn)| {
            let pfn = pfn.ok_or_else(|| format!("frame {index} of its p2m was never named"))?;
            self.plain_page(pfn, &format!("frame {index} of its p2m"))
        });
        frames.collect()
    }

    /// Writes what page `index` of the guest's p2m is to hold: all ones where it has no memory.
    pub(super) fn write_frame(&self, index: usize, page: &mut Page) {
        page.fill(0xff);
        let leaves = self.leaves.iter().skip(index * LEAVES_PER_FRAME);
        let parts = page.chunks_exact_mut(LEAF_PFNS * size_of::<u64>());
        for (part, leaf) in
            parts.zip(leaves).filter_map(|(part, leaf)| Some((part, leaf.as_ref()?)))
        {
            for (word, mfn) in part.as_chunks_mut().0.iter_mut().zip(&leaf.mfns) {
                *word = mfn.0.to_le_bytes();
            }
        }
    }

    fn page_of(
        &self,
        pfn: Pfn,
        what: &str,
        wanted: &str,
        fits: impl Fn(PageType) -> bool,
    ) -> Check<Mfn> {
        self.check_range(pfn).map_err(|why| format!("{what}: {why}"))?;
        let mfn = self.mfn(pfn).ok_or_else(|| format!("{what}: {pfn} has no memory"))?;
        let page_type = self.leaf(pfn).map_or(PageType::Invalid, |leaf| leaf.types[slot(pfn)]);
        if fits(page_type) {
            return Ok(mfn);
        }
        Err(format!("{what}: {pfn} must be {wanted}, but is of type {}", page_type.name()))
    }

    fn leaf(&self, pfn: Pfn) -> Option<&Leaf> {
        let index = usize::try_from(pfn.0 / LEAF_PFNS as u64).ok()?;
        self.leaves.get(index)?.as_deref()
    }

    fn leaf_mut(&mut self, pfn: Pfn) -> &mut Leaf {
        self.leaves[(pfn.0 / LEAF_PFNS as u64) as usize].get_or_insert_with(|| {
            Box::new(Leaf { mfns: [Mfn::INVALID; LEAF_PFNS], types: [PageType::Normal; LEAF_PFNS] })
        })
    }
}

fn slot(pfn: Pfn) -> usize {
    (pfn.0 % LEAF_PFNS as u64) as usize
}
