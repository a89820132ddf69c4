//! Calls about the host, and about domains as a toolstack handles them: one file for each group.

pub mod console_ring;
pub mod cpu_map;
pub mod domains;
pub mod info;
pub mod scheduler;
pub mod topology;
pub mod vcpus;
