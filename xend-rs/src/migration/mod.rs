//! The heart: a guest's memory, sent while it runs, then stopped, finished and handed over.
//!
//! After Clark et al., *Live Migration of Virtual Machines*, NSDI 2005. Of the paper's stages this
//! module has the ones that move the guest:
//!
//! - iterative **pre-copy**: [`save`] sends all pages, then, round by round, those that the guest
//!   wrote meanwhile, until the [`policy`] says that another round would not pay. Which pages those
//!   are the [`tracker`] knows; what stopping will cost is in the [`plan`]. Pages that are seldom
//!   written go first (`order`, `heat`), and those that are written before their turn are put off;
//! - **stop-and-copy**: the guest is suspended, and what is still owed is sent with its vCPUs;
//! - [`restore`] is the other end of both.
//!
//! Nothing here knows a Xen call or a socket: memory comes through
//! [`SourceGuest`](crate::hypervisor::SourceGuest) and goes through
//! [`DestinationGuest`](crate::hypervisor::DestinationGuest), bytes through `Read` and `Write`, and
//! the rest of the world is the [`toolstack`].

mod cancel;
pub mod dirty_curve;
mod error;
mod heat;
mod known_zero;
mod order;
mod outgoing;
mod pass;
pub mod plan;
pub mod policy;
mod pre_copy;
pub mod probe;
pub mod progress;
mod put_off;
pub mod rate;
mod reader;
mod report;
mod restore;
mod save;
mod sink;
pub mod toolstack;
pub mod tracker;
mod turnaround;

pub use cancel::Cancel;
pub use error::{Phase, RestoreError, SaveError, SaveFailure};
pub use put_off::PauseBudget;
pub use report::{PassReport, RestoreReport, SaveReport};
pub use restore::restore;
pub use save::{SaveOptions, save, save_with};
pub use sink::Sink;
pub use tracker::Tracking;
