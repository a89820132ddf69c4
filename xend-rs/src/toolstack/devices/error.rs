//! What can go wrong with a device.

use std::io;

use crate::hypervisor::xen::xenstore::XenstoreError;

/// A device that cannot be had, or not be got rid of.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// It asks for something that is not there, or not for us to give.
    #[error("{device}: {reason}")]
    Unusable {
        /// Which, as an administrator says it.
        device: String,
        /// Why.
        reason: String,
    },
    /// The kernel's backend did not get ready.
    #[error(
        "{device}: its backend did not reach state {wanted} within {seconds} s (it is in state \
         {state}): is the backend's module loaded?"
    )]
    Backend {
        /// Which device.
        device: String,
        /// The state that was waited for.
        wanted: u32,
        /// The state it was left in.
        state: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The hotplug script failed.
    #[error("{device}: {script} failed: {reason}")]
    Script {
        /// Which device.
        device: String,
        /// The script.
        script: String,
        /// What it left in `hotplug-error`, or how it ended.
        reason: String,
    },
    /// The hotplug script cannot be run.
    #[error("{device}: cannot run {script}")]
    NoScript {
        /// Which device.
        device: String,
        /// The script.
        script: String,
        /// What the system says.
        source: io::Error,
    },
    /// xenstored failed us.
    #[error(transparent)]
    Xenstore(#[from] XenstoreError),
}
