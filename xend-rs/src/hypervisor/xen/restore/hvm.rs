//! Restoring an HVM or PVH guest: Xen translates its addresses, so its pages are as they came.

use libxc_sys as sys;

use super::calls::{SUPERPAGE_ORDER, Target};
use super::gfn_set::GfnSet;
use super::guest::Guest;
use crate::hypervisor::destination::{RingFrames, Rings};
use crate::hypervisor::error::Result;
use crate::hypervisor::types::{Mfn, PAGE_SIZE, Pfn};
use crate::hypervisor::xen::foreign::{ForeignMapMut, Page};
use crate::stream::libxc::{GuestType, HvmParam, PageEntry, PageType, Record};

/// Pages or superpages that are populated with one call.
const POPULATE_BATCH: usize = 16 << 10;
const SUPERPAGE_PFNS: u64 = 1 << SUPERPAGE_ORDER;
/// Some 20 KiB for a vCPU, of which Xen gives an HVM guest 128 at most.
const MAX_CONTEXT_BYTES: usize = 16 << 20;

/// An HVM or PVH guest that is being restored.
pub(super) struct HvmGuest {
    populated: GfnSet,
    /// One more than the highest gfn that the guest can address.
    gfn_limit: u64,
    context: Option<Vec<u8>>,
    store: Option<Pfn>,
    console: Option<Pfn>,
    frames: Vec<u64>,
}

/// What is to be done with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It is set.
    Plain,
    /// It is set and names a page that xenstored shares with the guest.
    StoreRing,
    /// It is set and names a page that xenconsoled shares with the guest.
    ConsoleRing,
    /// It is set and names a page that a device model may share with Xen.
    DeviceModelPage,
    /// It meant something to toolstacks before Xen 4.14 only.
    Obsolete,
}

impl HvmGuest {
    /// A guest for a fresh domain whose addresses have `address_bits` bits.
    pub(super) fn new(address_bits: u8) -> Self {
        let gfn_bits = u32::from(address_bits).saturating_sub(PAGE_SIZE.trailing_zeros());
        Self {
            populated: GfnSet::default(),
            gfn_limit: 1 << gfn_bits.min(52),
            context: None,
            store: None,
            console: None,
            frames: Vec::new(),
        }
    }

    fn apply_param(&mut self, target: &Target, param: HvmParam) -> Result<()> {
        let HvmParam { index, value } = param;
        let (index, purpose) = purpose(index)
            .ok_or_else(|| target.bad(format!("HVM parameter {index} is no part of its state")))?;
        let page = Pfn(value);
        match purpose {
            Use::Obsolete => return Ok(()),
            Use::Plain => {}
            Use::StoreRing => {
                self.clear_ring(target, page, "xenstore")?;
                self.store = Some(page);
            }
            Use::ConsoleRing => {
                self.clear_ring(target, page, "console")?;
                self.console = Some(page);
            }
            // Xen may have taken this page out of the guest's sight, and with that out of the
            // stream.
            Use::DeviceModelPage if self.populated.contains(page) => clear(target, page)?,
            Use::DeviceModelPage => {}
        }
        target.set_hvm_param(index, value)
    }

    fn populate_small(&mut self, target: &Target, pfns: &[Pfn]) -> Result<()> {
        for batch in pfns.chunks(POPULATE_BATCH) {
            self.frames.clear();
            self.frames.extend(batch.iter().map(|pfn| pfn.0));
            target.populate(&mut self.frames)?;
            batch.iter().for_each(|pfn| self.populated.insert(*pfn));
        }
        Ok(())
    }

    /// Empties a ring page: its daemon starts anew here.
    fn clear_ring(&self, target: &Target, page: Pfn, ring: &str) -> Result<()> {
        if !self.populated.contains(page) {
            return Err(target.bad(format!("its {ring} ring is at {page}, where it has no memory")));
        }
        clear(target, page)
    }
}

impl Guest for HvmGuest {
    fn guest_type(&self) -> GuestType {
        GuestType::X86Hvm
    }

    fn pfn_is_valid(&self, pfn: Pfn) -> bool {
        pfn.0 < self.gfn_limit
    }

    fn type_is_valid(&self, page_type: PageType) -> bool {
        page_type.table_level().is_none()
    }

    fn frame(&self, pfn: Pfn) -> Option<u64> {
        self.populated.contains(pfn).then_some(pfn.0)
    }

    fn populate(&mut self, target: &Target, pfns: &[Pfn]) -> Result<()> {
        let (superpages, rest) = split_superpages(pfns);
        for batch in superpages.chunks(POPULATE_BATCH) {
            self.frames.clear();
            self.frames.extend(batch.iter().map(|pfn| pfn.0));
            let done = target.populate_superpages(&mut self.frames)?;
            batch[..done].iter().flat_map(superpage).for_each(|pfn| self.populated.insert(pfn));
            // The host may have memory left, but not in such large pieces.
            let small: Vec<Pfn> = batch[done..].iter().flat_map(superpage).collect();
            self.populate_small(target, &small)?;
        }
        self.populate_small(target, &rest)
    }

    fn note_type(&mut self, _: &PageEntry) {}

    fn localise(&mut self, _: &Target, _: &[PageEntry], _: &mut [u8]) -> Result<()> {
        Ok(())
    }

    fn try_localise(&self, _: PageType, _: &mut Page) -> bool {
        true
    }

    fn apply(&mut self, target: &Target, record: Record) -> Result<()> {
        match record {
            Record::HvmContext(context) if context.len() > MAX_CONTEXT_BYTES => {
                Err(target.bad(format!("an HVM context of {} bytes", context.len())))
            }
            Record::HvmContext(context) => {
                self.context = Some(context);
                Ok(())
            }
            Record::HvmParams(params) => {
                params.into_iter().try_for_each(|param| self.apply_param(target, param))
            }
            other => Err(target.bad(format!("an HVM guest has no {}", other.record_type()))),
        }
    }

    fn finish(&mut self, target: &Target, rings: &Rings) -> Result<RingFrames> {
        let missing = |what| target.bad(format!("no {what} came"));
        let store = self.store.ok_or_else(|| missing("place of its xenstore ring"))?;
        let console = self.console.ok_or_else(|| missing("place of its console ring"))?;
        let mut context = self.context.take().ok_or_else(|| missing("HVM context"))?;

        let (store_port, console_port) = (rings.store.port.0, rings.console.port.0);
        target.set_hvm_param(sys::HVM_PARAM_STORE_EVTCHN, u64::from(store_port))?;
        target.set_hvm_param(sys::HVM_PARAM_CONSOLE_EVTCHN, u64::from(console_port))?;
        target.set_hvm_context(&mut context)?;

        let frames = RingFrames { store: Mfn(store.0), console: Mfn(console.0) };
        target.seed_grants(
            true,
            (frames.console, rings.console.peer),
            (frames.store, rings.store.peer),
        )?;
        Ok(frames)
    }
}

/// Takes apart sorted pfns, each there once: the first pfn of every whole superpage, and what is
/// left. A guest runs faster on superpages, and they are had with one step where 512 would be
/// needed.
fn split_superpages(pfns: &[Pfn]) -> (Vec<Pfn>, Vec<Pfn>) {
    let (mut superpages, mut rest) = (Vec::new(), Vec::new());
    let mut left = pfns;
    while let [first, ..] = left {
        let last = left.get(SUPERPAGE_PFNS as usize - 1);
        let whole = first.0 % SUPERPAGE_PFNS == 0
            && last.is_some_and(|last| last.0 == first.0 + SUPERPAGE_PFNS - 1);
        let (into, taken) =
            if whole { (&mut superpages, SUPERPAGE_PFNS as usize) } else { (&mut rest, 1) };
        into.push(*first);
        left = &left[taken..];
    }
    (superpages, rest)
}

fn superpage(first: &Pfn) -> impl Iterator<Item = Pfn> {
    (first.0..first.0 + SUPERPAGE_PFNS).map(Pfn)
}

fn clear(target: &Target, page: Pfn) -> Result<()> {
    let mut mapping = ForeignMapMut::map(&target.xen, target.domid, &[page.0])?;
    mapping.write(0, 0, &[0; PAGE_SIZE]);
    Ok(())
}

/// What a parameter of the stream is for: those that Xen's senders, from 4.6 on, take along. The
/// others are the toolstack's to set, or commands to Xen.
fn purpose(index: u64) -> Option<(u32, Use)> {
    let index = u32::try_from(index).ok()?;
    let purpose = match index {
        sys::HVM_PARAM_STORE_PFN => Use::StoreRing,
        sys::HVM_PARAM_CONSOLE_PFN => Use::ConsoleRing,
        sys::HVM_PARAM_IOREQ_PFN | sys::HVM_PARAM_BUFIOREQ_PFN => Use::DeviceModelPage,
        sys::HVM_PARAM_PAE_ENABLED => Use::Obsolete,
        sys::HVM_PARAM_ACPI_IOPORTS_LOCATION
        | sys::HVM_PARAM_IDENT_PT
        | sys::HVM_PARAM_IOREQ_SERVER_PFN
        | sys::HVM_PARAM_MCA_CAP
        | sys::HVM_PARAM_MONITOR_RING_PFN
        | sys::HVM_PARAM_NR_IOREQ_SERVER_PAGES
        | sys::HVM_PARAM_PAGING_RING_PFN
        | sys::HVM_PARAM_SHARING_RING_PFN
        | sys::HVM_PARAM_VIRIDIAN
        | sys::HVM_PARAM_VM86_TSS
        | sys::HVM_PARAM_VM86_TSS_SIZED
        | sys::HVM_PARAM_VM_GENERATION_ID_ADDR
        | sys::HVM_PARAM_X87_FIP_WIDTH => Use::Plain,
        _ => return None,
    };
    Some((index, purpose))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_stock_senders_take_along() {
        for index in [5, 6, 9, 12, 15, 19, 27, 28, 29, 32, 33, 34, 36, 37, 38] {
            assert!(purpose(index).is_some(), "{index}");
        }
        assert_eq!(purpose(1), Some((1, Use::StoreRing)));
        assert_eq!(purpose(17), Some((17, Use::ConsoleRing)));
        assert_eq!(purpose(4), Some((4, Use::Obsolete)));
    }

    #[test]
    fn refuses_what_is_no_state_of_a_guest() {
        let store_evtchn = 2;
        let acpi_s_state = 14;
        let beyond_the_last = 39;
        let store_pfn_if_truncated = 1 << 32 | 1;
        for index in [store_evtchn, acpi_s_state, beyond_the_last, store_pfn_if_truncated, u64::MAX]
        {
            assert_eq!(purpose(index), None, "{index}");
        }
    }

    #[test]
    fn bounds_pages_by_the_width_of_addresses() {
        let guest = HvmGuest::new(36);
        assert!(guest.pfn_is_valid(Pfn((1 << 24) - 1)));
        assert!(!guest.pfn_is_valid(Pfn(1 << 24)));
        assert!(!HvmGuest::new(0).pfn_is_valid(Pfn(1)));
        assert!(!HvmGuest::new(255).pfn_is_valid(Pfn(u64::MAX)));
    }

    #[test]
    fn finds_superpages_where_all_of_one_is_wanted() {
        let pfns = |ranges: &[std::ops::Range<u64>]| -> Vec<Pfn> {
            ranges.iter().cloned().flatten().map(Pfn).collect()
        };
        let (superpages, rest) = split_superpages(&pfns(&[3..1030, 1535..2560, 3000..3100]));
        assert_eq!(superpages, [Pfn(512), Pfn(1536), Pfn(2048)]);
        assert_eq!(rest, pfns(&[3..512, 1024..1030, 1535..1536, 3000..3100]));
        let (superpages, rest) = split_superpages(&pfns(&[0..511, 512..1023]));
        assert_eq!((superpages.len(), rest.len()), (0, 1022));
        assert_eq!(split_superpages(&[]), (Vec::new(), Vec::new()));
    }

    #[test]
    fn takes_no_page_tables() {
        let guest = HvmGuest::new(36);
        assert!(guest.type_is_valid(PageType::Normal) && guest.type_is_valid(PageType::Invalid));
        assert!(!guest.type_is_valid(PageType::L1) && !guest.type_is_valid(PageType::L4Pinned));
    }
}
