//! A hypervisor made of memory in this process.
//!
//! The guest is a set of pages, with a thread that writes to them if wanted; its dirty tracking is
//! exact. What a real host cannot be made to do on demand (fail the third mapping, refuse to
//! suspend, change a page between two particular calls) this one does: see [`Faults`].

mod destination;
mod faults;
mod memory;
mod source;
mod writer;

pub use destination::SimDestination;
pub use faults::{Faults, Operation};
pub use memory::{Page, SimMemory};
pub use source::SimSource;
pub use writer::SimWriter;
