//! The real Xen, through libxenctrl and its relatives. All `unsafe` of this crate is in here.
//!
//! At the bottom are the [handles](Xen) and the two kinds of memory that are not Rust's own: the
//! [hypercall buffer](hypercall_buffer) and the [foreign mapping](foreign). On them stand thin
//! safe wrappers, one file for each group of hypercalls, which turn an errno into an error that
//! says what was attempted, for which domain.

pub mod cpu_policy;
pub mod domain;
pub mod event_channel;
pub mod foreign;
pub mod handles;
pub mod host;
pub mod hvm;
pub mod hypercall_buffer;
mod inherited_fd;
pub mod log_dirty;
pub mod pv;
pub mod restore;
pub mod save;
mod toollog;
pub mod vcpu;
pub mod xenstore;

pub use handles::Xen;
pub use inherited_fd::inherited_fd;
pub use restore::XenDestination;
pub use save::XenSource;
