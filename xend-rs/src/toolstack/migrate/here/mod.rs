//! This host, as a migration sees it: its Xen, its xenstore, the toolstack's own rooms.

mod agent;
mod checks;
mod departure;
mod file;
mod incoming;
mod network;
mod saving;
mod turn;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use departure::{ConfigSource, PrepareError, movable, prepare};
pub use file::{SaveFileError, Saved, create_file, save_to_file};
pub use incoming::HereIncoming;
pub use saving::{EndedSave, Saving, recover_saves, saves};
pub use turn::{Holder, Purpose, Turn};

use super::host::{Agent, DestinationHost, Domains, Findings, Found, HostError, SourceHost};
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::XenSource;
use crate::hypervisor::xen::xenstore::Nodes;
use crate::migration::Cancel;
use crate::migration::policy::CpuShare;
use crate::stream::xend::{GuestNeeds, Offer, Token};
use crate::toolstack::announce::{self, Announcement, Announcing};
use crate::toolstack::config::{DomainConfig, Uuid};
use crate::toolstack::domain::{self, DomainError, NameError, SuspendError, SuspendLimits, names};
use crate::toolstack::journal::Identity;
use crate::toolstack::stun::{self, Stun};
use crate::toolstack::{Host, monitor};

/// How long a guest that has seen the request is still waited for after it was given up on: most that
/// suspend late do so soon, and are resumed soonest from here. What comes later is waited for by a process
/// of its own.
const LATE_SUSPEND: Duration = Duration::from_secs(5);
const LATE_CHECK: Duration = Duration::from_millis(10);

/// The host that this process runs on.
#[derive(Debug)]
pub struct Here<'h> {
    host: &'h Host,
    /// What the network is to be told of a guest that is on its way.
    to_announce: Mutex<Vec<Announcement>>,
    announced: Mutex<Vec<Announcing>>,
    /// A guest that was asked to suspend has not seen it and never will.
    called_off: AtomicBool,
    /// The guest that is being slowed down.
    stun: Mutex<Option<Stun<&'h Host>>>,
}

impl<'h> Here<'h> {
    /// A view of `host`. Dropping it waits until the network has been told of guests that came.
    pub fn new(host: &'h Host) -> Self {
        Self {
            host,
            to_announce: Mutex::default(),
            announced: Mutex::default(),
            called_off: AtomicBool::new(false),
            stun: Mutex::default(),
        }
    }

    /// The attempt that brought a domain here, if it is marked with one.
    ///
    /// # Errors
    /// If xenstored does not answer.
    pub fn attempt_of(&self, domid: Domid) -> Result<Option<Token>, HostError> {
        let text =
            self.host.store.read(&mark(domid)).map_err(failed("cannot look for its mark"))?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    fn is_suspended(&self, domid: Domid) -> Result<bool, HostError> {
        let info = self.host.xen.domain_info(domid).map_err(failed("cannot find the guest"))?;
        Ok(info.is_suspended())
    }
}

/// Where a domain is marked with the attempt that brought it.
fn mark(domid: Domid) -> String {
    format!("/libxl/{}/xend-migration", domid.0)
}

/// `what` could not be done, because of this.
fn failed<E: std::error::Error + Send + Sync + 'static>(
    what: &str,
) -> impl FnOnce(E) -> HostError + '_ {
    move |error| HostError::because(what, error)
}

impl Domains for Here<'_> {
    fn hold(&self, domid: Domid) -> Result<Option<Box<dyn Send>>, HostError> {
        let turn = Turn::take(domid, Purpose::Recover);
        let turn = turn.map_err(failed("cannot lock the guest"))?;
        Ok(turn.ok().map(|turn| Box::new(turn) as Box<dyn Send>))
    }

    fn find(&self, uuid: &str) -> Result<Vec<Found>, HostError> {
        let what = "cannot look for the guest";
        let uuid: Uuid = uuid.parse().map_err(failed(what))?;
        let mut found = Vec::new();
        for listed in self.host.xen.domains().map_err(failed(what))? {
            if listed.uuid != uuid.0 || listed.is_dying {
                continue;
            }
            let domid = listed.domid;
            let name = domain::name(self.host, domid).map_err(failed(what))?.unwrap_or_default();
            let token = self.attempt_of(domid)?;
            let suspended = self.host.xen.domain_info(domid).map_err(failed(what))?.is_suspended();
            found.push(Found { domid, name, suspended, token });
        }
        Ok(found)
    }

    fn stop_tracking(&self, domid: Domid) -> Result<(), HostError> {
        self.host.xen.end_write_tracking(domid).map_err(failed("cannot end write tracking"))
    }

    fn resume(&self, domid: Domid) -> Result<(), HostError> {
        domain::resume(self.host, domid).map_err(failed("cannot resume the guest"))
    }

    fn call_off_suspend(&self, domid: Domid) -> Result<(), HostError> {
        if self.called_off.load(Ordering::Relaxed) {
            return Ok(());
        }
        let what = "cannot take back the request to suspend";
        if domain::call_off_suspend(self.host, domid).map_err(failed(what))? {
            return Ok(());
        }
        monitor::spawn_late(self.host, domid).map_err(failed("cannot wait for it to suspend late"))
    }

    fn unpause(&self, domid: Domid) -> Result<(), HostError> {
        let what = "cannot let the guest run";
        let listed = self.host.xen.listed_domain(domid).map_err(failed(what))?;
        if listed.is_some_and(|domain| !domain.is_paused) {
            return Ok(());
        }
        domain::unpause(self.host, domid).map_err(failed(what))
    }

    fn rename(&self, domid: Domid, from: &str, to: &str) -> Result<(), HostError> {
        domain::rename(self.host, domid, from, to).map_err(failed("cannot rename the guest"))
    }

    fn destroy(&self, domid: Domid) -> Result<(), HostError> {
        match domain::destroy(self.host, domid) {
            Err(DomainError::Name(NameError::Unknown { .. })) => Ok(()),
            other => other.map_err(failed("cannot destroy the domain")),
        }
    }

    fn start_monitor(&self, domid: Domid) -> Result<(), HostError> {
        monitor::spawn(self.host, domid).map_err(failed("cannot start a monitor"))
    }
}

impl SourceHost for Here<'_> {
    type Guest = XenSource;

    fn open_guest(&self, domid: Domid) -> Result<XenSource, HostError> {
        match stun::end_left(self.host, domid) {
            Ok(None) => {}
            Ok(Some(ended)) => log::warn!("{ended}"),
            Err(error) => log::error!("{domid} may be slowed down: {}", error_line(&error)),
        }
        saving::forget_stale(domid);
        XenSource::open(domid).map_err(failed("cannot move it"))
    }

    fn set_cpu_share(&self, domid: Domid, share: CpuShare) -> Result<(), HostError> {
        let what = "cannot change its share of the processors";
        let mut stun = locked(&self.stun);
        match &mut *stun {
            None if share == CpuShare::FULL => return Ok(()),
            None => stun.insert(Stun::begin(self.host, domid).map_err(failed(what))?),
            Some(stun) => stun,
        }
        .set(share)
        .map_err(failed(what))
    }

    fn suspend(&self, domid: Domid, cancel: &Cancel) -> Result<(), HostError> {
        let suspended = domain::suspend(self.host, domid, cancel, SuspendLimits::default());
        let unseen = matches!(
            suspended,
            Err(SuspendError::NoAnswer { taken_back: true, .. }
                | SuspendError::Cancelled { taken_back: true, .. })
        );
        self.called_off.store(unseen, Ordering::Relaxed);
        if let Err(
            SuspendError::NoAnswer { taken_back: false, .. }
            | SuspendError::Cancelled { taken_back: false, .. }
            | SuspendError::NotStopped { .. },
        ) = suspended
        {
            // It may have taken note and stop any moment, and whoever resumes it must see that.
            let deadline = Instant::now() + LATE_SUSPEND;
            while !self.is_suspended(domid)? && Instant::now() < deadline {
                thread::sleep(LATE_CHECK);
            }
        }
        suspended.map_err(failed("it did not suspend"))
    }

    fn agent(&self, domid: Domid) -> Box<dyn Agent> {
        agent::open(self.host, domid)
    }
}

impl<'h> DestinationHost for Here<'h> {
    type Incoming = HereIncoming<'h>;

    fn identify(&self, config: &[u8]) -> Result<Identity, HostError> {
        let config = read_config(config)?;
        let name = config.name();
        if name.is_empty() || name.contains('/') || name.chars().any(char::is_control) {
            return Err(HostError::new("the guest's configuration has no usable name"));
        }
        Ok(Identity { name: name.to_owned(), uuid: config.uuid().to_string() })
    }

    fn check(&self, config: &[u8], offer: Option<&Offer>) -> Result<Findings, HostError> {
        checks::check(self.host, &read_config(config)?, offer.map(|offer| &offer.needs))
    }

    fn reserve(
        &self,
        config: &[u8],
        needs: Option<&GuestNeeds>,
        token: Token,
    ) -> Result<HereIncoming<'h>, HostError> {
        HereIncoming::reserve(self.host, &read_config(config)?, needs, token)
    }

    fn prepare_announcement(&self, domid: Domid) {
        *locked(&self.to_announce) = network::announcements(self.host, domid);
    }

    fn announce(&self) {
        let announcements = std::mem::take(&mut *locked(&self.to_announce));
        if !announcements.is_empty() {
            locked(&self.announced).push(announce::announce(&announcements));
        }
    }

    fn await_announced(&self) {
        locked(&self.announced).drain(..).for_each(Announcing::finish);
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.await_announced();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_config(config: &[u8]) -> Result<DomainConfig, HostError> {
    DomainConfig::from_json(config).map_err(failed("the guest's configuration cannot be used"))
}

/// Whether somebody else than the guest itself has one of the names that it needs here.
fn holder_of(host: &Host, name: &str, uuid: Uuid) -> Result<Option<Domid>, HostError> {
    let what = "cannot look for names";
    let Some(holder) = names::find_by_name(host, name).map_err(failed(what))? else {
        return Ok(None);
    };
    let is_itself = names::uuid(host, holder).map_err(failed(what))? == uuid;
    Ok((!is_itself).then_some(holder))
}
