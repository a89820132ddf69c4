//! Restoring a PV guest: it knows machine frames, so all that names one is rewritten.
//!
//! ```text
//! record or page            what becomes of it
//! X86_PV_P2M_FRAMES         sizes the p2m                            p2m
//! page table                pfns turn into machine frames            (xen::pv::page_table)
//! SHARED_INFO               what outlives the move is copied         shared_info
//! X86_PV_VCPU_*             kept until all memory is there           stash, vcpu, start_info
//! ```

mod fields;
mod p2m;
mod shared_info;
mod start_info;
mod stash;
#[cfg(test)]
mod tests;
mod vcpu;

use self::p2m::P2m;
use self::stash::{VcpuStash, VcpuStashes};
use super::calls::{MAX_PIN_BATCH, Target};
use super::guest::{Check, Guest};
use crate::hypervisor::destination::{RingFrames, Rings};
use crate::hypervisor::error::Result;
use crate::hypervisor::types::{Mfn, PAGE_SIZE, Pfn};
use crate::hypervisor::xen::domain::DomainInfo;
use crate::hypervisor::xen::foreign::{ForeignMapMut, Page};
use crate::hypervisor::xen::handles::error_from;
use crate::hypervisor::xen::pv::page_table;
use crate::stream::libxc::{GuestType, PageEntry, PageType, PvWidth, Record};

/// Pages of the guest's p2m that are mapped at once to be written.
const P2M_WINDOW_PAGES: usize = 1024;
/// Pages that are populated with one call: libxc copies their frames to a buffer of 128 KiB.
const POPULATE_BATCH: usize = 16 << 10;

/// A PV guest that is being restored.
pub(super) struct PvGuest {
    p2m: P2m,
    vcpus: VcpuStashes,
    shared_info: Mfn,
    /// Both reused from call to call.
    frames: Vec<u64>,
    missing: Vec<Pfn>,
}

impl PvGuest {
    /// A guest for the fresh domain that `info` describes.
    pub(super) fn new(target: &Target, info: &DomainInfo) -> Result<Self> {
        let max_vcpu_id =
            info.max_vcpu_id.ok_or_else(|| target.bad("the domain was made without vCPUs"))?;
        Ok(Self {
            p2m: P2m::new(info.max_pages),
            vcpus: VcpuStashes::new(max_vcpu_id.saturating_add(1)),
            shared_info: Mfn(info.shared_info_frame),
            frames: Vec::new(),
            missing: Vec::new(),
        })
    }

    fn check_width(&self, target: &Target, width: PvWidth) -> Result<()> {
        if width != PvWidth::Bits64 {
            return Err(target.bad("it is a 32-bit PV guest; only 64-bit ones are supported"));
        }
        let bytes = target.xen.guest_width_bytes(target.domid)?;
        if bytes == u32::from(width.bytes()) {
            return Ok(());
        }
        Err(target.bad(format!("a 64-bit guest came, the domain is set up for {} bits", bytes * 8)))
    }

    fn restore_shared_info(&self, target: &Target, mut saved: Box<Page>) -> Result<()> {
        let mut mapping = ForeignMapMut::map(&target.xen, target.domid, &[self.shared_info.0])?;
        shared_info::adapt(&mut saved);
        for part in shared_info::RESTORED {
            mapping.write(0, part.start, &saved[part]);
        }
        Ok(())
    }

    fn restore_vcpus(&mut self, target: &Target, rings: &Rings) -> Result<RingFrames> {
        let mut stashes = self.vcpus.take().map_err(|why| target.bad(why))?;
        let ring_frames = self.restore_start_info(target, rings, &mut stashes)?;
        for (vcpu, stash) in (0..).zip(stashes) {
            self.restore_vcpu(target, vcpu, stash)?;
        }
        Ok(ring_frames)
    }

    fn restore_start_info(
        &self,
        target: &Target,
        rings: &Rings,
        stashes: &mut [VcpuStash],
    ) -> Result<RingFrames> {
        let first = stashes.first_mut().and_then(|stash| stash.basic.as_mut());
        let context = first.ok_or_else(|| target.bad("no registers of vCPU 0 came"))?;
        let pfn = Pfn(context.rdx());
        let mfn = self.p2m.plain_page(pfn, "start info").map_err(|why| target.bad(why))?;
        context.set_rdx(mfn.0);

        let mut mapping = ForeignMapMut::map(&target.xen, target.domid, &[mfn.0])?;
        let mut page: Page = [0; PAGE_SIZE];
        mapping
            .as_map()
            .copy_page_out(0, &mut page)
            .map_err(|source| error_from(source, "read start info", target.domid, None))?;
        let ring_frames = start_info::restore(&mut page, &self.p2m, rings, self.shared_info)
            .map_err(|why| target.bad(why))?;
        mapping.write(0, 0, &page);
        Ok(ring_frames)
    }

    fn restore_vcpu(&self, target: &Target, vcpu: u32, stash: VcpuStash) -> Result<()> {
        if let Some(mut context) = stash.basic {
            vcpu::localise(&mut context, &self.p2m)
                .map_err(|why| target.bad(format!("vCPU {vcpu}: {why}")))?;
            target.set_vcpu_context(vcpu, &context.into_bytes())?;
        }
        if let Some(state) = stash.extended {
            target.set_ext_vcpu_context(vcpu, &state)?;
        }
        if let Some(state) = stash.xsave {
            target.set_vcpu_xsave(vcpu, &state)?;
        }
        if let Some(entries) = stash.msrs {
            target.set_vcpu_msrs(vcpu, &entries)?;
        }
        Ok(())
    }

    fn pin_page_tables(&self, target: &Target) -> Result<()> {
        let mut batch = Vec::with_capacity(MAX_PIN_BATCH);
        for table in self.p2m.pinned_tables() {
            batch.push(table);
            if batch.len() == MAX_PIN_BATCH {
                target.pin_page_tables(&batch)?;
                batch.clear();
            }
        }
        if batch.is_empty() { Ok(()) } else { target.pin_page_tables(&batch) }
    }

    /// Puts the p2m into the guest's own pages.
    fn write_p2m(&self, target: &Target) -> Result<()> {
        let own = self.p2m.own_frames().map_err(|why| target.bad(why))?;
        let own: Vec<u64> = own.into_iter().map(|mfn| mfn.0).collect();
        let mut page: Page = [0; PAGE_SIZE];
        for (window, frames) in own.chunks(P2M_WINDOW_PAGES).enumerate() {
            let mut mapping = ForeignMapMut::map(&target.xen, target.domid, frames)?;
            for index in 0..frames.len() {
                self.p2m.write_frame(window * P2M_WINDOW_PAGES + index, &mut page);
                mapping.write(index, 0, &page);
            }
        }
        Ok(())
    }
}

impl Guest for PvGuest {
    fn guest_type(&self) -> GuestType {
        GuestType::X86Pv
    }

    fn pfn_is_valid(&self, pfn: Pfn) -> bool {
        pfn.0 < self.p2m.pfn_count()
    }

    fn type_is_valid(&self, _: PageType) -> bool {
        true
    }

    fn frame(&self, pfn: Pfn) -> Option<u64> {
        self.p2m.mfn(pfn).map(|mfn| mfn.0)
    }

    fn populate(&mut self, target: &Target, pfns: &[Pfn]) -> Result<()> {
        for batch in pfns.chunks(POPULATE_BATCH) {
            self.frames.clear();
            self.frames.extend(batch.iter().map(|pfn| pfn.0));
            target.populate(&mut self.frames)?;
            for (pfn, mfn) in batch.iter().zip(&self.frames) {
                self.p2m.set_mfn(*pfn, Mfn(*mfn));
            }
        }
        Ok(())
    }

    fn note_type(&mut self, entry: &PageEntry) {
        self.p2m.set_type(entry.pfn, entry.page_type);
    }

    fn localise(&mut self, target: &Target, entries: &[PageEntry], pages: &mut [u8]) -> Result<()> {
        let mut missing = std::mem::take(&mut self.missing);
        missing.clear();
        for (table, level, page) in tables_of(entries, pages) {
            self.p2m
                .find_missing(page_table::referenced_pfns(page, level), &mut missing)
                .map_err(|why| target.bad(format!("page table {}: {why}", table.pfn)))?;
        }
        missing.sort_unstable();
        missing.dedup();
        self.populate(target, &missing)?;
        self.missing = missing;
        for (table, level, page) in tables_of(entries, pages) {
            page_table::localise(page, level, |pfn| self.p2m.mfn(pfn))
                .map_err(|why| target.bad(format!("page table {}: {why}", table.pfn)))?;
        }
        Ok(())
    }

    fn try_localise(&self, page_type: PageType, page: &mut Page) -> bool {
        page_type
            .table_level()
            .is_none_or(|level| page_table::localise(page, level, |pfn| self.p2m.mfn(pfn)).is_ok())
    }

    fn apply(&mut self, target: &Target, record: Record) -> Result<()> {
        let checked = |check: Check<()>| check.map_err(|why| target.bad(why));
        match record {
            Record::PvInfo(width) => self.check_width(target, width),
            Record::PvP2mFrames(frames) => checked(self.p2m.learn_frames(&frames)),
            Record::PvVcpu(state) => checked(self.vcpus.keep(state)),
            Record::SharedInfo(saved) => self.restore_shared_info(target, saved),
            other => Err(target.bad(format!("a PV guest has no {}", other.record_type()))),
        }
    }

    fn finish(&mut self, target: &Target, rings: &Rings) -> Result<RingFrames> {
        let ring_frames = self.restore_vcpus(target, rings)?;
        self.pin_page_tables(target)?;
        self.write_p2m(target)?;
        let RingFrames { store, console } = ring_frames;
        target.seed_grants(false, (console, rings.console.peer), (store, rings.store.peer))?;
        Ok(ring_frames)
    }
}

/// Of `entries`, which have one page of `pages` each, the page tables with their levels.
fn tables_of<'a>(
    entries: &'a [PageEntry],
    pages: &'a mut [u8],
) -> impl Iterator<Item = (&'a PageEntry, u8, &'a mut Page)> {
    entries
        .iter()
        .zip(pages.as_chunks_mut().0)
        .filter_map(|(entry, page)| Some((entry, entry.page_type.table_level()?, page)))
}
