//! Asking a guest to shut down or reboot, and waiting until it has.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::{Nodes, Watcher, XenstoreError};
use crate::toolstack::Host;

use super::names;

/// How long a guest may take to read the request, as libxl has it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often domains are looked at when xenstored says nothing.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// What a guest is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Shut down.
    PowerOff,
    /// Reboot.
    Reboot,
}

/// A guest cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// An HVM guest without PV drivers does not see requests.
    #[error("{domid} has no PV drivers that could be asked")]
    NoDrivers {
        /// The guest.
        domid: Domid,
    },
    /// It has not taken the request.
    #[error("{domid} has not answered the request")]
    NoAnswer {
        /// The guest.
        domid: Domid,
        /// What it was waited for.
        source: XenstoreError,
    },
    /// Xen does not say.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// Xenstore does not say.
    #[error(transparent)]
    Xenstore(XenstoreError),
}

impl From<XenstoreError> for PowerError {
    fn from(error: XenstoreError) -> Self {
        Self::Xenstore(error)
    }
}

impl Request {
    fn word(self) -> &'static str {
        match self {
            Self::PowerOff => "poweroff",
            Self::Reboot => "reboot",
        }
    }
}

/// Asks a guest, and waits until it has taken the request. It has not done it then.
///
/// # Errors
/// When the guest is not there, has no drivers for that, or does not take the request in time.
pub fn request(host: &Host, domid: Domid, request: Request) -> Result<(), PowerError> {
    if !hears_requests(host, domid)? {
        return Err(PowerError::NoDrivers { domid });
    }
    let node = format!("{}/control/shutdown", names::path(domid));
    host.store.write(&node, request.word())?;
    let mut watcher = Watcher::open()?;
    watcher.watch(&node, "request")?;
    let what = format!("{domid} to take the request");
    let taken = || match host.store.read(&node) {
        // The guest empties the node; when the domain goes, so does the node.
        Ok(Some(word)) if !word.is_empty() => Ok(None),
        Ok(_) => Ok(Some(())),
        Err(error) => Err(error),
    };
    watcher.wait_for(&what, ANSWER_TIMEOUT, taken).map_err(|error| match error {
        XenstoreError::Timeout { .. } => PowerError::NoAnswer { domid, source: error },
        error => PowerError::Xenstore(error),
    })
}

/// PV and PVH guests always do; HVM guests once their drivers have told Xen how to call them.
fn hears_requests(host: &Host, domid: Domid) -> Result<bool, PowerError> {
    let Some(domain) = host.xen.listed_domain(domid)? else {
        return Err(HypervisorError::NoSuchDomain { domid }.into());
    };
    if !domain.is_hvm || is_pvh(host, domid)? {
        return Ok(true);
    }
    let callback = host.xen.hvm_param(domid, libxc_sys::HVM_PARAM_CALLBACK_IRQ)?;
    Ok(callback != 0)
}

fn is_pvh(host: &Host, domid: Domid) -> Result<bool, XenstoreError> {
    let kind = host.store.read(&format!("/libxl/{}/type", domid.0))?;
    Ok(kind.as_deref() == Some("pvh"))
}

/// What has become of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It has shut down, for this reason (`SHUTDOWN_*`), and is still there.
    ShutDown(u32),
    /// It is gone, or going.
    Gone,
}

/// Waits for domains to end. Each shutdown and each end is told once.
#[derive(Debug)]
pub struct Endings {
    watcher: Watcher,
    /// Whether the shutdown of each has been told.
    waiting: BTreeMap<Domid, bool>,
}

impl Endings {
    /// Begins to look at these domains.
    ///
    /// # Errors
    /// When xenstored cannot be watched.
    pub fn of(domids: impl IntoIterator<Item = Domid>) -> Result<Self, XenstoreError> {
        let mut watcher = Watcher::open()?;
        watcher.watch("@releaseDomain", "endings")?;
        Ok(Self { watcher, waiting: domids.into_iter().map(|domid| (domid, false)).collect() })
    }

    /// Is not interested in this one any more.
    pub fn forget(&mut self, domid: Domid) {
        self.waiting.remove(&domid);
    }

    /// What happens next, to which domain; `None` when there is none left to wait for.
    ///
    /// # Errors
    /// When Xen or xenstored does not answer.
    pub fn next(&mut self, host: &Host) -> Result<Option<(Domid, Ending)>, PowerError> {
        while !self.waiting.is_empty() {
            if let Some(found) = self.look(host)? {
                return Ok(Some(found));
            }
            self.watcher.next(LOOK_PERIOD)?;
        }
        Ok(None)
    }

    fn look(&mut self, host: &Host) -> Result<Option<(Domid, Ending)>, PowerError> {
        for (&domid, told) in &mut self.waiting {
            let domain = host.xen.listed_domain(domid)?;
            let Some(domain) = domain.filter(|domain| !domain.is_dying) else {
                self.waiting.remove(&domid);
                return Ok(Some((domid, Ending::Gone)));
            };
            if let Some(reason) = domain.shutdown_reason
                && !std::mem::replace(told, true)
            {
                return Ok(Some((domid, Ending::ShutDown(reason))));
            }
        }
        Ok(None)
    }
}
