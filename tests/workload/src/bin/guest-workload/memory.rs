//! The memory under test, and the table of what was last written to each page of it.
//!
//! The table lies in the same guest's memory and travels with it. It is kept twice, plain and
//! complemented, on different pages: a fault in the table is told from a fault in a page. It is small, for
//! every write to a page is also one to the table, and the guest writes no more than it has to.

use crate::page::{Page, mix};
use serde_json::{Value, json};

/// Which step came upon a wrong page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundBy {
    /// The slow sweep in the background.
    Sweep,
    /// A full pass asked for from outside.
    Verify,
    /// The writer, which looks at a page before it overwrites it.
    Rewrite,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The page differs from what was last written, first at this byte.
    Page {
        /// Offset in the page, in bytes.
        byte_offset: usize,
    },
    /// The two copies of the table disagree about this page.
    Table,
}

/// A page that does not hold what was last written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) index: usize,
    pub(crate) expected_seq: u64,
    pub(crate) actual_seq: u64,
    pub(crate) fault: Fault,
    pub(crate) found_by: FoundBy,
}

impl Wrong {
    pub(crate) fn to_json(self) -> Value {
        let (fault, byte_offset) = match self.fault {
            Fault::Page { byte_offset } => ("page", Some(byte_offset)),
            Fault::Table => ("table", None),
        };
        json!({
            "page": self.index,
            "expected_seq": self.expected_seq,
            "actual_seq": self.actual_seq,
            "fault": fault,
            "byte_offset": byte_offset,
            "found_by": format!("{:?}", self.found_by).to_lowercase(),
        })
    }
}

/// Pages and table.
pub(crate) struct Memory {
    pages: Vec<Page>,
    /// What a page holds is longer, but counts no further.
    seqs: Vec<u32>,
    seq_complements: Vec<u32>,
    expected: Box<Page>,
}

impl Memory {
    /// Allocates `count` pages and writes every one of them.
    ///
    /// # Errors
    /// When the pages or the table cannot be allocated.
    pub(crate) fn filled(count: usize) -> Result<Self, std::collections::TryReserveError> {
        let mut memory = Self {
            pages: Vec::new(),
            seqs: Vec::new(),
            seq_complements: Vec::new(),
            expected: Box::new(Page::zeroed()),
        };
        memory.pages.try_reserve_exact(count)?;
        memory.seqs.try_reserve_exact(count)?;
        memory.seq_complements.try_reserve_exact(count)?;
        for index in 0..count {
            // Pages start at different numbers, so that no two are alike in their headers.
            let seq = (mix(index as u64) >> 32) as u32;
            memory.expected.fill(index as u64, seq.into());
            memory.pages.push((*memory.expected).clone());
            memory.seqs.push(seq);
            memory.seq_complements.push(!seq);
        }
        Ok(memory)
    }

    pub(crate) fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Compares a page, every byte of it, with what was last written there.
    pub(crate) fn check(&mut self, index: usize, found_by: FoundBy) -> Option<Wrong> {
        let seq = self.seqs[index];
        let (expected_seq, page) = (u64::from(seq), &self.pages[index]);
        let wrong =
            |fault| Some(Wrong { index, expected_seq, actual_seq: page.seq(), fault, found_by });
        if self.seq_complements[index] != !seq {
            return wrong(Fault::Table);
        }
        self.expected.fill(index as u64, expected_seq);
        let byte_offset = self.expected.first_difference(page)?;
        wrong(Fault::Page { byte_offset })
    }

    /// Writes a page anew. It is checked first: overwriting a lost page would hide the loss.
    pub(crate) fn rewrite(&mut self, index: usize) -> Option<Wrong> {
        let wrong = self.check(index, FoundBy::Rewrite);
        let seq = self.seqs[index].wrapping_add(1);
        self.seqs[index] = seq;
        self.seq_complements[index] = !seq;
        self.pages[index].fill(index as u64, seq.into());
        wrong
    }

    /// Flips bits of one byte of a page.
    #[cfg(test)]
    pub(crate) fn corrupt(&mut self, index: usize, offset: usize, bits: u8) {
        self.pages[index].corrupt(offset, bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::PAGE_BYTES;

    fn memory() -> Memory {
        Memory::filled(4).expect("four pages")
    }

    fn wrong_pages(memory: &mut Memory) -> Vec<Wrong> {
        (0..memory.page_count()).filter_map(|index| memory.check(index, FoundBy::Verify)).collect()
    }

    #[test]
    fn pages_are_aligned_and_right_after_any_number_of_rewrites() {
        let mut memory = memory();
        assert_eq!(std::ptr::from_ref(&memory.pages[0]) as usize % PAGE_BYTES, 0);
        for round in 0..10 {
            assert_eq!(memory.rewrite(round % 3), None);
            assert_eq!(wrong_pages(&mut memory), []);
        }
    }

    #[test]
    fn any_wrong_byte_makes_its_page_wrong_and_no_other() {
        let mut memory = memory();
        for offset in 0..PAGE_BYTES {
            memory.corrupt(2, offset, 0x10);
            let wrong = wrong_pages(&mut memory);
            assert_eq!(wrong.len(), 1);
            assert_eq!(wrong[0].index, 2);
            assert_eq!(wrong[0].fault, Fault::Page { byte_offset: offset });
            memory.corrupt(2, offset, 0x10);
        }
        assert_eq!(wrong_pages(&mut memory), []);
    }

    #[test]
    fn a_stale_page_is_wrong_though_it_is_sound_in_itself() {
        let mut memory = memory();
        let stale = memory.pages[1].clone();
        memory.rewrite(1);
        memory.pages[1] = stale;
        let wrong = wrong_pages(&mut memory);
        assert_eq!(wrong.len(), 1);
        assert_eq!(wrong[0].actual_seq + 1, wrong[0].expected_seq);
    }

    #[test]
    fn swapped_pages_are_both_wrong() {
        let mut memory = memory();
        memory.pages.swap(0, 3);
        let indices: Vec<_> = wrong_pages(&mut memory).iter().map(|wrong| wrong.index).collect();
        assert_eq!(indices, [0, 3]);
    }

    #[test]
    fn the_writer_reports_a_wrong_page_before_it_heals_it() {
        let mut memory = memory();
        memory.corrupt(0, 100, 1);
        let wrong = memory.rewrite(0).expect("the page was wrong");
        assert_eq!((wrong.found_by, wrong.index), (FoundBy::Rewrite, 0));
        assert_eq!(wrong_pages(&mut memory), []);
    }

    #[test]
    fn a_fault_in_either_copy_of_the_table_is_told_from_a_wrong_page() {
        for complement in [false, true] {
            let mut memory = memory();
            let table = if complement { &mut memory.seq_complements } else { &mut memory.seqs };
            table[2] ^= 1 << 20;
            let wrong = wrong_pages(&mut memory);
            assert_eq!(wrong.len(), 1);
            assert_eq!((wrong[0].index, wrong[0].fault), (2, Fault::Table));
        }
    }
}
