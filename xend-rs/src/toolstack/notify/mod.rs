//! Telling a guest's agent that the guest is moved: `docs/guest-notifier.md`.
//!
//! What the agent says or fails to say fails no migration. A guest without one costs two reads of
//! xenstore.
//!
//! ```text
//! nodes    the guest's part of xenstore, and the event channel
//! beat     the thread that tells the agent that we live
//! share    how much of the link the guest's processes get
//! ```

mod beat;
mod nodes;
mod share;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use guest_notifier::protocol::Cache;
use guest_notifier::{Notifier, Wish};

use self::beat::Beat;
use self::nodes::{Channel, GuestNodes};
use crate::error_line::error_line;
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::event_channel::EventChannel;
use crate::hypervisor::xen::xenstore::XenstoreError;
use crate::migration::Cancel;
use crate::toolstack::Host;

pub use self::share::LinkShare;
pub use guest_notifier::{Outcome, Prepared, Sight};

/// How the guest is to prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How long it may take.
    pub deadline: Duration,
    /// Whether clean page cache is to be dropped.
    pub drop_cache: bool,
    /// After so many seconds of our silence the agent releases everything.
    pub deadman_s: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10), drop_cache: true, deadman_s: 10 }
    }
}

/// The agent cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Xen does not know the guest.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// xenstored does not answer.
    #[error(transparent)]
    Xenstore(#[from] XenstoreError),
    /// The same, with the guest's nodes.
    #[error("the nodes of the guest's agent cannot be read")]
    Nodes(#[source] std::io::Error),
}

/// One migration of one guest, as its agent is told of it. When it is dropped, the agent releases
/// everything, unless the guest is gone.
#[derive(Debug)]
pub struct Notify {
    domid: Domid,
    notifier: Arc<Mutex<Notifier<GuestNodes, Channel>>>,
    channel: Arc<OnceLock<Channel>>,
    /// Memory that the guest gets while Xen tracks its writes is tracked, too.
    may_balloon: bool,
    beat: Option<Beat>,
}

impl Notify {
    /// Nothing is told yet.
    ///
    /// # Errors
    /// If there is no such guest, or no xenstored.
    pub fn begin(host: &Host, domid: Domid) -> Result<Self, NotifyError> {
        let may_balloon = !host.xen.domain_info(domid)?.is_hvm;
        let channel = Arc::new(OnceLock::new());
        let nodes = GuestNodes::open(domid, Arc::clone(&channel))?;
        let notifier = Notifier::new(nodes, random_number());
        Ok(Self {
            domid,
            notifier: Arc::new(Mutex::new(notifier)),
            channel,
            may_balloon,
            beat: None,
        })
    }

    /// What there is of an agent. Asks it nothing.
    ///
    /// # Errors
    /// If xenstored does not answer.
    pub fn look(&self) -> Result<Option<Sight>, NotifyError> {
        self.lock().look().map_err(NotifyError::Nodes)
    }

    /// Tells the guest, and waits until it has prepared. To be called before its writes are tracked.
    /// Where there is no agent this returns at once, and none of the other calls does anything.
    pub fn prepare(&mut self, plan: &Plan, cancel: &Cancel) -> Outcome {
        let wish = Wish {
            deadline: plan.deadline,
            deadman_s: plan.deadman_s,
            cache: if plan.drop_cache { Cache::Drop } else { Cache::Keep },
            balloon: self.may_balloon,
            // Pages of zeroes do not travel, either, at least between xends.
            zero: !self.may_balloon && plan.drop_cache,
        };
        let outcome = self.lock().prepare(&wish, || self.channel(), &|| cancel.is_cancelled());
        match &outcome {
            Outcome::Prepared(_) => {
                self.beat = Some(Beat::start(Arc::clone(&self.notifier)));
                log::info!("{}: {outcome}", self.domid);
            }
            Outcome::NoAgent | Outcome::Cancelled => log::debug!("{}: {outcome}", self.domid),
            _ => log::warn!("{}: {outcome}", self.domid),
        }
        outcome
    }

    /// Memory is being copied, and the guest's processes may write so much together. Can be called
    /// again with another rate. Does not wait.
    pub fn pre_copy(&self, rate_bytes_per_s: u64) {
        self.lock().pre_copy(rate_bytes_per_s);
    }

    /// The guest is about to be suspended. How many processes are held, as far as the agent says so
    /// within half a second.
    pub fn suspending(&self) -> u32 {
        let held = self.lock().suspending();
        if let Some(held) = held {
            log::info!("{}: the guest's agent holds {held} processes", self.domid);
        }
        held.unwrap_or(0)
    }

    /// The guest stays here. To be called when its writes are not tracked any more. Waits a second at
    /// most.
    pub fn cancelled(&self) {
        self.lock().cancelled();
    }

    /// Whether an agent takes part.
    pub fn has_agent(&self) -> bool {
        self.lock().has_agent()
    }

    /// An event channel for the guest. Without one, it is told by xenstore alone.
    fn channel(&self) -> Option<Channel> {
        match EventChannel::for_guest(self.domid) {
            Ok(channel) => Some(self.channel.get_or_init(|| Channel::new(channel)).clone()),
            Err(error) => {
                log::warn!("{}", error_line(&error));
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Notifier<GuestNodes, Channel>> {
        self.notifier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Differs from one migration to the next.
fn random_number() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_micros() as u32) ^ std::process::id().rotate_left(16)
}
