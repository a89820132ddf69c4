//! What the receiver has, as one digest of 16 bytes for each page.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_128;

use crate::hypervisor::types::Pfn;
use crate::hypervisor::{PfnSet, Sieve};
use crate::stream::libxc::{PageEntry, PageType};

/// Pfns whose digests are allocated together (64 KiB), when the first of them has memory. A guest
/// may have many more pfns than pages: Linux reserves some to add memory later.
const BLOCK_PFNS: u64 = 4096;

/// The digest of a pfn that the receiver has no page for: never sent, or taken back.
const NO_PAGE: u128 = 0;

/// A digest, in halves that can be read and written by whichever reader has the page.
type Cell = [AtomicU64; 2];

/// The digests of what was last sent, and which pages were found to differ from it.
///
/// What is digested is what travels: the private copy, its page tables in terms of pfns. So a page
/// table differs too when it is as it was and a frame that it points to now belongs to another pfn.
pub(in crate::migration) struct DigestTable {
    blocks: Vec<OnceLock<Box<[Cell]>>>,
    /// Pages that were let through since the last [`take_changed`](Self::take_changed), one bit each.
    changed: Vec<AtomicU64>,
    pfn_count: u64,
}

impl DigestTable {
    /// A table for the pfns `0..pfn_count`, of which the receiver has none.
    pub(in crate::migration) fn new(pfn_count: u64) -> Self {
        let in_memory = |n: u64| usize::try_from(n).expect("a pfn bitmap fits in memory");
        Self {
            blocks: std::iter::repeat_with(OnceLock::new)
                .take(in_memory(pfn_count.div_ceil(BLOCK_PFNS)))
                .collect(),
            changed: zeroes(in_memory(pfn_count.div_ceil(64))),
            pfn_count,
        }
    }

    /// The pages that were let through since the last call.
    pub(in crate::migration) fn take_changed(&mut self) -> PfnSet {
        let mut changed = PfnSet::empty(self.pfn_count);
        changed
            .union_with_words(self.changed.iter_mut().map(|word| std::mem::take(word.get_mut())));
        changed
    }

    /// Puts the digest of `pfn` to `new` and says whether it was another one.
    fn replace(&self, pfn: Pfn, new: u128) -> bool {
        let (block, index) = ((pfn.0 / BLOCK_PFNS) as usize, (pfn.0 % BLOCK_PFNS) as usize);
        let cells = match self.blocks[block].get() {
            Some(cells) => cells,
            None if new == NO_PAGE => return false,
            None => self.blocks[block].get_or_init(|| {
                std::iter::repeat_with(Cell::default).take(BLOCK_PFNS as usize).collect()
            }),
        };
        let [low, high] = &cells[index];
        let halves = (new as u64, (new >> 64) as u64);
        // No other reader has this pfn in the same pass, and a pass ends before the next begins.
        if (low.load(Ordering::Relaxed), high.load(Ordering::Relaxed)) == halves {
            return false;
        }
        low.store(halves.0, Ordering::Relaxed);
        high.store(halves.1, Ordering::Relaxed);
        true
    }
}

impl Sieve for DigestTable {
    fn lets_through(&self, entry: PageEntry, page: &[u8]) -> bool {
        let differs = self.replace(entry.pfn, digest(entry.page_type, page));
        if differs {
            self.changed[(entry.pfn.0 / 64) as usize]
                .fetch_or(1 << (entry.pfn.0 % 64), Ordering::Relaxed);
        }
        differs
    }
}

/// The digest of a page and what it is. Two pages of different types never have the same one for the
/// same contents, for the type decides what the receiver makes of them.
fn digest(page_type: PageType, page: &[u8]) -> u128 {
    /// An odd number, so that different types give different products.
    const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    let contents = match page_type {
        PageType::Invalid => return NO_PAGE,
        _ if page_type.has_data() => xxh3_128(page),
        _ => 0,
    };
    let digest = contents ^ SPREAD.wrapping_mul(u128::from(page_type.bits()) + 1);
    // That one number is taken.
    if digest == NO_PAGE { 1 } else { digest }
}

fn zeroes(count: usize) -> Vec<AtomicU64> {
    std::iter::repeat_with(AtomicU64::default).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::types::PAGE_SIZE;

    fn entry(pfn: u64, page_type: PageType) -> PageEntry {
        PageEntry { pfn: Pfn(pfn), page_type }
    }

    #[test]
    fn a_page_is_let_through_when_it_differs_from_what_was_sent() {
        let table = DigestTable::new(10_000);
        let mut page = [0; PAGE_SIZE];
        let normal = entry(9_999, PageType::Normal);
        assert!(table.lets_through(normal, &page));
        assert!(!table.lets_through(normal, &page));
        page[4095] = 1;
        assert!(table.lets_through(normal, &page));
        // The same bytes as something else.
        assert!(table.lets_through(entry(9_999, PageType::L1), &page));
        assert!(table.lets_through(entry(9_999, PageType::L1Pinned), &page));
        assert!(!table.lets_through(entry(9_999, PageType::L1Pinned), &page));
    }

    #[test]
    fn pages_that_vanish_and_appear_are_noticed_and_holes_cost_nothing() {
        let table = DigestTable::new(3 * BLOCK_PFNS);
        let (hole, page) = (entry(5000, PageType::Invalid), entry(5000, PageType::Normal));
        assert!(!table.lets_through(hole, &[]));
        assert!(table.blocks.iter().all(|block| block.get().is_none()));
        assert!(table.lets_through(page, &[7; PAGE_SIZE]));
        assert!(table.lets_through(hole, &[]));
        assert!(!table.lets_through(hole, &[]));
        assert!(table.lets_through(page, &[7; PAGE_SIZE]));
        assert_eq!(table.blocks.iter().filter(|block| block.get().is_some()).count(), 1);
        for odd in [PageType::Broken, PageType::AllocOnly] {
            assert!(table.lets_through(entry(1, odd), &[]));
            assert!(!table.lets_through(entry(1, odd), &[]));
        }
    }

    #[test]
    fn what_changed_is_told_once() {
        let mut table = DigestTable::new(130);
        for pfn in [0, 64, 129] {
            assert!(table.lets_through(entry(pfn, PageType::Normal), &[1; PAGE_SIZE]));
        }
        let changed = table.take_changed();
        assert_eq!(changed.iter().collect::<Vec<_>>(), [Pfn(0), Pfn(64), Pfn(129)]);
        assert!(table.take_changed().is_empty());
    }

    #[test]
    fn no_two_types_share_a_digest() {
        let page = [0; PAGE_SIZE];
        let mut digests: Vec<_> =
            PageType::ALL.into_iter().map(|page_type| digest(page_type, &page)).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), PageType::ALL.len());
    }
}
