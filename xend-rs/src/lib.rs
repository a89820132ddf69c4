//! The migration engine of xend-rs, and what it stands on.
//!
//! Start at [`migration`], the heart. Below it are [`hypervisor`] (a guest's memory and state) and
//! [`stream`] (bytes); around it [`transport`] (the way to the other host), [`helper`] (the engine
//! as libxl's save helper), [`toolstack`] (domains as an administrator sees them) and [`cli`] (the
//! `xend` program).

pub mod cli;
pub mod error_line;
pub mod helper;
pub mod hypervisor;
pub mod migration;
pub mod stream;
pub mod toolstack;
pub mod transport;
