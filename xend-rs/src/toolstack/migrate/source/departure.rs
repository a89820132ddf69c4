//! What is said of a guest that is to leave.

use std::time::Duration;

use crate::hypervisor::types::Domid;
use crate::migration::Tracking;
use crate::migration::policy::adaptive::Settings;
use crate::stream::xend::{GuestNeeds, Token};
use crate::toolstack::journal::{Identity, SourceRecord, SourceState, now_s};
use crate::toolstack::migrate::report::Report;
use crate::transport::Peer;

/// A guest that is to leave, and where to.
#[derive(Clone, Debug)]
pub struct Departure {
    /// The domain.
    pub domid: Domid,
    /// The guest.
    pub identity: Identity,
    /// Its configuration, as JSON.
    pub config: Vec<u8>,
    /// What it needs there.
    pub needs: GuestNeeds,
    /// Where it goes.
    pub peer: Peer,
    /// The attempt.
    pub token: Token,
    /// Only ask whether it could go.
    pub check_only: bool,
    /// How its writes are to be tracked.
    pub tracking: Tracking,
    /// What its rounds keep to.
    pub rounds: Settings,
    /// Look for the guest's agent, and tell it.
    pub agent: bool,
    /// Send everything twice, to be compared.
    pub verify: bool,
    /// A peer that is silent for so long is dead.
    pub limit: Duration,
    /// How long an answer to the offer is waited for: a stock xl never gives one.
    pub answer_wait: Duration,
}

impl Departure {
    /// What the journal is to say of it first.
    pub(super) fn record(&self) -> SourceRecord {
        SourceRecord {
            token: self.token,
            state: SourceState::Sending,
            domid: self.domid.0,
            identity: self.identity.clone(),
            peer: self.peer.clone(),
            peer_is_xend: false,
            started_s: now_s(),
        }
    }

    /// A report that says no more than what is to be done.
    pub(super) fn report(&self) -> Report {
        Report {
            name: self.identity.name.clone(),
            uuid: self.identity.uuid.clone(),
            domid: self.domid.0,
            peer: self.peer.to_string(),
            token: self.token.to_string(),
            ..Report::default()
        }
    }
}
