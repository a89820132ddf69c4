//! Calls for domains as a whole and for the host: what a toolstack needs besides a guest's memory.
//!
//! ```text
//! lifecycle     create, pause, resume, destroy
//! build         a kernel into a new domain
//! memory        how much a domain may have, and what its memory map says
//! claim         memory that is kept for one
//! cpu_compat    whether this host's processors will do for a guest
//! ports         event channels for the rings
//! domains       all domains as Xen lists them; triggers
//! vcpus         state of vCPUs, where they may run
//! scheduler     schedulers, CPU pools, shares
//! info          what the host has, which Xen it runs
//! topology      where its CPUs, memory and PCI devices are
//! console_ring  the hypervisor's own log
//! ```

pub mod build;
mod claim;
pub mod console_ring;
mod cpu_compat;
pub mod cpu_map;
pub mod domains;
pub mod info;
pub mod lifecycle;
pub mod memory;
pub mod ports;
pub mod scheduler;
pub mod topology;
pub mod vcpus;
