//! Waiting for a guest to shut down or to be gone.

use std::time::Duration;

use super::MonitorError;
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::Watcher;
use crate::toolstack::Host;

/// How often the guest is looked at when xenstored says nothing.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// What has become of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It has shut down, for this reason (`SHUTDOWN_*`), and is still there.
    ShutDown(u32),
    /// It is gone, or going.
    Gone,
}

/// Waits for the end of a guest. That it is suspended is none.
pub(super) fn next(host: &Host, domid: Domid) -> Result<Event, MonitorError> {
    let mut watcher = Watcher::open()?;
    watcher.watch("@releaseDomain", "release")?;
    loop {
        let info = match host.xen.domain_info(domid) {
            Err(HypervisorError::NoSuchDomain { .. }) => return Ok(Event::Gone),
            other => other?,
        };
        match info.shutdown_reason {
            _ if info.is_dying => return Ok(Event::Gone),
            Some(reason) if !info.is_suspended() => return Ok(Event::ShutDown(reason)),
            // Going to another host, or into a file; what comes next is up to who does that.
            Some(_) | None => {}
        }
        watcher.next(LOOK_PERIOD)?;
    }
}
