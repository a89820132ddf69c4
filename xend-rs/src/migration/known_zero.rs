//! Pages that were made zero here and have not been sent since.
//!
//! To make a page zero is to map it and to read it, and a sender asks for 4096 of them in 8 bytes. So
//! that one who asks for the same pages without end does not keep a processor busy, what is known to be
//! zero is not looked at again. A sender that has a reason to tell of a page twice is never refused.

use std::collections::BTreeMap;

use crate::hypervisor::types::Pfn;
use crate::stream::libxc::PageRun;

/// Pfns that are kept together, when the first of them is made zero. So few that pages far apart, each of
/// which the guest has to have memory for, cost hardly more here than that.
const BLOCK_PFNS: u64 = 512;
const BLOCK_WORDS: usize = (BLOCK_PFNS / 64) as usize;

/// The pages that are known to be zero.
#[derive(Debug, Default)]
pub(super) struct KnownZero {
    blocks: BTreeMap<u64, [u64; BLOCK_WORDS]>,
}

impl KnownZero {
    /// Adds the pages of `run`, and to `new` those that it did not have yet.
    pub(super) fn add(&mut self, run: PageRun, new: &mut Vec<Pfn>) {
        let (mut next, end) = (run.first.0, run.first.0 + run.pages);
        while next < end {
            let block_end = (next / BLOCK_PFNS + 1) * BLOCK_PFNS;
            let words = self.blocks.entry(next / BLOCK_PFNS).or_default();
            for pfn in next..block_end.min(end) {
                let (word, bit) = place_of(pfn);
                if words[word] & bit == 0 {
                    words[word] |= bit;
                    new.push(Pfn(pfn));
                }
            }
            next = block_end;
        }
    }

    /// Forgets a page that is something else now.
    pub(super) fn remove(&mut self, pfn: Pfn) {
        if let Some(words) = self.blocks.get_mut(&(pfn.0 / BLOCK_PFNS)) {
            let (word, bit) = place_of(pfn.0);
            words[word] &= !bit;
        }
    }
}

/// The word of a pfn in its block, and its bit in that.
fn place_of(pfn: u64) -> (usize, u64) {
    ((pfn % BLOCK_PFNS / 64) as usize, 1 << (pfn % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn gives_each_page_once_until_it_is_something_else(
            ops in prop::collection::vec((any::<bool>(), 0u64..3000, 1u64..1500), 0..60),
        ) {
            let (mut known, mut model) = (KnownZero::default(), BTreeSet::new());
            for (add, first, pages) in ops {
                let run = PageRun { first: Pfn(first), pages };
                if add {
                    let mut new = Vec::new();
                    known.add(run, &mut new);
                    let expected: Vec<Pfn> = run.pfns().filter(|&pfn| model.insert(pfn)).collect();
                    prop_assert_eq!(new, expected);
                } else {
                    run.pfns().for_each(|pfn| known.remove(pfn));
                    model.retain(|&pfn| !(first..first + pages).contains(&pfn.0));
                }
            }
        }
    }
}
