//! The small typed values that everything here is said in: domains, frames, ports.
//!
//! Xen's own words, as in `xen/include/xen/mm-frame.h`: a *pfn* is a page number as the guest
//! counts its memory, an *mfn* is a machine frame. For HVM and PVH guests Xen takes pfns directly
//! and calls them gfns.

use std::fmt;

/// Bytes in a page. x86 Xen knows no other size at this interface.
pub const PAGE_SIZE: usize = 4096;

/// A domain id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domid(pub u16);

/// A page number in the guest's own count (pseudo-physical for PV, guest-physical for HVM).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfn(pub u64);

/// A machine frame number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mfn(pub u64);

impl Mfn {
    /// What a p2m holds where the guest has no memory.
    pub const INVALID: Self = Self(!0);
}

/// An event channel port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

impl fmt::Display for Domid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "domain {}", self.0)
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pfn {:#x}", self.0)
    }
}

impl fmt::Display for Mfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mfn {:#x}", self.0)
    }
}

/// The pfns an operation was about, for error messages: first and last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PfnRange {
    /// The lowest pfn.
    pub first: Pfn,
    /// The highest pfn.
    pub last: Pfn,
}

impl PfnRange {
    /// The range that spans `pfns`, or `None` for an empty slice.
    pub fn spanning(pfns: &[Pfn]) -> Option<Self> {
        Some(Self { first: *pfns.iter().min()?, last: *pfns.iter().max()? })
    }
}

impl fmt::Display for PfnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pfns {:#x}-{:#x}", self.first.0, self.last.0)
    }
}
