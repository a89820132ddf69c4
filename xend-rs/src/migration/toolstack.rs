//! What the engine asks of the toolstack around it.
//!
//! The engine moves memory and state. Who talks to the guest's kernel, to a device model, to
//! xenstored and to the person who waits is the toolstack: libxl behind
//! [`xend-save-helper`](crate::helper), or `xend` itself. Each call may take as long as the guest
//! does; each has its own deadline on the toolstack's side.

use std::io;

use super::policy::CpuShare;
use super::probe::{Census, Probe};
use super::progress::Progress;
use crate::hypervisor::MissingPolicies;

/// The toolstack refused or failed a request of the engine.
#[derive(Debug, thiserror::Error)]
pub enum ToolstackError {
    /// The toolstack says that it could not.
    #[error("the toolstack could not {request}")]
    Refused {
        /// What it was asked, as a phrase ("suspend the guest").
        request: &'static str,
    },
    /// The toolstack tried, and says why it did not work.
    #[error("could not {request}")]
    Failed {
        /// What it was asked, as a phrase ("suspend the guest").
        request: &'static str,
        /// Why it could not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection to the toolstack broke, or it asked to stop while it was waited for.
    #[error("lost the toolstack while asking it to {request}")]
    Lost {
        /// What it was asked.
        request: &'static str,
        /// How the connection failed.
        source: io::Error,
    },
}

/// The toolstack at the source.
pub trait SourceToolstack {
    /// Suspends the guest: returns once all its vCPUs have stopped, with reason *suspend*.
    ///
    /// # Errors
    /// If the guest did not stop. It may still be about to: the toolstack watches for that.
    fn suspend(&mut self) -> Result<(), ToolstackError>;

    /// Undoes [`suspend`](Self::suspend) after a failure; also called if `suspend` itself failed.
    fn resume(&mut self) -> Result<(), ToolstackError>;

    /// Turns the device model's own write tracking on or off. Nothing to do without one.
    fn set_device_model_log_dirty(&mut self, on: bool) -> Result<(), ToolstackError>;

    /// Leaves each of the guest's vCPUs with this share of a processor, until the guest is suspended or
    /// the transfer has ended: then the toolstack gives it back what an administrator leaves it, which
    /// is also what [`CpuShare::FULL`] means. Unless implemented, nothing else can be had.
    ///
    /// # Errors
    /// If it cannot be set. The transfer goes on.
    fn set_cpu_share(&mut self, share: CpuShare) -> Result<(), ToolstackError> {
        match share {
            CpuShare::FULL => Ok(()),
            _ => Err(ToolstackError::Refused { request: "slow the guest down" }),
        }
    }

    /// Live copying gets no further. Whether something in the guest that wrote fast has just been made to
    /// stand still, until the guest is suspended or the transfer has ended: then it is worth going on.
    fn hold_writers(&mut self) -> bool {
        false
    }

    /// Tells how the guest writes and what there is of its memory, before round 0, where that was looked
    /// at.
    fn probed(&mut self, _probe: &Probe, _census: &Census) {}

    /// Tells how far the transfer is. Called about once per batch.
    fn progress(&mut self, progress: &Progress);
}

/// The toolstack at the destination.
pub trait DestinationToolstack {
    /// The static data has arrived; makes up the policies that did not come with it.
    fn static_data_done(&mut self, missing: MissingPolicies) -> Result<(), ToolstackError>;

    /// Tells how many pages have arrived.
    fn progress(&mut self, progress: &Progress);
}
