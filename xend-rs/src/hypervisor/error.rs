//! What can go wrong below the engine, said so that an administrator can act on it.

use std::io;

use super::types::{Domid, PfnRange};

/// The result of a hypervisor operation.
pub type Result<T> = std::result::Result<T, HypervisorError>;

/// A failed hypervisor operation.
#[derive(Debug, thiserror::Error)]
pub enum HypervisorError {
    /// There is no Xen to talk to, or the caller may not.
    #[error("cannot open {interface}: is this Dom0 of a running Xen, and are you root?")]
    NoXen {
        /// The library handle that could not be opened.
        interface: &'static str,
        /// What the library said.
        source: io::Error,
    },
    /// This build does not fit the running Xen.
    #[error(
        "built for Xen {built_for}, but this host runs Xen {running}: rebuild against its libxen-dev"
    )]
    WrongXen {
        /// The release whose headers this was built with.
        built_for: String,
        /// The release that runs.
        running: String,
    },
    /// The domain is not there.
    #[error("{domid} does not exist")]
    NoSuchDomain {
        /// The domain that was asked for.
        domid: Domid,
    },
    /// A call into Xen failed.
    #[error("{domid}: {operation} failed{}", range.map(|r| format!(" for {r}")).unwrap_or_default())]
    Call {
        /// What was attempted, as a phrase ("map guest frames").
        operation: &'static str,
        /// The domain it was for.
        domid: Domid,
        /// The pages it was about, where there are any.
        range: Option<PfnRange>,
        /// What Xen answered.
        source: io::Error,
    },
    /// A call into Xen that is about the host, and no domain, failed.
    #[error("{operation} failed")]
    HostCall {
        /// What was attempted, as a phrase ("get CPU topology").
        operation: &'static str,
        /// What Xen answered.
        source: io::Error,
    },
    /// Xen cannot track this guest's writes.
    #[error("{domid}: cannot track its writes: {why}")]
    NoTracking {
        /// The guest.
        domid: Domid,
        /// Why, and what an administrator can do.
        why: String,
        /// What Xen answered.
        source: io::Error,
    },
    /// The guest's own structures do not hold together.
    #[error("{domid}: the guest's {what}")]
    BadGuest {
        /// The guest.
        domid: Domid,
        /// Which structure, and how it is wrong ("p2m moved during the migration").
        what: String,
    },
    /// The stream asks for something that cannot be restored.
    #[error("{domid}: cannot restore: {what}")]
    BadState {
        /// The half-built domain.
        domid: Domid,
        /// Which state, and what is wrong with it.
        what: String,
    },
    /// Xen does not take state that the stream carries.
    #[error("{domid}: cannot restore: Xen refused {what}")]
    Refused {
        /// The half-built domain.
        domid: Domid,
        /// Which state.
        what: String,
        /// What Xen answered.
        source: io::Error,
    },
    /// There is no memory for the guest here.
    #[error(
        "{domid}: no memory for {pages} more pages: the host has no free memory left, or the \
         domain has all that it may have, {max_pages} pages"
    )]
    NoMemory {
        /// The half-built domain.
        domid: Domid,
        /// Pages that were asked for.
        pages: u64,
        /// Pages that the domain may have.
        max_pages: u64,
        /// What Xen answered.
        source: io::Error,
    },
    /// The guest has a feature that cannot be migrated.
    #[error("{domid}: cannot be migrated: {what}")]
    Unsupported {
        /// The guest.
        domid: Domid,
        /// Which feature.
        what: String,
    },
}

impl HypervisorError {
    /// The errno of the call that failed, where there was one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::NoXen { source, .. }
            | Self::Call { source, .. }
            | Self::HostCall { source, .. }
            | Self::NoTracking { source, .. }
            | Self::Refused { source, .. }
            | Self::NoMemory { source, .. } => source.raw_os_error(),
            Self::NoSuchDomain { .. } => Some(nix::libc::ESRCH),
            Self::WrongXen { .. }
            | Self::BadGuest { .. }
            | Self::BadState { .. }
            | Self::Unsupported { .. } => None,
        }
    }
}
