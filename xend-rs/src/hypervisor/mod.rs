//! What the engine asks of a host and of a guest's memory.

pub mod types;
