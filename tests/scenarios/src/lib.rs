//! Steps that the demonstration, the benchmark, the campaigns and the tests on the lab share.
//!
//! Everything here happens on two real Xen hosts that the `lab` crate boots. The program under
//! test is `xend-save-helper`, used by stock `xl` in place of Xen's own helper.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod campaign;
pub mod census;
pub mod clean;
pub mod compare;
pub mod comparison;
pub mod flight;
pub mod golden;
pub mod helper;
pub mod ipc;
pub mod machine;
pub mod programs;
pub mod progress;
pub mod rig;
pub mod runner;
pub mod savefile;
pub mod show;
pub mod statistics;
pub mod toolstack;
pub mod traveller;
pub mod voyage;
