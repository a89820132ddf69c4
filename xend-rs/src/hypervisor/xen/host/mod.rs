//! Calls for domains as a whole and for the host: what a toolstack needs besides a guest's memory.
//!
//! ```text
//! lifecycle   create, pause, resume, destroy
//! build       a kernel into a new domain
//! memory      how much a domain may have, and what its memory map says
//! ports       event channels for the rings
//! ```

pub mod build;
pub mod lifecycle;
pub mod memory;
pub mod ports;
