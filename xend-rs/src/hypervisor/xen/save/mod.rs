//! The source side: a running domain as a [`SourceGuest`].
//!
//! [`XenSource`] has what PV and HVM guests share: write tracking, the window of mapped pages, the
//! holes. What differs is in `pv` and `hvm`.

mod holes;
mod hvm;
mod kept;
mod pv;
mod window;

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use self::holes::Holes;
use self::hvm::HvmGuest;
use self::pv::PvGuest;
use self::window::{Window, WindowPage};
use super::Xen;
use super::cpu_policy::CpuPolicy;
use super::domain::DomainInfo;
use super::handles::error_from;
use super::log_dirty::LogDirty;
use super::xenstore::{Nodes, Xenstore, XenstoreError};
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::{Domid, Pfn, PfnRange};
use crate::hypervisor::{
    DirtyStats, Liveness, LogDirtySupport, MAX_BATCH_PFNS, PageBatch, PfnSet, Sieve, SourceGuest,
};
use crate::stream::libxc::{GuestType, PageEntry, PageType, Record};

/// Pfns that any guest may have, however little memory it has now: 512 GiB, which Linux reserves
/// p2m space for to add memory later. What is kept for each pfn is a few bits.
const UNQUESTIONED_PFNS: u64 = 1 << 27;
/// How many times the pages that it has a larger guest may have as pfns.
const PFNS_PER_PAGE: u64 = 8;

/// A domain of the running Xen that is being saved or migrated away.
#[derive(Debug)]
pub struct XenSource {
    // First, for it is dropped first: tracking ends before anything else is given up.
    log_dirty: Option<LogDirty>,
    window: Window,
    /// Noted by every reader, for it is only known while reading what has memory.
    holes: Mutex<Holes>,
    kind: Kind,
    pfn_count: u64,
    domid: Domid,
    xen: Arc<Xen>,
}

#[derive(Debug)]
enum Kind {
    Pv(Box<PvGuest>),
    Hvm(HvmGuest),
}

impl XenSource {
    /// Opens the domain. Nothing is changed by that.
    ///
    /// # Errors
    /// [`Unsupported`](HypervisorError::Unsupported) for what the stream cannot carry: a NUMA
    /// topology, a 32-bit PV guest.
    pub fn open(domid: Domid) -> Result<Self> {
        let xen = Xen::open()?;
        let info = xen.domain_info(domid)?;
        let unsupported = |what: &str| HypervisorError::Unsupported { domid, what: what.into() };
        if domid == Domid(0) {
            return Err(unsupported("it is Dom0"));
        }
        if info.is_dying {
            return Err(unsupported("it is being destroyed"));
        }
        if xen.has_vnuma(domid)? {
            return Err(unsupported(
                "it has a virtual NUMA topology, which the stream cannot carry",
            ));
        }
        let (kind, pfn_count) = if info.is_hvm {
            (Kind::Hvm(HvmGuest), believable(domid, &info, xen.gfn_count(domid)?)?)
        } else {
            let pv = PvGuest::open(&xen, domid, &info, most_pfns(&info))?;
            let pfn_count = pv.pfn_count();
            (Kind::Pv(Box::new(pv)), pfn_count)
        };
        Ok(Self {
            log_dirty: None,
            window: Window::default(),
            holes: Mutex::new(Holes::new(pfn_count, info.total_pages)),
            kind,
            pfn_count,
            domid,
            xen,
        })
    }

    /// The records of the CPU policies, as far as there is something in them.
    fn cpu_policy_records(&self) -> Result<Vec<Record>> {
        let CpuPolicy { leaves, msrs } = self.xen.cpu_policy(self.domid)?;
        let mut records = Vec::new();
        if !leaves.is_empty() {
            records.push(Record::CpuidPolicy(leaves));
        }
        if !msrs.is_empty() {
            records.push(Record::MsrPolicy(msrs));
        }
        Ok(records)
    }
}

/// The most pfns that a guest of this size is believed to have. It has a say in how many it has,
/// and memory is allocated for each.
fn most_pfns(info: &DomainInfo) -> u64 {
    info.total_pages.saturating_mul(PFNS_PER_PAGE).max(UNQUESTIONED_PFNS)
}

fn believable(domid: Domid, info: &DomainInfo, pfn_count: u64) -> Result<u64> {
    if pfn_count > most_pfns(info) {
        let what = format!("memory reaches up to {}", Pfn(pfn_count - 1));
        return Err(HypervisorError::BadGuest { domid, what });
    }
    Ok(pfn_count)
}

impl SourceGuest for XenSource {
    fn domid(&self) -> Domid {
        self.domid
    }

    fn guest_type(&self) -> GuestType {
        match self.kind {
            Kind::Pv(_) => GuestType::X86Pv,
            Kind::Hvm(_) => GuestType::X86Hvm,
        }
    }

    fn xen_version(&self) -> (u32, u32) {
        self.xen.version()
    }

    fn pfn_count(&self) -> u64 {
        self.pfn_count
    }

    fn static_records(&mut self) -> Result<Vec<Record>> {
        let mut records = match &self.kind {
            Kind::Pv(_) => vec![PvGuest::info_record()],
            Kind::Hvm(_) => Vec::new(),
        };
        records.extend(self.cpu_policy_records()?);
        Ok(records)
    }

    fn layout_records(&mut self) -> Result<Vec<Record>> {
        Ok(match &self.kind {
            Kind::Pv(pv) => vec![pv.p2m_frames_record()],
            Kind::Hvm(_) => Vec::new(),
        })
    }

    fn log_dirty_support(&mut self) -> Result<LogDirtySupport> {
        self.xen.log_dirty_support(matches!(self.kind, Kind::Hvm(_)))
    }

    fn has_passed_through_device(&mut self) -> Result<bool> {
        let failed = |error: XenstoreError| {
            let source = io::Error::other(error);
            error_from(source, "look for passed-through devices", self.domid, None)
        };
        // Where the back end is, which the guest cannot write.
        let path = format!("/local/domain/0/backend/pci/{}", self.domid.0);
        let devices = Xenstore::open().and_then(|store| store.list(&path)).map_err(failed)?;
        Ok(devices.is_some_and(|devices| !devices.is_empty()))
    }

    fn enable_log_dirty(&mut self) -> Result<()> {
        self.log_dirty()?.enable()
    }

    fn enable_log_dirty_unless_on(&mut self) -> Result<()> {
        self.log_dirty()?.enable_unless_on()
    }

    fn take_dirty(&mut self, into: &mut PfnSet, liveness: Liveness) -> Result<DirtyStats> {
        let Some(log_dirty) = &mut self.log_dirty else {
            let off = io::Error::other("write tracking was not started");
            return Err(error_from(off, "read dirty bitmap", self.domid, None));
        };
        // Xen does not count it as a write when a pfn gets memory, and first notes writes to that from
        // the call below on. So this comes before it: a hole that is filled in between stays one until
        // the next look, instead of being read now and then written to without a trace.
        let holes = self.holes.get_mut().unwrap_or_else(PoisonError::into_inner);
        match &self.kind {
            Kind::Pv(pv) => holes.take_filled(into, |pfn| pv.has_memory(pfn)),
            Kind::Hvm(_) => holes.take_filled_hvm(into, liveness, &self.xen, self.domid)?,
        }
        log_dirty.take(into, liveness)
    }

    fn peek_dirty(&mut self, into: &mut PfnSet) -> Result<()> {
        let Some(log_dirty) = &mut self.log_dirty else {
            let off = io::Error::other("write tracking was not started");
            return Err(error_from(off, "look at dirty bitmap", self.domid, None));
        };
        log_dirty.peek(into)
    }

    fn disable_log_dirty(&mut self) -> Result<()> {
        self.log_dirty.as_mut().map_or(Ok(()), LogDirty::disable)
    }

    fn map_window(&mut self, pfns: &[Pfn]) -> Result<()> {
        let pages = match &self.kind {
            Kind::Pv(pv) => pv.window_pages(pfns),
            Kind::Hvm(hvm) => hvm.window_pages(&self.xen, self.domid, pfns)?,
        };
        self.note_holes(pages.iter().map(|page| (page.pfn, page.page_type)));
        let keep = matches!(self.kind, Kind::Pv(_));
        self.window.replace(&self.xen, self.domid, pages, keep)
    }

    fn read_batch(
        &self,
        pages: Range<usize>,
        liveness: Liveness,
        sieve: &dyn Sieve,
        batch: &mut PageBatch,
    ) -> Result<()> {
        assert!(pages.len() <= MAX_BATCH_PFNS, "a batch is at most {MAX_BATCH_PFNS} pfns");
        let announced: Vec<WindowPage> = pages.clone().map(|at| self.window.page(at)).collect();
        let now = match &self.kind {
            Kind::Pv(pv) => {
                let now = pv.pages_now(&self.xen, self.domid, &announced)?;
                self.note_holes(now.iter().map(|page| (page.pfn, page.page_type)));
                now
            }
            Kind::Hvm(_) => announced,
        };
        for (at, WindowPage { pfn, frame, page_type }) in pages.zip(now) {
            let start = batch.data.len();
            if page_type.has_data() {
                if let Err(failure) = self.read_page(at, frame, page_type, &mut batch.data) {
                    match liveness {
                        Liveness::Running => batch.owed.push(pfn),
                        Liveness::Suspended => return Err(failure.fatal(self.domid, pfn)),
                    }
                    continue;
                }
                batch.read_pages += 1;
            }
            batch.add(PageEntry { pfn, page_type }, start, sieve);
        }
        Ok(())
    }

    fn check_layout(&mut self) -> Result<()> {
        match &self.kind {
            Kind::Pv(pv) => pv.check_layout(),
            Kind::Hvm(hvm) => hvm.check_layout(&self.xen, self.domid, self.pfn_count),
        }
    }

    fn confirm_suspended(&mut self) -> Result<bool> {
        Ok(self.xen.domain_info(self.domid)?.is_suspended())
    }

    fn suspended_records(&mut self) -> Result<Vec<Record>> {
        let mut records = vec![Record::TscInfo(self.xen.tsc_info(self.domid)?)];
        records.extend(match &self.kind {
            Kind::Pv(pv) => pv.suspended_records(&self.xen)?,
            Kind::Hvm(hvm) => hvm.suspended_records(&self.xen, self.domid)?,
        });
        Ok(records)
    }
}

impl XenSource {
    fn log_dirty(&mut self) -> Result<&mut LogDirty> {
        if self.log_dirty.is_none() {
            self.log_dirty = Some(LogDirty::new(&self.xen, self.domid, self.pfn_count)?);
        }
        Ok(self.log_dirty.as_mut().expect("it has just been made"))
    }

    fn note_holes(&self, seen: impl Iterator<Item = (Pfn, PageType)>) {
        // A set of numbers that a panic cannot have left half done.
        self.holes.lock().unwrap_or_else(PoisonError::into_inner).note(seen);
    }

    /// Appends a copy of the page at `at` in the window to `data`, fit to travel; on failure `data`
    /// is as it was. `frame` is where the page is now.
    fn read_page(
        &self,
        at: usize,
        frame: u64,
        page_type: PageType,
        data: &mut Vec<u8>,
    ) -> std::result::Result<(), Unreadable> {
        if frame != self.window.page(at).frame {
            return Err(Unreadable::Moved);
        }
        let start = data.len();
        self.window.append_page_to(at, data).map_err(Unreadable::NotMapped)?;
        if let (Kind::Pv(pv), Some(level)) = (&self.kind, page_type.table_level()) {
            let page = (&mut data[start..]).try_into().expect("a page has just been appended");
            if let Err(error) = pv.normalise(page, level) {
                data.truncate(start);
                return Err(Unreadable::NoPageTable(error));
            }
        }
        Ok(())
    }
}

/// Why a page that has memory could not be read.
#[derive(Debug)]
enum Unreadable {
    /// It has got another frame since the window was mapped.
    Moved,
    /// Xen did not map it.
    NotMapped(io::Error),
    /// It is a page table that holds something else than pointers to the guest's own frames.
    NoPageTable(super::pv::page_table::PteError),
}

impl Unreadable {
    /// The error that it is when the guest is suspended.
    fn fatal(self, domid: Domid, pfn: Pfn) -> HypervisorError {
        match self {
            Self::NotMapped(source) => {
                error_from(source, "map guest frames", domid, PfnRange::spanning(&[pfn]))
            }
            Self::Moved => HypervisorError::BadGuest {
                domid,
                what: format!("{pfn} has moved to another frame although it is suspended"),
            },
            Self::NoPageTable(error) => {
                HypervisorError::BadGuest { domid, what: format!("page table at {pfn} {error}") }
            }
        }
    }
}

/// The engine reads pages on threads of their own.
const _: () = {
    const fn can_be_shared<T: Send + Sync>() {}
    can_be_shared::<XenSource>();
};
