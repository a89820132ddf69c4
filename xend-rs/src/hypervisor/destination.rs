//! The guest as its destination host builds it: frames to populate, pages to fill, state to set.

use super::error::Result;
use super::types::{Domid, Mfn, Pfn, Port};
use crate::stream::libxc::{GuestType, PageEntry, Record};

/// One of the two rings that a guest shares with Dom0 from birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingEnd {
    /// The guest's event channel port.
    pub port: Port,
    /// The domain at the other end.
    pub peer: Domid,
}

/// The rings of a domain that is being restored, as its toolstack made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Xenstore's.
    pub store: RingEnd,
    /// The console's.
    pub console: RingEnd,
}

/// Where the rings' pages ended up; the toolstack introduces the domain to xenstored and
/// xenconsoled with them. Machine frames for PV, guest frames for HVM, as Xen's tools have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFrames {
    /// Xenstore's ring page.
    pub store: Mfn,
    /// The console's ring page.
    pub console: Mfn,
}

/// Which CPU policies the stream did not carry: the toolstack must make them up. Streams from
/// before Xen 4.14 carry none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MissingPolicies {
    /// No X86_CPUID_POLICY record came.
    pub cpuid: bool,
    /// No X86_MSR_POLICY record came.
    pub msr: bool,
}

/// A domain that is being filled from a stream. It has been created and has never run.
///
/// The caller has checked the order of records and their form; the implementation checks every
/// value in them that Xen or it relies on. On any error the domain is good for nothing but
/// destruction, which is its toolstack's task. Dropping the value unmaps everything.
pub trait DestinationGuest {
    /// The domain.
    fn domid(&self) -> Domid;

    /// Fails if a stream of this guest type cannot fill this domain.
    fn accept(&mut self, guest_type: GuestType) -> Result<()>;

    /// Takes in a record of guest state: everything but pages and control records. Some take
    /// effect at once, others in [`static_data_end`](Self::static_data_end) or
    /// [`finish`](Self::finish), where their turn is.
    fn apply(&mut self, record: Record) -> Result<()>;

    /// The static data is complete: sets the CPU policies that came and says which did not.
    fn static_data_end(&mut self) -> Result<MissingPolicies>;

    /// Whether the guest can have a page at `pfn`. For a PV guest known once its p2m frames came.
    fn pfn_is_valid(&self, pfn: Pfn) -> bool;

    /// Populates what is not populated yet of `entries` (which the caller found to be
    /// [valid](Self::pfn_is_valid)) and gives the pages of those with data as one contiguous slice,
    /// in order, to be filled. Must be followed by [`close_window`](Self::close_window).
    ///
    /// If a pfn stands in `entries` twice, which of its contents stays is not defined.
    fn open_window(&mut self, entries: &[PageEntry]) -> Result<&mut [u8]>;

    /// The pages of the open window have their contents: turns the pfns in page tables into machine
    /// frames and unmaps the window.
    fn close_window(&mut self) -> Result<()>;

    /// Makes plain pages of `pfns` ([valid](Self::pfn_is_valid), ascending, each once) that hold nothing
    /// but zeroes, whatever they were before. Fresh memory is not promised to be zero.
    ///
    /// `coming` is what a window will be opened for next. What is not populated of both is populated
    /// together, so that they can share large pages.
    fn clear_pages(&mut self, pfns: &[Pfn], coming: &[PageEntry]) -> Result<()>;

    /// Like [`open_window`](Self::open_window), but for comparing: nothing is populated and
    /// `expected` holds what the stream says the pages contain. Gives the pfns that differ.
    fn differing_pages(&mut self, entries: &[PageEntry], expected: &[u8]) -> Result<Vec<Pfn>>;

    /// The stream is complete: sets vCPU or HVM state, pins page tables, writes the p2m, seeds the
    /// grant table. The domain is ready to be introduced and unpaused.
    fn finish(&mut self) -> Result<RingFrames>;
}
