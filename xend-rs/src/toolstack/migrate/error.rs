//! Why a migration did not happen, and where the guest is now.

use std::io;

use super::host::HostError;
use crate::migration::{RestoreError, SaveError};
use crate::stream::StreamError;

/// Why the source's side ended without the guest being elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// Before anything was done.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The receiver did not greet as one does.
    #[error("no receiver at the other end")]
    NoReceiver(#[source] StreamError),
    /// It could not be written to.
    #[error("cannot send to the receiver")]
    Send(#[source] io::Error),
    /// The receiver does not want the guest. Nothing was done.
    #[error("the destination refuses it: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// Of a peer that has to be a xend no answer came, or none that fits.
    #[error("{0}")]
    NoAnswer(String),
    /// The journal cannot be written, without which nothing is handed over.
    #[error("cannot write the journal of migrations")]
    Journal(#[source] io::Error),
    /// Another process works on this attempt.
    #[error("another process already works on this migration")]
    Busy,
    /// An earlier attempt may have handed the guest over.
    #[error("it is not settled whose the guest is since its migration to {peer}: `xend recover`")]
    Unsettled {
        /// Where it was to go.
        peer: String,
    },
    /// Memory could not be sent, for a reason on this side.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The receiver went away, or said that it could not.
    #[error("the destination failed: {0}")]
    Peer(String),
    /// Somebody asked to end it.
    #[error("cancelled")]
    Cancelled,
    /// The guest is suspended here, and could not be resumed.
    #[error("the guest could not be resumed after this ({after}): try `xend recover`")]
    NotResumed {
        /// What had failed before.
        after: String,
        /// Why it could not.
        source: HostError,
    },
    /// It was handed over, and nobody can say whether it arrived.
    #[error(
        "handed over, but no word that it runs there ({why}): it stays suspended here. `xend \
         recover` asks again"
    )]
    Undecided {
        /// What is known.
        why: String,
    },
    /// It runs there; what is left here could not be torn down.
    #[error("it runs there now, but its copy here could not be destroyed: try `xend recover`")]
    NotDestroyed(#[source] HostError),
}

impl MigrateError {
    /// The guest may be running elsewhere: nobody may resume it here without knowing.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Self::Undecided { .. })
    }
}

/// Why the destination's side ended without the guest.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// This host cannot take it.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What came is no migration.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It came without a configuration.
    #[error("the sender sent no domain configuration")]
    NoConfig,
    /// The sender was told why, if it listens.
    #[error("refused: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// The way back to the sender is broken.
    #[error("cannot send to the sender")]
    Send(#[source] io::Error),
    /// Memory could not be taken in.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The stream goes on where it should have ended.
    #[error("unexpected {0} in the stream")]
    Unexpected(String),
    /// The journal cannot be written.
    #[error("cannot write the journal of migrations")]
    Journal(#[source] io::Error),
    /// Another process works on this attempt.
    #[error("another process already works on this migration")]
    Busy,
    /// The sender went away or changed its mind: the guest stays there.
    #[error("not handed over: {0}")]
    NotGiven(String),
    /// The sender asked who owns it, and was told that it does.
    #[error("it was handed over after it had been given up here; the source keeps it")]
    Declined,
}
