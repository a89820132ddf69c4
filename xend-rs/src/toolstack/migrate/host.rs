//! What a migration asks of the host that it runs on.
//!
//! The real toolstack stands behind these traits, and a simulated one, which can be killed between
//! any two calls.

use std::error::Error;
use std::time::Duration;

use crate::hypervisor::types::Domid;
use crate::hypervisor::{DestinationGuest, RingFrames, SourceGuest};
use crate::migration::Cancel;
use crate::migration::policy::CpuShare;
use crate::stream::xend::{GuestNeeds, Offer, Token};
use crate::toolstack::journal::Identity;

/// The host could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct HostError {
    /// What could not be done.
    pub what: String,
    /// Why not.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl HostError {
    /// An error that says it all itself.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// An error with what caused it.
    pub fn because(
        what: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { what: what.into(), source: Some(source.into()) }
    }
}

/// A domain, as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub domid: Domid,
    /// Its name now, with whatever suffix.
    pub name: String,
    /// It has stopped, to be moved.
    pub suspended: bool,
    /// The attempt that brought it here, if it was [marked](DestinationHost::reserve) with one.
    pub token: Option<Token>,
}

/// What can be done to a domain from outside. Every call may be made twice.
pub trait Domains {
    /// Keeps other processes of this host from moving or saving the domain, until the value is
    /// dropped. `None` if one is at it.
    fn hold(&self, domid: Domid) -> Result<Option<Box<dyn Send>>, HostError>;

    /// The domains with this UUID. While a guest moves within a host there are two.
    fn find(&self, uuid: &str) -> Result<Vec<Found>, HostError>;

    /// Ends write tracking that somebody left on.
    fn stop_tracking(&self, domid: Domid) -> Result<(), HostError>;

    /// Lets a suspended guest go on, and takes back the request to suspend.
    fn resume(&self, domid: Domid) -> Result<(), HostError>;

    /// The guest was asked to suspend, has not, and is not wanted to any more: takes the request back.
    /// If it may have seen that, it is seen to that it is resumed, should it still suspend.
    fn call_off_suspend(&self, domid: Domid) -> Result<(), HostError>;

    /// Lets a guest run that has arrived.
    fn unpause(&self, domid: Domid) -> Result<(), HostError>;

    /// Gives it another name.
    fn rename(&self, domid: Domid, from: &str, to: &str) -> Result<(), HostError>;

    /// Destroys it, with all that belongs to it.
    fn destroy(&self, domid: Domid) -> Result<(), HostError>;

    /// Sees to it that a program watches over it.
    fn start_monitor(&self, domid: Domid) -> Result<(), HostError>;
}

/// A guest's agent, as it is told of its migration. Nothing that it does or fails to do is an error.
/// When this is dropped, the agent releases what it holds.
pub trait Agent {
    /// Has it prepare, for so long at most, before its writes are tracked. What came of it, in words,
    /// if there is an agent.
    fn prepare(&mut self, limit: Duration, cancel: &Cancel) -> Option<String>;

    /// The guest's processes may write so much together, from now on. Does not wait.
    fn pre_copy(&self, rate_bytes_per_s: u64);

    /// The guest is about to be asked to suspend: who is held does not get turns any more. Can be called
    /// again. How many are held.
    fn suspending(&self) -> u32;

    /// The guest stays, and its writes are not tracked any more.
    fn cancelled(&self);
}

/// None: everything is done at once.
#[derive(Clone, Copy, Debug)]
pub struct NoAgent;

impl Agent for NoAgent {
    fn prepare(&mut self, _: Duration, _: &Cancel) -> Option<String> {
        None
    }

    fn pre_copy(&self, _: u64) {}

    fn suspending(&self) -> u32 {
        0
    }

    fn cancelled(&self) {}
}

/// The host that a guest leaves.
pub trait SourceHost: Domains {
    /// The engine's view of a guest.
    type Guest: SourceGuest;

    /// Opens it. Nothing is changed by that.
    fn open_guest(&self, domid: Domid) -> Result<Self::Guest, HostError>;

    /// Leaves each of its vCPUs with this share of a processor; [`CpuShare::FULL`] is what an
    /// administrator leaves it. It is given that back at the latest when this host is dropped.
    fn set_cpu_share(&self, domid: Domid, share: CpuShare) -> Result<(), HostError>;

    /// Suspends it.
    fn suspend(&self, domid: Domid, cancel: &Cancel) -> Result<(), HostError>;

    /// Its agent, if it may have one.
    fn agent(&self, _domid: Domid) -> Box<dyn Agent> {
        Box::new(NoAgent)
    }
}

/// What a destination thinks of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why it cannot come.
    pub problems: Vec<String>,
    /// What will be different here.
    pub warnings: Vec<String>,
}

/// The host that a guest comes to.
pub trait DestinationHost: Domains + Sync {
    /// A domain that waits for its guest.
    type Incoming: Incoming + Send;

    /// Whose configuration this is.
    fn identify(&self, config: &[u8]) -> Result<Identity, HostError>;

    /// Looks for what the guest needs, and changes nothing. Without an offer less is known.
    fn check(&self, config: &[u8], offer: Option<&Offer>) -> Result<Findings, HostError>;

    /// Makes an empty domain of the name that incoming guests have, marks it with the attempt, for
    /// ids and names come again, and keeps memory for it.
    fn reserve(
        &self,
        config: &[u8],
        needs: Option<&GuestNeeds>,
        token: Token,
    ) -> Result<Self::Incoming, HostError>;

    /// Finds out what the network is to be told of the guest, once its devices are there.
    fn prepare_announcement(&self, domid: Domid);

    /// Tells the network where that guest is now. Does not wait until all is said.
    fn announce(&self);

    /// Waits until all is said.
    fn await_announced(&self);
}

/// A domain that waits for its guest. It is destroyed with the value, unless kept.
pub trait Incoming {
    /// The engine's view of it.
    type Guest: DestinationGuest;

    /// Its id.
    fn domid(&self) -> Domid;

    /// Opens it, to be filled.
    fn open_guest(&self) -> Result<Self::Guest, HostError>;

    /// Sets up its devices, as far as that goes without its memory. May take its time.
    fn prepare_devices(&mut self) -> Result<(), HostError>;

    /// Its memory and state are there: makes xenstored and the console take it on.
    fn introduce(&mut self, frames: RingFrames) -> Result<(), HostError>;

    /// From now on it lives on its own.
    fn keep(self);
}
