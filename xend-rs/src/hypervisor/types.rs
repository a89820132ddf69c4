//! Numbers that must not be mixed up.

/// A page frame number as the guest counts its own memory: 4 KiB pages from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfn(pub u64);
