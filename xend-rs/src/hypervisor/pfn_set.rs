//! A set of pfns as a bitmap: dirty pages, owed pages, the pages of a round.

use std::ops::Range;

use super::types::Pfn;

/// A set of pfns below a fixed bound, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PfnSet {
    words: Vec<u64>,
    bound_pfns: u64,
}

impl PfnSet {
    /// An empty set that can hold the pfns `0..bound_pfns`.
    pub fn empty(bound_pfns: u64) -> Self {
        let words = usize::try_from(bound_pfns.div_ceil(64)).expect("a pfn bitmap fits in memory");
        Self { words: vec![0; words], bound_pfns }
    }

    /// The set of all pfns `0..bound_pfns`.
    pub fn full(bound_pfns: u64) -> Self {
        let mut set = Self::empty(bound_pfns);
        set.words.fill(!0);
        set.mask_tail();
        set
    }

    /// One more than the highest pfn that the set can hold.
    pub fn bound_pfns(&self) -> u64 {
        self.bound_pfns
    }

    /// Adds `pfn`.
    ///
    /// # Panics
    /// If `pfn` is not below the bound.
    pub fn insert(&mut self, pfn: Pfn) {
        let (word, bit) = self.position(pfn);
        self.words[word] |= bit;
    }

    /// Takes `pfn` out.
    ///
    /// # Panics
    /// If `pfn` is not below the bound.
    pub fn remove(&mut self, pfn: Pfn) {
        let (word, bit) = self.position(pfn);
        self.words[word] &= !bit;
    }

    /// Whether `pfn` is in the set; pfns beyond the bound are not.
    pub fn contains(&self, pfn: Pfn) -> bool {
        pfn.0 < self.bound_pfns && {
            let (word, bit) = self.position(pfn);
            self.words[word] & bit != 0
        }
    }

    /// How many pfns are in the set.
    pub fn len_pfns(&self) -> u64 {
        self.words.iter().map(|w| u64::from(w.count_ones())).sum()
    }

    /// Whether no pfn is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&w| w == 0)
    }

    /// Takes every pfn out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Adds all pfns of `other`.
    ///
    /// # Panics
    /// If the bounds differ.
    pub fn union_with(&mut self, other: &Self) {
        assert_eq!(self.bound_pfns, other.bound_pfns, "pfn sets of one guest have one bound");
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    /// Adds the pfns of a bitmap in Xen's layout: bit `n % 64` of word `n / 64` is pfn `n`.
    /// Words and bits past the bound are left out.
    pub fn union_with_words(&mut self, words: impl IntoIterator<Item = u64>) {
        for (mine, theirs) in self.words.iter_mut().zip(words) {
            *mine |= theirs;
        }
        self.mask_tail();
    }

    /// The pfns in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Pfn> + '_ {
        self.iter_words(0..self.words.len())
    }

    /// Those of `pfns` in ascending order.
    pub fn iter_in(&self, pfns: Range<u64>) -> impl Iterator<Item = Pfn> + '_ {
        let end = pfns.end.min(self.bound_pfns);
        let words = (pfns.start.min(end) / 64) as usize..end.div_ceil(64) as usize;
        self.iter_words(words).filter(move |pfn| pfns.contains(&pfn.0))
    }

    fn iter_words(&self, words: Range<usize>) -> impl Iterator<Item = Pfn> + '_ {
        let first = words.start;
        self.words[words].iter().enumerate().flat_map(move |(index, &word)| {
            std::iter::successors((word != 0).then_some(word), |w| {
                let rest = w & (w - 1);
                (rest != 0).then_some(rest)
            })
            .map(move |w| Pfn((first + index) as u64 * 64 + u64::from(w.trailing_zeros())))
        })
    }

    fn position(&self, pfn: Pfn) -> (usize, u64) {
        assert!(pfn.0 < self.bound_pfns, "{pfn} is beyond the set's {} pfns", self.bound_pfns);
        ((pfn.0 / 64) as usize, 1 << (pfn.0 % 64))
    }

    fn mask_tail(&mut self) {
        let used = self.bound_pfns % 64;
        if let (Some(last), true) = (self.words.last_mut(), used != 0) {
            *last &= (1 << used) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set_of_numbers(
            bound in 1u64..300,
            ops in prop::collection::vec((any::<bool>(), any::<u64>()), 0..200),
            part in (0u64..320, 0u64..320),
        ) {
            let in_part = |pfn: &Pfn| (part.0..part.1).contains(&pfn.0);
            let (mut set, mut model) = (PfnSet::empty(bound), BTreeSet::new());
            for (add, n) in ops {
                let pfn = Pfn(n % bound);
                if add { set.insert(pfn); model.insert(pfn); } else { set.remove(pfn); model.remove(&pfn); }
                prop_assert_eq!(set.contains(pfn), add);
            }
            prop_assert_eq!(set.len_pfns(), model.len() as u64);
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert!(set.iter_in(part.0..part.1).eq(model.iter().copied().filter(in_part)));
            prop_assert_eq!(set.is_empty(), model.is_empty());
        }

        #[test]
        fn xen_bitmap_bits_beyond_the_bound_are_ignored(bound in 1u64..200) {
            let mut set = PfnSet::empty(bound);
            set.union_with_words(std::iter::repeat_n(!0, 10));
            prop_assert_eq!(&set, &PfnSet::full(bound));
            prop_assert_eq!(set.len_pfns(), bound);
            prop_assert!(!set.contains(Pfn(bound)));
        }
    }
}
