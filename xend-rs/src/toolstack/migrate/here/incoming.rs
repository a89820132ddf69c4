//! A domain of this host that waits for its guest.

use super::{failed, mark};
use crate::hypervisor::RingFrames;
use crate::hypervisor::types::{Domid, PAGE_SIZE};
use crate::hypervisor::xen::XenDestination;
use crate::hypervisor::xen::xenstore::Nodes;
use crate::stream::xend::{GuestNeeds, Token};
use crate::toolstack::Host;
use crate::toolstack::config::DomainConfig;
use crate::toolstack::domain::{NewDomain, Wish};
use crate::toolstack::migrate::host::{HostError, Incoming};

const PAGE_KIB: u64 = PAGE_SIZE as u64 / 1024;
/// What a domain may have above its target: libxl's constant.
const EXTRA_MEMORY_KIB: u64 = 1024;

/// An empty domain, with its memory claimed.
#[derive(Debug)]
pub struct HereIncoming<'h> {
    host: &'h Host,
    new: NewDomain<'h>,
}

impl<'h> HereIncoming<'h> {
    pub(super) fn reserve(
        host: &'h Host,
        config: &DomainConfig,
        needs: Option<&GuestNeeds>,
        token: Token,
    ) -> Result<Self, HostError> {
        let name = format!("{}--incoming", config.name());
        let incoming = Self::create(host, config, &name)?;
        let domid = incoming.domid();
        host.store
            .write(&mark(domid), token.to_string())
            .map_err(failed("cannot mark the domain"))?;
        if let Some(needs) = needs {
            incoming.claim(config, needs)?;
        }
        Ok(incoming)
    }

    /// An empty domain of that name; with the id that the configuration asks for, if it does.
    pub(super) fn create(
        host: &'h Host,
        config: &DomainConfig,
        name: &str,
    ) -> Result<Self, HostError> {
        let wish = Wish { domid: wanted_domid(config), restored: true, ..Wish::default() };
        let new = NewDomain::create(host, config, name, wish)
            .map_err(failed("cannot make a domain for it"))?;
        Ok(Self { host, new })
    }

    /// Keeps memory for all that the guest has, which may be more than its target.
    fn claim(&self, config: &DomainConfig, needs: &GuestNeeds) -> Result<(), HostError> {
        let domid = self.domid();
        let what = "cannot keep memory for it";
        let memory = config.memory();
        let most_kib = memory.max_kib.max(memory.target_kib) + EXTRA_MEMORY_KIB;
        let needed_kib = needs.total_pages.saturating_mul(PAGE_KIB);
        if needed_kib > memory.target_kib + EXTRA_MEMORY_KIB {
            if needed_kib > most_kib {
                let text = format!("the guest has {needed_kib} KiB and may have {most_kib} KiB");
                return Err(HostError::new(text));
            }
            self.host.xen.set_max_memory(domid, needed_kib).map_err(failed(what))?;
        }
        self.host.xen.claim_pages(domid, needs.total_pages).map_err(failed(what))
    }
}

/// What `-D` of the source put into the configuration.
fn wanted_domid(config: &DomainConfig) -> Option<Domid> {
    let domid = config.document().get("c_info")?.get("domid")?.as_u64()?;
    u16::try_from(domid).ok().filter(|&domid| domid != 0).map(Domid)
}

impl Incoming for HereIncoming<'_> {
    type Guest = XenDestination;

    fn domid(&self) -> Domid {
        self.new.domid()
    }

    fn open_guest(&self) -> Result<XenDestination, HostError> {
        XenDestination::open(self.new.domid(), self.new.rings())
            .map_err(failed("cannot fill the domain"))
    }

    fn prepare_devices(&mut self) -> Result<(), HostError> {
        self.new.prepare_devices().map_err(failed("cannot prepare its devices"))
    }

    fn introduce(&mut self, frames: RingFrames) -> Result<(), HostError> {
        self.new.introduce(frames).map_err(failed("cannot introduce it"))?;
        // What it turned out not to need.
        self.host.xen.claim_pages(self.domid(), 0).map_err(failed("cannot give memory back"))
    }

    fn keep(self) {
        self.new.keep();
    }
}
