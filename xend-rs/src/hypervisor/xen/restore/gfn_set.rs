//! Which guest frames are populated, for guests that do not say how large they are.

use std::collections::HashMap;

use crate::hypervisor::types::Pfn;

/// Pfns in one chunk: what a superpage spans.
const CHUNK_PFNS: u64 = 512;
const CHUNK_WORDS: usize = (CHUNK_PFNS / 64) as usize;

/// A sparse set of pfns.
///
/// An HVM stream announces no highest pfn, so a bitmap up to the highest that arrives would let a
/// single page claim gigabytes here. This one grows with the pages that the domain really got,
/// which Xen limits.
#[derive(Debug, Default)]
pub(super) struct GfnSet {
    chunks: HashMap<u64, [u64; CHUNK_WORDS]>,
}

impl GfnSet {
    /// Adds `pfn`.
    pub(super) fn insert(&mut self, pfn: Pfn) {
        let (chunk, word, bit) = position(pfn);
        self.chunks.entry(chunk).or_default()[word] |= bit;
    }

    /// Whether `pfn` is in the set.
    pub(super) fn contains(&self, pfn: Pfn) -> bool {
        let (chunk, word, bit) = position(pfn);
        self.chunks.get(&chunk).is_some_and(|words| words[word] & bit != 0)
    }
}

fn position(pfn: Pfn) -> (u64, usize, u64) {
    let within = pfn.0 % CHUNK_PFNS;
    (pfn.0 / CHUNK_PFNS, (within / 64) as usize, 1 << (within % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holds_what_was_inserted_and_nothing_else(
            pfns in prop::collection::vec(prop_oneof![0u64..2048, any::<u64>()], 0..100),
            probes in prop::collection::vec(prop_oneof![0u64..2048, any::<u64>()], 0..100),
        ) {
            let mut set = GfnSet::default();
            let model: BTreeSet<u64> = pfns.iter().copied().collect();
            for pfn in &pfns {
                set.insert(Pfn(*pfn));
            }
            for pfn in pfns.iter().chain(&probes) {
                prop_assert_eq!(set.contains(Pfn(*pfn)), model.contains(pfn));
            }
        }
    }

    #[test]
    fn far_apart_pfns_cost_a_chunk_each() {
        let mut set = GfnSet::default();
        set.insert(Pfn(0));
        set.insert(Pfn(511));
        set.insert(Pfn(u64::MAX));
        assert_eq!(set.chunks.len(), 2);
    }
}
