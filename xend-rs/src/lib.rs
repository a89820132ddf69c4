//! The migration engine of xend-rs, and what it stands on.

pub mod hypervisor;
pub mod stream;
