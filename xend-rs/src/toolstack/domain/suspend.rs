//! Asking a guest to suspend itself, and waiting until it has.

use std::time::{Duration, Instant};

use super::home;
use super::suspend_channel::SuspendChannel;
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::{Nodes, Watcher, XenstoreError};
use crate::migration::Cancel;
use crate::toolstack::Host;

/// How long a guest may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuspendLimits {
    /// To take note of the request.
    pub answer: Duration,
    /// To stop after that.
    pub stop: Duration,
}

impl Default for SuspendLimits {
    /// libxl's: a minute for each.
    fn default() -> Self {
        Self { answer: Duration::from_secs(60), stop: Duration::from_secs(60) }
    }
}

/// The guest is not suspended.
#[derive(Debug, thiserror::Error)]
pub enum SuspendError {
    /// It took no note of the request.
    #[error("{domid}: the guest did not answer to being asked to suspend within {seconds} s")]
    NoAnswer {
        /// The guest.
        domid: Domid,
        /// How long it was waited for.
        seconds: u64,
        /// It had not seen the request, and never will. Otherwise it may still suspend.
        taken_back: bool,
    },
    /// It took note and did not stop. It still may: it is to be resumed then.
    #[error("{domid}: the guest agreed to suspend and did not within {seconds} s")]
    NotStopped {
        /// The guest.
        domid: Domid,
        /// How long it was waited for.
        seconds: u64,
    },
    /// It stopped for another reason, or is being destroyed.
    #[error("{domid}: the guest shut down with reason {reason} in place of suspending")]
    ShutDown {
        /// The guest.
        domid: Domid,
        /// Xen's `SHUTDOWN_*`.
        reason: u32,
    },
    /// It was destroyed.
    #[error("{domid}: the guest was destroyed while it was to be suspended")]
    Destroyed {
        /// The guest.
        domid: Domid,
    },
    /// Somebody asked to stop.
    #[error("{domid}: cancelled while the guest was suspending")]
    Cancelled {
        /// The guest.
        domid: Domid,
        /// It had not seen the request, and never will. Otherwise it may still suspend.
        taken_back: bool,
    },
    /// Xen refused.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// xenstored refused.
    #[error(transparent)]
    Xenstore(#[from] XenstoreError),
}

/// How long to sleep at most where no event tells of what is waited for.
const NAP: Duration = Duration::from_millis(20);
pub(in crate::toolstack) const REQUEST: &str = "suspend";
/// How long an event may take that asks for it, before the request is made in xenstore as well.
const BY_EVENT: Duration = Duration::from_secs(5);

/// Suspends a guest: returns once all its vCPUs have stopped with that reason.
///
/// # Errors
/// Where the guest does not suspend. After [`NotStopped`](SuspendError::NotStopped), and after
/// [`NoAnswer`](SuspendError::NoAnswer) and [`Cancelled`](SuspendError::Cancelled) unless the request
/// was taken back, it may still be about to: call [`resume`](super::resume) if it has.
pub fn suspend(
    host: &Host,
    domid: Domid,
    cancel: &Cancel,
    limits: SuspendLimits,
) -> Result<(), SuspendError> {
    let node = request_node(domid);
    let mut waiting = Waiting { host, domid, cancel, watcher: Watcher::open()? };
    // Before the request, so that no answer is missed.
    waiting.watcher.watch(&node, "request")?;
    waiting.watcher.watch("@releaseDomain", "release")?;
    let mut asked_by_event = false;
    if let Some(channel) = SuspendChannel::open(host, domid) {
        channel.ask();
        // An event cannot be taken back: the guest may follow it at any time.
        asked_by_event = true;
        // By the domain's state: an event is pending as soon as a channel is bound.
        if waiting.until(BY_EVENT, Waiting::has_stopped)? {
            return Ok(());
        }
        log::warn!("{domid}: it offers to be suspended by an event, and does not");
    }
    host.store.write(&node, REQUEST)?;
    let answered = waiting.until(limits.answer, |waiting| {
        if waiting.has_stopped()? {
            return Ok(true);
        }
        Ok(waiting.host.store.read(&node)?.as_deref() != Some(REQUEST))
    });
    let seconds = limits.answer.as_secs();
    match answered {
        Ok(true) => {}
        // Too late counts as in time, if it answered while the request was being taken back.
        Ok(false) if call_off_suspend(host, domid)? => {
            return Err(SuspendError::NoAnswer { domid, seconds, taken_back: !asked_by_event });
        }
        Ok(false) => {}
        Err(error) => {
            let taken_back = call_off_suspend(host, domid)? && !asked_by_event;
            return Err(match error {
                SuspendError::Cancelled { domid, .. } => {
                    SuspendError::Cancelled { domid, taken_back }
                }
                other => other,
            });
        }
    }
    match waiting.until(limits.stop, Waiting::has_stopped)? {
        true => Ok(()),
        false => Err(SuspendError::NotStopped { domid, seconds: limits.stop.as_secs() }),
    }
}

struct Waiting<'a> {
    host: &'a Host,
    domid: Domid,
    cancel: &'a Cancel,
    watcher: Watcher,
}

impl Waiting<'_> {
    /// Waits until `done`; false if it was not in time.
    fn until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&Self) -> Result<bool, SuspendError>,
    ) -> Result<bool, SuspendError> {
        let deadline = Instant::now() + limit;
        loop {
            if done(self)? {
                return Ok(true);
            }
            if self.cancel.is_cancelled() {
                return Err(SuspendError::Cancelled { domid: self.domid, taken_back: false });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.watcher.next(left.min(NAP))?;
        }
    }

    /// Whether it has stopped to be moved.
    fn has_stopped(&self) -> Result<bool, SuspendError> {
        let domid = self.domid;
        let info = match self.host.xen.domain_info(domid) {
            Err(HypervisorError::NoSuchDomain { .. }) => {
                return Err(SuspendError::Destroyed { domid });
            }
            other => other?,
        };
        if info.is_dying {
            return Err(SuspendError::Destroyed { domid });
        }
        match info.shutdown_reason {
            None => Ok(false),
            Some(_) if info.is_suspended() => Ok(true),
            Some(reason) => Err(SuspendError::ShutDown { domid, reason }),
        }
    }
}

/// Takes back the request to suspend; false if the guest has seen it, or was not asked.
///
/// # Errors
/// If xenstored does not answer.
pub fn call_off_suspend(host: &Host, domid: Domid) -> Result<bool, XenstoreError> {
    let node = request_node(domid);
    host.store.transaction(|store| {
        if store.read(&node)?.as_deref() != Some(REQUEST) {
            return Ok(false);
        }
        store.write(&node, "")?;
        Ok(true)
    })
}

/// Where a guest is asked to suspend.
pub(in crate::toolstack) fn request_node(domid: Domid) -> String {
    format!("{}/control/shutdown", home(domid))
}
