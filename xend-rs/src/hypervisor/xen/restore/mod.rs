//! Filling a domain from a stream: the other end of a migration.
//!
//! The toolstack made the domain; it has no memory yet and has never run. [`XenDestination`] gives
//! it memory and state. All that comes from the stream is taken for hostile: a value that Xen or
//! this code relies on is checked, and what is kept is bounded.
//!
//! What differs between a PV guest and an HVM (or PVH) guest stands behind one private trait:
//! `guest`, with `pv` and `hvm`.

mod calls;
mod gfn_set;
mod guest;
mod hvm;
mod policy;
mod pv;
mod window;

use std::fmt;

use self::calls::Target;
use self::guest::Guest;
use self::hvm::HvmGuest;
use self::policy::CpuPolicy;
use self::pv::PvGuest;
use self::window::Window;
use super::Xen;
use super::foreign::{ForeignMap, Page};
use crate::hypervisor::destination::{DestinationGuest, MissingPolicies, RingFrames, Rings};
use crate::hypervisor::error::Result;
use crate::hypervisor::types::{Domid, PAGE_SIZE, Pfn};
use crate::stream::libxc::{GuestType, PageEntry, Record, TscInfo};

/// A domain on this host's Xen that is being filled.
pub struct XenDestination {
    target: Target,
    guest: Box<dyn Guest>,
    rings: Rings,
    policy: CpuPolicy,
    window: Window,
}

impl XenDestination {
    /// Opens Xen for the domain `domid`, which its toolstack has just created, with its rings.
    ///
    /// # Errors
    /// If there is no such domain.
    pub fn open(domid: Domid, rings: Rings) -> Result<Self> {
        let xen = Xen::open()?;
        let info = xen.domain_info(domid)?;
        let target = Target { xen, domid, max_pages: info.max_pages };
        if info.is_dying {
            return Err(target.bad("the domain is being destroyed"));
        }
        let guest: Box<dyn Guest> = if info.is_hvm {
            Box::new(HvmGuest::new(info.address_bits))
        } else {
            Box::new(PvGuest::new(&target, &info)?)
        };
        let (policy, window) = (CpuPolicy::default(), Window::default());
        Ok(Self { target, guest, rings, policy, window })
    }
}

impl DestinationGuest for XenDestination {
    fn domid(&self) -> Domid {
        self.target.domid
    }

    fn accept(&mut self, guest_type: GuestType) -> Result<()> {
        let expected = self.guest.guest_type();
        if guest_type == expected {
            return Ok(());
        }
        let (came, made) = (guest_type.name(), expected.name());
        Err(self.target.bad(format!("the stream is of an {came} guest, the domain is {made}")))
    }

    fn apply(&mut self, record: Record) -> Result<()> {
        let target = &self.target;
        match record {
            Record::CpuidPolicy(leaves) => self.policy.keep_cpuid(target, &leaves),
            Record::MsrPolicy(entries) => self.policy.keep_msrs(target, &entries),
            Record::TscInfo(TscInfo { mode, khz, elapsed_ns, incarnation }) => {
                target.set_tsc_info(mode, elapsed_ns, khz, incarnation)
            }
            Record::Optional { .. } => Ok(()),
            other => self.guest.apply(target, other),
        }
    }

    fn static_data_end(&mut self) -> Result<MissingPolicies> {
        self.policy.set(&self.target)
    }

    fn pfn_is_valid(&self, pfn: Pfn) -> bool {
        self.guest.pfn_is_valid(pfn)
    }

    fn open_window(&mut self, entries: &[PageEntry]) -> Result<&mut [u8]> {
        self.window.open(&self.target, &mut *self.guest, entries)
    }

    fn close_window(&mut self) -> Result<()> {
        self.window.close(&self.target, &mut *self.guest)
    }

    fn clear_pages(&mut self, pfns: &[Pfn], coming: &[PageEntry]) -> Result<()> {
        self.window.clear_pages(&self.target, &mut *self.guest, pfns, coming)
    }

    fn differing_pages(&mut self, entries: &[PageEntry], expected: &[u8]) -> Result<Vec<Pfn>> {
        let with_data = entries.iter().filter(|entry| entry.page_type.has_data());
        let mut differing = Vec::new();
        let (mut there, mut frames) = (Vec::new(), Vec::new());
        for (entry, page) in with_data.zip(expected.as_chunks::<PAGE_SIZE>().0) {
            match self.guest.frame(entry.pfn) {
                Some(frame) => {
                    there.push((entry, page));
                    frames.push(frame);
                }
                None => differing.push(entry.pfn),
            }
        }
        if frames.is_empty() {
            return Ok(differing);
        }
        let mapping = ForeignMap::map(&self.target.xen, self.target.domid, &frames)?;
        for (index, (entry, page)) in there.into_iter().enumerate() {
            if !same(&*self.guest, entry, page, &mapping, index) {
                differing.push(entry.pfn);
            }
        }
        Ok(differing)
    }

    fn finish(&mut self) -> Result<RingFrames> {
        if self.window.is_open() {
            return Err(self.target.bad("pages were left unfinished"));
        }
        self.guest.finish(&self.target, &self.rings)
    }
}

/// Whether the page that is mapped at `index` holds what the stream says it should.
fn same(
    guest: &dyn Guest,
    entry: &PageEntry,
    expected: &Page,
    mapping: &ForeignMap,
    index: usize,
) -> bool {
    let (mut expected, mut found) = (*expected, [0; PAGE_SIZE]);
    mapping.copy_page_out(index, &mut found).is_ok()
        && guest.try_localise(entry.page_type, &mut expected)
        && expected == found
}

impl fmt::Debug for XenDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XenDestination")
            .field("domid", &self.target.domid)
            .field("guest_type", &self.guest.guest_type())
            .field("rings", &self.rings)
            .finish_non_exhaustive()
    }
}
