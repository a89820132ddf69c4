//! A PV guest on its way out.

use std::sync::Arc;

use super::window::WindowPage;
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::{Domid, Mfn, Pfn, PfnRange};
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::domain::DomainInfo;
use crate::hypervisor::xen::foreign::Page;
use crate::hypervisor::xen::pv::page_table::{self, PteError};
use crate::hypervisor::xen::pv::{M2p, P2m, SharedInfo};
use crate::stream::libxc::{P2mFrames, PageType, PvWidth, Record, VcpuKind, VcpuState};

/// What is mapped of a PV guest for as long as it is being saved.
#[derive(Debug)]
pub(super) struct PvGuest {
    domid: Domid,
    max_vcpu_id: u32,
    m2p: M2p,
    shared_info: SharedInfo,
    p2m: P2m,
}

impl PvGuest {
    pub(super) fn open(
        xen: &Arc<Xen>,
        domid: Domid,
        info: &DomainInfo,
        most_pfns: u64,
    ) -> Result<Self> {
        let unsupported = |what: String| HypervisorError::Unsupported { domid, what };
        match xen.guest_width_bytes(domid)? {
            8 => {}
            4 => return Err(unsupported("it is a 32-bit PV guest".into())),
            width => return Err(unsupported(format!("it is a PV guest of {width}-byte words"))),
        }
        let max_vcpu_id = info.max_vcpu_id.ok_or_else(|| unsupported("it has no vCPU".into()))?;
        let m2p = M2p::map(xen, domid)?;
        let shared_info = SharedInfo::map(xen, domid, info.shared_info_frame)?;
        let p2m = P2m::map(xen, domid, &shared_info, &m2p, most_pfns)?;
        let pv = Self { domid, max_vcpu_id, m2p, shared_info, p2m };
        // It may have changed while it was being walked.
        pv.check_layout()?;
        Ok(pv)
    }

    pub(super) fn pfn_count(&self) -> u64 {
        self.p2m.pfn_count()
    }

    pub(super) fn info_record() -> Record {
        Record::PvInfo(PvWidth::Bits64)
    }

    pub(super) fn p2m_frames_record(&self) -> Record {
        let end = u32::try_from(self.p2m.pfn_count() - 1).expect("the layout is bounded by this");
        Record::PvP2mFrames(P2mFrames { start: 0, end, frames: self.p2m.leaves().to_vec() })
    }

    /// Fails if the guest has rebuilt its p2m elsewhere: the one that is mapped, and whose frames
    /// the stream has named, is then no longer it. A 3-level p2m gives no sign of that.
    pub(super) fn check_layout(&self) -> Result<()> {
        match self.p2m.generation() {
            Some(generation) if self.shared_info.p2m_generation()? != generation => {
                let what = "p2m moved during the migration".to_owned();
                Err(HypervisorError::BadGuest { domid: self.domid, what })
            }
            _ => Ok(()),
        }
    }

    /// Whether `pfn` has a frame of the guest's own now.
    pub(super) fn has_memory(&self, pfn: Pfn) -> bool {
        let frame = self.p2m.entry(pfn);
        frame.is_some_and(|frame| self.p2m.own_pfn(&self.m2p, frame) == Some(pfn))
    }

    /// What to map for `pfns`. Their types are for later: page tables come and go.
    pub(super) fn window_pages(&self, pfns: &[Pfn]) -> Vec<WindowPage> {
        let page = |&pfn| {
            let frame = self.entry(pfn);
            // Apart from holes a p2m may hold marks of the kernel's own, beyond any frame.
            let is_frame = frame.0 < self.m2p.frame_count();
            let page_type = if is_frame { PageType::Normal } else { PageType::Invalid };
            WindowPage { pfn, frame: frame.0, page_type }
        };
        pfns.iter().map(page).collect()
    }

    /// Where each of `pages` is at this moment, and what.
    pub(super) fn pages_now(
        &self,
        xen: &Xen,
        domid: Domid,
        pages: &[WindowPage],
    ) -> Result<Vec<WindowPage>> {
        let pfns: Vec<Pfn> = pages.iter().map(|page| page.pfn).collect();
        let frames: Vec<u64> = pfns.iter().map(|&pfn| self.entry(pfn).0).collect();
        let types = xen.page_types(domid, &mut frames.clone(), PfnRange::spanning(&pfns))?;
        let page = |((pfn, frame), page_type)| WindowPage { pfn, frame, page_type };
        Ok(pfns.into_iter().zip(frames).zip(types).map(page).collect())
    }

    /// Turns the machine frames in a copy of a page table into pfns.
    pub(super) fn normalise(
        &self,
        page: &mut Page,
        level: u8,
    ) -> std::result::Result<(), PteError> {
        page_table::normalise(page, level, |mfn| self.p2m.own_pfn(&self.m2p, mfn))
    }

    /// Shared info, then each vCPU that is up: what it is, in up to four records.
    pub(super) fn suspended_records(&self, xen: &Arc<Xen>) -> Result<Vec<Record>> {
        let mut records = vec![Record::SharedInfo(self.shared_info.copy()?)];
        for vcpu in 0..=self.max_vcpu_id {
            if xen.vcpu_is_online(self.domid, vcpu)? {
                self.push_vcpu(xen, vcpu, &mut records)?;
            }
        }
        Ok(records)
    }

    fn push_vcpu(&self, xen: &Arc<Xen>, vcpu: u32, records: &mut Vec<Record>) -> Result<()> {
        let mut context = xen.vcpu_context(self.domid, vcpu)?;
        context.normalise(vcpu == 0, |mfn| self.p2m.own_pfn(&self.m2p, mfn)).map_err(|error| {
            let what = format!("vCPU {vcpu} {error}");
            HypervisorError::BadGuest { domid: self.domid, what }
        })?;
        let states = [
            (VcpuKind::Basic, context.into_bytes().to_vec()),
            (VcpuKind::Extended, xen.vcpu_extended(self.domid, vcpu)?),
            (VcpuKind::Xsave, xen.vcpu_xsave(self.domid, vcpu)?),
            (VcpuKind::Msrs, xen.vcpu_msrs(self.domid, vcpu)?),
        ];
        let there = states.into_iter().filter(|(_, state)| !state.is_empty());
        records.extend(there.map(|(kind, state)| Record::PvVcpu(VcpuState { kind, vcpu, state })));
        Ok(())
    }

    fn entry(&self, pfn: Pfn) -> Mfn {
        self.p2m.entry(pfn).unwrap_or(Mfn::INVALID)
    }
}
