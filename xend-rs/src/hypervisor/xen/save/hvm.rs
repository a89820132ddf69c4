//! An HVM or PVH guest on its way out. Xen translates its addresses, so there is nothing to
//! normalise, and what it writes cannot lead anywhere.

use libxc_sys as sys;

use super::window::WindowPage;
use crate::hypervisor::MAX_BATCH_PFNS;
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::{Domid, Pfn, PfnRange};
use crate::hypervisor::xen::Xen;
use crate::stream::libxc::{HvmParam, Record};

/// The parameters that travel, in the order in which Xen's own tools send them. The others are the
/// toolstack's to set.
const PARAMS: [u32; 16] = [
    sys::HVM_PARAM_STORE_PFN,
    sys::HVM_PARAM_IOREQ_PFN,
    sys::HVM_PARAM_BUFIOREQ_PFN,
    sys::HVM_PARAM_PAGING_RING_PFN,
    sys::HVM_PARAM_MONITOR_RING_PFN,
    sys::HVM_PARAM_SHARING_RING_PFN,
    sys::HVM_PARAM_VM86_TSS_SIZED,
    sys::HVM_PARAM_CONSOLE_PFN,
    sys::HVM_PARAM_ACPI_IOPORTS_LOCATION,
    sys::HVM_PARAM_VIRIDIAN,
    sys::HVM_PARAM_IDENT_PT,
    sys::HVM_PARAM_VM_GENERATION_ID_ADDR,
    sys::HVM_PARAM_IOREQ_SERVER_PFN,
    sys::HVM_PARAM_NR_IOREQ_SERVER_PAGES,
    sys::HVM_PARAM_X87_FIP_WIDTH,
    sys::HVM_PARAM_MCA_CAP,
];

/// Nothing of an HVM guest needs to be kept.
#[derive(Debug)]
pub(super) struct HvmGuest;

impl HvmGuest {
    /// What to map for `pfns`. Most pfns of a small guest are holes, and each hole in a mapping call
    /// is dear: so Xen is asked first. The types are good enough for the batch too, for there are
    /// no page tables to watch.
    pub(super) fn window_pages(
        &self,
        xen: &Xen,
        domid: Domid,
        pfns: &[Pfn],
    ) -> Result<Vec<WindowPage>> {
        let mut pages = Vec::with_capacity(pfns.len());
        for chunk in pfns.chunks(MAX_BATCH_PFNS) {
            let mut frames: Vec<u64> = chunk.iter().map(|pfn| pfn.0).collect();
            let types = xen.page_types(domid, &mut frames, PfnRange::spanning(chunk))?;
            let page = |(&pfn, page_type): (&Pfn, _)| WindowPage { pfn, frame: pfn.0, page_type };
            pages.extend(chunk.iter().zip(types).map(page));
        }
        Ok(pages)
    }

    /// Fails if the guest has memory beyond the `gfn_count` that it had at first: nobody has looked
    /// there, and no set of pfns has room for it.
    pub(super) fn check_layout(&self, xen: &Xen, domid: Domid, gfn_count: u64) -> Result<()> {
        check_growth(domid, gfn_count, xen.gfn_count(domid)?)
    }

    /// The virtual machine, then its parameters.
    pub(super) fn suspended_records(&self, xen: &Xen, domid: Domid) -> Result<Vec<Record>> {
        let mut records = vec![Record::HvmContext(xen.hvm_context(domid)?)];
        let mut params = Vec::new();
        for index in PARAMS {
            // Zero is what a new domain has.
            match xen.hvm_param(domid, index)? {
                0 => {}
                value => params.push(HvmParam { index: u64::from(index), value }),
            }
        }
        if !params.is_empty() {
            records.push(Record::HvmParams(params));
        }
        Ok(records)
    }
}

fn check_growth(domid: Domid, gfn_count: u64, count_now: u64) -> Result<()> {
    if count_now <= gfn_count {
        return Ok(());
    }
    let what = format!("memory grew up to {} during the migration", Pfn(count_now - 1));
    Err(HypervisorError::BadGuest { domid, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_beyond_what_there_was_is_an_error() {
        check_growth(Domid(3), 100, 100).unwrap();
        check_growth(Domid(3), 100, 99).unwrap();
        let error = check_growth(Domid(3), 100, 101).unwrap_err();
        assert!(matches!(error, HypervisorError::BadGuest { .. }), "{error}");
        assert!(error.to_string().contains(&Pfn(100).to_string()), "{error}");
    }
}
