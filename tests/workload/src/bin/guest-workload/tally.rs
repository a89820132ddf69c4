//! Counting what was checked and what was found wrong.

use crate::memory::Wrong;

/// How many wrong pages are described one by one; the rest are only counted.
pub(crate) const DESCRIBED: usize = 8;

/// Running totals since the start.
pub(crate) struct Tally {
    checked: u64,
    wrong: u64,
    first_wrong: Vec<Wrong>,
    /// Pages already counted as wrong and not rewritten since.
    counted: Vec<bool>,
}

impl Tally {
    pub(crate) fn new(page_count: usize) -> Self {
        Self { checked: 0, wrong: 0, first_wrong: Vec::new(), counted: vec![false; page_count] }
    }

    /// Takes note of one check. A page that stays wrong is counted once, however often it is
    /// looked at. Returns the fault when it is one of the first few, to be told at once.
    pub(crate) fn note(&mut self, index: usize, result: Option<Wrong>) -> Option<Wrong> {
        self.checked += 1;
        let wrong = result?;
        if std::mem::replace(&mut self.counted[index], true) {
            return None;
        }
        self.wrong += 1;
        if self.first_wrong.len() == DESCRIBED {
            return None;
        }
        self.first_wrong.push(wrong);
        Some(wrong)
    }

    /// The page now holds new data: a later fault there is another one.
    pub(crate) fn rewritten(&mut self, index: usize) {
        // Most are not, and a write would make a page of this table travel once more.
        if self.counted[index] {
            self.counted[index] = false;
        }
    }

    /// Pages checked, each as often as it was.
    pub(crate) fn checked(&self) -> u64 {
        self.checked
    }

    /// Pages found wrong.
    pub(crate) fn wrong(&self) -> u64 {
        self.wrong
    }

    /// The first few of them.
    pub(crate) fn first_wrong(&self) -> &[Wrong] {
        &self.first_wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{FoundBy, Memory};

    #[test]
    fn a_lasting_fault_counts_once_and_a_new_one_again() {
        let mut memory = Memory::filled(2).expect("two pages");
        let mut tally = Tally::new(2);
        memory.corrupt(1, 5, 1);
        for _ in 0..3 {
            let result = memory.check(1, FoundBy::Sweep);
            tally.note(1, result);
        }
        assert_eq!((tally.checked(), tally.wrong()), (3, 1));
        let result = memory.rewrite(1);
        tally.note(1, result);
        tally.rewritten(1);
        assert_eq!(tally.wrong(), 1, "the writer met the same fault");
        memory.corrupt(1, 5, 1);
        let result = memory.check(1, FoundBy::Sweep);
        assert!(tally.note(1, result).is_some());
        assert_eq!(tally.wrong(), 2);
    }

    #[test]
    fn only_the_first_few_are_described_but_all_are_counted() {
        let mut memory = Memory::filled(20).expect("twenty pages");
        let mut tally = Tally::new(20);
        let mut described = 0;
        for index in 0..20 {
            memory.corrupt(index, 0, 1);
            let result = memory.check(index, FoundBy::Sweep);
            described += usize::from(tally.note(index, result).is_some());
        }
        assert_eq!((tally.wrong(), tally.first_wrong().len(), described), (20, 8, 8));
    }
}
