//! What can go wrong in a domain's life.

use std::io;
use std::path::PathBuf;

use super::NameError;
use super::memory::MemoryError;
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::XenstoreError;
use crate::toolstack::config::ConfigError;
use crate::toolstack::devices::DeviceError;
use crate::toolstack::userdata::UserdataError;

/// The result of an operation on a domain.
pub type Result<T> = std::result::Result<T, DomainError>;

/// A failed operation on a domain.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// No domain of that name or id, or the name is taken.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The configuration asks for something that is not done here.
    #[error("{what} cannot be had: use stock xl for this guest")]
    Unsupported {
        /// What is asked for.
        what: String,
    },
    /// The configuration makes no sense.
    #[error("{what}")]
    Senseless {
        /// What is wrong with it.
        what: String,
    },
    /// Something that the guest boots cannot be read.
    #[error("{what} {}", path.display())]
    Unreadable {
        /// What it is ("kernel").
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The guest cannot be built from its kernel.
    #[error("cannot boot {kernel}")]
    Unbootable {
        /// The kernel's path.
        kernel: String,
        /// What Xen's builder says.
        source: HypervisorError,
    },
    /// The host has not enough free memory.
    #[error("too little memory: {needed_mib} MiB are needed, {free_mib} MiB are free")]
    NoMemory {
        /// What the guest needs.
        needed_mib: u64,
        /// What the host has.
        free_mib: u64,
    },
    /// The id that was asked for was used a moment ago.
    #[error("domain id {} was used a moment ago: stock xl keeps it free for {seconds} s", domid.0)]
    RecentDomid {
        /// The id.
        domid: Domid,
        /// How long an id is kept free.
        seconds: u64,
    },
    /// Somebody asked to stop.
    #[error("cancelled: nothing is left of the guest")]
    Cancelled,
    /// The file of recent ids.
    #[error("cannot {operation} {}", path.display())]
    History {
        /// What was attempted.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its memory cannot be told.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The stored configuration.
    #[error(transparent)]
    Userdata(#[from] UserdataError),
    /// Xen refused.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// xenstored refused.
    #[error(transparent)]
    Xenstore(#[from] XenstoreError),
}
