//! A guest that suspends after it was given up on.
//!
//! Once it has seen a request to suspend a guest may follow it at any time, though nobody wants it to
//! any more: `xend monitor --late DOMID` waits for that and resumes it. Only that one request is taken
//! for void. As soon as somebody makes another one, be it a stock xl, what follows is theirs to end.

use std::time::{Duration, Instant};

use super::lock::{Lock, Role};
use super::{MonitorError, say, spawn};
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::{Nodes, Watcher};
use crate::toolstack::Host;
use crate::toolstack::domain::{self, SUSPEND_REQUEST, request_node};
use crate::toolstack::migrate::here::{Purpose, Turn};

/// A guest that has not suspended by then will not.
const LIFETIME: Duration = Duration::from_secs(3600);
/// How often the guest is looked at when xenstored says nothing.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// What the watch on requests is set with.
const REQUESTS: &str = "request";

/// Resumes the guest should it suspend late.
///
/// # Errors
/// If it cannot be watched, or not be resumed.
pub fn resume_late(host: &Host, domid: Domid) -> Result<(), MonitorError> {
    let _lock = Lock::take(domid, Role::Late)?;
    say(&format!("Domain {} was asked to suspend and has not: waiting whether it does", domid.0));
    let mut requests = Requests::watch(domid)?;
    if host.store.read(&request_node(domid))?.as_deref() == Some(SUSPEND_REQUEST) {
        return Ok(());
    }
    let started = Instant::now();
    while started.elapsed() < LIFETIME {
        let end = match state(host, domid)? {
            State::Over => true,
            State::Runs => requests.any(LOOK_PERIOD)?,
            State::Suspended => try_to_resume(host, domid, &mut requests)?,
        };
        if end {
            return Ok(());
        }
    }
    Ok(())
}

/// Resumes a suspended guest, unless somebody is at work on it. True if there is nothing left to do.
fn try_to_resume(host: &Host, domid: Domid, requests: &mut Requests) -> Result<bool, MonitorError> {
    // Whoever has it has yet to see that the guest is suspended, and resumes it then or asks anew.
    let turn = Turn::take(domid, Purpose::Recover).map_err(|source| MonitorError::File {
        operation: "lock",
        path: "the guest".to_owned(),
        source,
    })?;
    let Ok(_turn) = turn else { return requests.any(LOOK_PERIOD) };
    if state(host, domid)? != State::Suspended {
        return Ok(false);
    }
    // A request that it follows was made before it suspended, and so was its event.
    if requests.any(Duration::ZERO)? {
        return Ok(true);
    }
    say(&format!("Domain {} has suspended though nobody wants it any more: resuming it", domid.0));
    // The monitor of a stock xl leaves a guest that suspends.
    spawn(host, domid)?;
    domain::resume(host, domid)?;
    Ok(true)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    Suspended,
    /// Gone, or about to be, or what has become of it is the monitor's business.
    Over,
}

fn state(host: &Host, domid: Domid) -> Result<State, MonitorError> {
    let info = match host.xen.domain_info(domid) {
        Err(HypervisorError::NoSuchDomain { .. }) => return Ok(State::Over),
        other => other?,
    };
    Ok(match info.shutdown_reason {
        _ if info.is_dying => State::Over,
        None => State::Runs,
        Some(_) if info.is_suspended() => State::Suspended,
        Some(_) => State::Over,
    })
}

/// Requests to the guest, of whatever kind.
struct Requests {
    watcher: Watcher,
    /// One event comes when the watch is set.
    is_set: bool,
}

impl Requests {
    fn watch(domid: Domid) -> Result<Self, MonitorError> {
        let mut watcher = Watcher::open()?;
        watcher.watch(&request_node(domid), REQUESTS)?;
        watcher.watch("@releaseDomain", "release")?;
        let mut requests = Self { watcher, is_set: false };
        requests.any(Duration::ZERO)?;
        Ok(requests)
    }

    /// Whether there has been one. Waits for something to happen to any guest for up to `time`.
    fn any(&mut self, time: Duration) -> Result<bool, MonitorError> {
        let mut event = self.watcher.next(time)?;
        while let Some(now) = event {
            if now.token == REQUESTS && std::mem::replace(&mut self.is_set, true) {
                return Ok(true);
            }
            event = self.watcher.next(Duration::ZERO)?;
        }
        Ok(false)
    }
}
