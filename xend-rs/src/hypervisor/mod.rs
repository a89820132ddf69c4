//! What the engine needs of a hypervisor, and the hypervisors that offer it.
//!
//! [`SourceGuest`] and [`DestinationGuest`] are all that the engine knows of Xen. Behind them:
//! [`xen`], the real one, and [`sim`], a guest made of memory in this process, for what real
//! hardware cannot be made to do. A device model's own dirty log (HVM guests with QEMU) has its
//! place on the toolstack's side of the engine: see [`crate::migration::toolstack`].

mod destination;
mod error;
mod pfn_set;
pub mod sim;
mod source;
pub mod types;
pub mod xen;
mod zero;

pub use destination::{DestinationGuest, MissingPolicies, RingEnd, RingFrames, Rings};
pub use error::{HypervisorError, Result};
pub use pfn_set::PfnSet;
pub use source::{
    DirtyStats, EverythingTravels, Liveness, LogDirtySupport, MAX_BATCH_PFNS, PageBatch, Sieve,
    SourceGuest,
};
pub use zero::is_zero;
