//! Why a transfer ended early: which phase, and what failed in it.

use std::fmt;
use std::io;

use super::policy::Why;
use super::toolstack::ToolstackError;
use crate::hypervisor::{HypervisorError, types::Domid};
use crate::stream::StreamError;

/// The phases of a save or an outgoing migration, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Start tracking writes, before a byte is sent.
    Tracking,
    /// Headers, CPU policies and the layout of memory.
    Preamble,
    /// Rounds over the running guest.
    PreCopy,
    /// Asking the guest to stop.
    Suspend,
    /// What is still owed, with the guest stopped.
    StopAndCopy,
    /// Everything once more, for the receiver to compare.
    Verify,
    /// vCPUs and the rest of the stopped guest's state.
    State,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tracking => "starting to track writes",
            Self::Preamble => "sending the preamble",
            Self::PreCopy => "pre-copy",
            Self::Suspend => "suspending",
            Self::StopAndCopy => "stop-and-copy",
            Self::Verify => "verify pass",
            Self::State => "sending vCPU state",
        })
    }
}

/// A save or outgoing migration that did not complete. The guest is where it was: write tracking is
/// off, and it has been resumed if it had been suspended.
#[derive(Debug, thiserror::Error)]
#[error("{phase}")]
pub struct SaveError {
    /// The phase that failed.
    pub phase: Phase,
    /// What failed in it.
    #[source]
    pub cause: SaveFailure,
}

/// What can fail while saving.
#[derive(Debug, thiserror::Error)]
pub enum SaveFailure {
    /// Xen or the guest.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// The toolstack around the engine.
    #[error(transparent)]
    Toolstack(#[from] ToolstackError),
    /// The way to the receiver.
    #[error("cannot send to the receiver (after {sent_bytes} bytes)")]
    Send {
        /// Bytes that were handed over before.
        sent_bytes: u64,
        /// Why no more could be.
        source: io::Error,
    },
    /// The state of the guest does not fit the stream's format.
    #[error("the guest's state does not fit the stream")]
    BadRecord(#[source] io::Error),
    /// The policy would not go on.
    #[error("live copying was given up: {why}")]
    GivenUp {
        /// Its reason.
        why: Why,
    },
    /// The toolstack said that the guest is suspended, and Xen says that it is not.
    #[error("{domid} was reported as suspended, but has not shut down with that reason")]
    NotSuspended {
        /// The guest.
        domid: Domid,
    },
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl SaveFailure {
    /// The errno that comes nearest, for toolstacks that want one.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Hypervisor(error) => error.errno().unwrap_or(nix::libc::EINVAL),
            Self::Toolstack(_) => nix::libc::EIO,
            Self::Send { source, .. } => source.raw_os_error().unwrap_or(nix::libc::EIO),
            Self::BadRecord(_) => nix::libc::E2BIG,
            Self::NotSuspended { .. } => nix::libc::EBUSY,
            Self::GivenUp { .. } => nix::libc::ETIMEDOUT,
            Self::Cancelled => nix::libc::ECANCELED,
        }
    }
}

/// A restore or incoming migration that did not complete. The domain is half-built and must be
/// destroyed by its toolstack.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The stream is bad or ended early. Says what, in which record and at which offset.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Xen refused, or the stream asked for something impossible.
    #[error("{at}")]
    Hypervisor {
        /// Where in the stream: record and offset.
        at: String,
        /// What failed.
        source: HypervisorError,
    },
    /// The toolstack around the engine.
    #[error(transparent)]
    Toolstack(#[from] ToolstackError),
}

impl RestoreError {
    /// The errno that comes nearest, for toolstacks that want one.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Stream(_) => nix::libc::EINVAL,
            Self::Hypervisor { source, .. } => source.errno().unwrap_or(nix::libc::EINVAL),
            Self::Toolstack(_) => nix::libc::EIO,
        }
    }
}
