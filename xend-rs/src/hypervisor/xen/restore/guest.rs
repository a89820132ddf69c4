//! What differs between the kinds of guest that are restored.

use super::calls::Target;
use crate::hypervisor::destination::{RingFrames, Rings};
use crate::hypervisor::error::Result;
use crate::hypervisor::types::{PAGE_SIZE, Pfn};
use crate::stream::libxc::{GuestType, PageEntry, PageType, Record};

/// What checks of the stream's values give: the complaint, for the caller to put the domain to.
pub(super) type Check<T> = std::result::Result<T, String>;

/// A guest on its way into a domain: how its pfns become frames and what its state means.
pub(super) trait Guest {
    /// What a stream for it must say that it is.
    fn guest_type(&self) -> GuestType;

    /// Whether it can have a page at `pfn`.
    fn pfn_is_valid(&self, pfn: Pfn) -> bool;

    /// Whether a page of it can be of this type.
    fn type_is_valid(&self, page_type: PageType) -> bool;

    /// The frame to map for `pfn`, if it is populated.
    fn frame(&self, pfn: Pfn) -> Option<u64>;

    /// Populates `pfns`: valid ones, each once, none populated yet.
    fn populate(&mut self, target: &Target, pfns: &[Pfn]) -> Result<()>;

    /// Notes what a page is said to be.
    fn note_type(&mut self, entry: &PageEntry);

    /// Makes the contents of `entries` (one page each in `pages`) fit this host, and populates
    /// what they refer to.
    fn localise(&mut self, target: &Target, entries: &[PageEntry], pages: &mut [u8]) -> Result<()>;

    /// Makes one page's contents fit this host if that takes nothing new. Says if it could.
    fn try_localise(&self, page_type: PageType, page: &mut [u8; PAGE_SIZE]) -> bool;

    /// Takes in a record that only this kind of guest has.
    fn apply(&mut self, target: &Target, record: Record) -> Result<()>;

    /// Sets everything that had to wait for the memory.
    fn finish(&mut self, target: &Target, rings: &Rings) -> Result<RingFrames>;
}
