//! What only PV guests have: they see machine frames, in their page tables, their p2m and their
//! vCPUs' registers, and those must become pfns on the way out and machine frames of another host
//! on the way in.
//!
//! The translations are pure functions on private copies. Nothing in here believes what a guest
//! wrote: every frame number is checked against the M2P, which is Xen's own.

pub mod m2p;
pub mod p2m;
pub mod p2m_layout;
pub mod page_table;
pub mod shared_info;
pub mod vcpu;

pub use m2p::M2p;
pub use p2m::P2m;
pub use shared_info::SharedInfo;
