//! The engine against the simulated hypervisor: what must hold whatever the guest, the peer and the
//! host do.

mod digest;
mod failures;
mod harness;
mod memory;
mod order;
mod pacing;
mod probe;
mod receiver;
mod stun;
mod zero;
