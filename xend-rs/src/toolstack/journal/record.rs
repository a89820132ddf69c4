//! What is written down of an attempt.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::hypervisor::types::Domid;
use crate::stream::xend::Token;
use crate::transport::Peer;

/// The guest, by everything that tells it from others: a domid alone may be somebody else's by
/// the time it is looked at again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name, without the suffix of a migration.
    pub name: String,
    /// Its UUID, in lower case with dashes.
    pub uuid: String,
}

impl Identity {
    /// What it is called at the destination until it is handed over.
    pub fn incoming_name(&self) -> String {
        format!("{}--incoming", self.name)
    }

    /// What it is called at the source once it may be running elsewhere.
    pub fn away_name(&self) -> String {
        format!("{}--migratedaway", self.name)
    }
}

/// How far a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// The guest runs here, and is being copied.
    Sending,
    /// It has been asked to suspend, or has suspended.
    Suspending,
    /// The destination may own it.
    Given,
}

/// A source's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The attempt.
    pub token: Token,
    /// How far it is.
    pub state: SourceState,
    /// The domain.
    pub domid: u16,
    /// The guest.
    #[serde(flatten)]
    pub identity: Identity,
    /// Where it goes.
    pub peer: Peer,
    /// The peer speaks xend's conversation and can be asked.
    pub peer_is_xend: bool,
    /// When it began, in seconds since 1970.
    pub started_s: u64,
}

impl SourceRecord {
    /// The domain.
    pub fn domid(&self) -> Domid {
        Domid(self.domid)
    }
}

/// How far a destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DestinationState {
    /// The guest is coming. It is still the source's.
    Receiving,
    /// It has been handed over, and is to run here.
    Owned,
    /// It has been started here. Kept for a source that asks.
    Running,
    /// It will never run here. Kept for a source that asks.
    Declined,
}

/// A destination's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationRecord {
    /// The attempt.
    pub token: Token,
    /// How far it is.
    pub state: DestinationState,
    /// The domain, once there is one.
    pub domid: Option<u16>,
    /// The guest.
    #[serde(flatten)]
    pub identity: Identity,
    /// It is to stay paused.
    pub paused: bool,
    /// It is to have a monitor.
    pub monitor: bool,
    /// When it began, or was decided, in seconds since 1970.
    pub since_s: u64,
}

/// Now, in seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
