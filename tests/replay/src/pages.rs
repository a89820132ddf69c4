//! A set of pages, one bit for each.

/// Pages by number, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSet {
    words: Vec<u64>,
    len: u64,
}

impl PageSet {
    /// None of `pages` pages.
    pub fn empty(pages: u32) -> Self {
        Self { words: vec![0; pages.div_ceil(64) as usize], len: 0 }
    }

    /// All of `pages` pages.
    pub fn full(pages: u32) -> Self {
        let mut set = Self::empty(pages);
        (0..pages).for_each(|page| set.insert(page));
        set
    }

    /// Adds a page.
    pub fn insert(&mut self, page: u32) {
        let (word, bit) = (&mut self.words[page as usize / 64], 1 << (page % 64));
        self.len += u64::from(*word & bit == 0);
        *word |= bit;
    }

    /// Takes a page out.
    pub fn remove(&mut self, page: u32) {
        let (word, bit) = (&mut self.words[page as usize / 64], 1 << (page % 64));
        self.len -= u64::from(*word & bit != 0);
        *word &= !bit;
    }

    /// Whether it has this page.
    pub fn contains(&self, page: u32) -> bool {
        self.words[page as usize / 64] & (1 << (page % 64)) != 0
    }

    /// How many it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes all of them out.
    pub fn clear(&mut self) {
        self.words.fill(0);
        self.len = 0;
    }

    /// Its pages, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            let next = |word: &u64| Some(word & (word - 1)).filter(|rest| *rest != 0);
            std::iter::successors((word != 0).then_some(word), next)
                .map(move |word| at as u32 * 64 + word.trailing_zeros())
        })
    }
}
