//! Domains: finding and naming them, and what is done to one while it is there.

pub mod memory;
pub mod names;
pub mod power;
pub mod vcpus;

pub use names::{find, name};
