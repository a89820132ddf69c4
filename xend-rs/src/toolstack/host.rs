//! This host: what every command of the toolstack opens first.

use std::sync::Arc;

use crate::hypervisor::HypervisorError;
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::xenstore::{Xenstore, XenstoreError};

/// The host's Xen and its xenstored.
#[derive(Debug)]
pub struct Host {
    /// Hypercalls and foreign memory.
    pub xen: Arc<Xen>,
    /// Xenstore.
    pub store: Xenstore,
}

/// The host cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No Xen, or not the one that this was built for.
    #[error(transparent)]
    Xen(#[from] HypervisorError),
    /// No xenstored.
    #[error(transparent)]
    Xenstore(#[from] XenstoreError),
}

impl Host {
    /// Opens both.
    ///
    /// # Errors
    /// Which of them is not there, and why.
    pub fn open() -> Result<Self, OpenError> {
        Ok(Self { xen: Xen::open()?, store: Xenstore::open()? })
    }
}
