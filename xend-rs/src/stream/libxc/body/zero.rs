//! Pages that hold nothing but zeroes: XEND_ZERO_PAGES.
//!
//! A record of xend's own, in runs of adjacent pfns. Each run is one word: its first pfn in the 52 bits
//! that the format has for one, and above them how many pages follow the first. The receiver makes
//! the pages plain ones and sees to it that they are zero, whatever they were before.

use super::{Context, entry_count};
use crate::hypervisor::types::Pfn;
use crate::stream::bytes::Fields;
use crate::stream::error::{Fault, StreamErrorKind};
use crate::stream::libxc::page_data::MAX_PFN;
use crate::stream::libxc::record::RecordType;

const PFN_BITS: u32 = 52;

/// Adjacent pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// The first of them.
    pub first: Pfn,
    /// How many: 1 to [`MAX_PAGES`](Self::MAX_PAGES).
    pub pages: u64,
}

impl PageRun {
    /// The longest run.
    pub const MAX_PAGES: u64 = 1 << (64 - PFN_BITS);
    /// Most runs of a record.
    pub const MAX_RUNS: usize = 4096;
    /// Most pages of a record, all runs together: 256 MiB of the guest. A few bytes must not make the
    /// receiver work without end.
    pub const MAX_RECORD_PAGES: u64 = 1 << 16;

    /// The runs that `pfns`, which ascend, are made of.
    pub fn all_of(pfns: impl IntoIterator<Item = Pfn>) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for pfn in pfns {
            match runs.last_mut() {
                Some(run) if run.end() == pfn && run.pages < Self::MAX_PAGES => run.pages += 1,
                _ => runs.push(Self { first: pfn, pages: 1 }),
            }
        }
        runs
    }

    /// Each of them.
    pub fn pfns(self) -> impl Iterator<Item = Pfn> + Clone {
        (self.first.0..self.end().0).map(Pfn)
    }

    /// One more than the last.
    fn end(self) -> Pfn {
        Pfn(self.first.0 + self.pages)
    }

    fn word(self) -> u64 {
        (self.pages - 1) << PFN_BITS | self.first.0
    }

    fn from_word(word: u64) -> Self {
        Self { first: Pfn(word & MAX_PFN.0), pages: (word >> PFN_BITS) + 1 }
    }

    /// Runs that ascend and keep apart, so that each page is there once.
    pub(crate) fn decode_all(
        fields: &mut Fields<'_>,
        context: &Context,
    ) -> Result<Vec<Self>, Fault> {
        const WORD: usize = size_of::<u64>();
        let count = entry_count(RecordType::ZeroPages, fields.left(), WORD)?;
        let mut runs = Vec::with_capacity(count);
        let (mut end, mut pages) = (Pfn(0), 0);
        for _ in 0..count {
            let run = Self::from_word(fields.u64()?);
            if run.first < end {
                let what = "XEND_ZERO_PAGES pfn out of order";
                let kind = StreamErrorKind::BadField { what, found: run.first.0 };
                return Err(fields.fault_before(WORD, kind));
            }
            end = run.end();
            if end.0 - 1 > context.last_page.0 {
                let kind = StreamErrorKind::BadPfn { pfn: end.0 - 1, last: context.last_page.0 };
                return Err(fields.fault_before(WORD, kind));
            }
            pages += run.pages;
            if pages > Self::MAX_RECORD_PAGES {
                let (what, limit) = ("XEND_ZERO_PAGES page count", Self::MAX_RECORD_PAGES);
                let kind = StreamErrorKind::TooLarge { what, found: pages, limit };
                return Err(fields.fault_before(WORD, kind));
            }
            runs.push(run);
        }
        Ok(runs)
    }

    pub(crate) fn encode_all(runs: &[Self], out: &mut Vec<u8>) {
        out.extend(runs.iter().flat_map(|run| run.word().to_le_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(words: &[u64], last_page: u64) -> Result<Vec<PageRun>, StreamErrorKind> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut fields = Fields::new("XEND_ZERO_PAGES", &bytes, true);
        let last_pfn = MAX_PFN;
        let context = Context {
            zero_fill: true,
            pv_width: None,
            last_pfn,
            last_page: Pfn(last_page),
            vcpus: 1,
        };
        PageRun::decode_all(&mut fields, &context).map_err(|fault| fault.kind)
    }

    #[test]
    fn runs_are_as_long_as_they_can_be() {
        let pfns = (0..5000).chain([6000, 6001, 6003]).map(Pfn);
        let run = |first, pages| PageRun { first: Pfn(first), pages };
        let runs = PageRun::all_of(pfns.clone());
        assert_eq!(runs, [run(0, 4096), run(4096, 904), run(6000, 2), run(6003, 1)]);
        assert!(runs.iter().flat_map(|run| run.pfns()).eq(pfns));
        let words: Vec<u64> = runs.iter().map(|run| run.word()).collect();
        assert_eq!(decode(&words, 6003).unwrap(), runs);
        assert_eq!(PageRun::from_word(!0), run(MAX_PFN.0, 4096));
    }

    #[test]
    fn what_is_out_of_order_or_bounds_is_refused() {
        let word = |first: u64, pages: u64| PageRun { first: Pfn(first), pages }.word();
        assert!(decode(&[word(5, 2), word(7, 1)], 7).is_ok());
        for (words, last) in [
            (vec![], 100),
            (vec![word(5, 2), word(6, 1)], 100),
            (vec![word(5, 1), word(5, 1)], 100),
            (vec![word(5, 1), word(4, 1)], 100),
            (vec![word(99, 2)], 99),
            (vec![!0], MAX_PFN.0),
        ] {
            assert!(decode(&words, last).is_err(), "{words:x?}");
        }
        let many = |count: u64| (0..count).map(|n| word(n * 4096, 4096)).collect::<Vec<_>>();
        assert!(decode(&many(16), 1 << 30).is_ok());
        let too_many = decode(&many(17), 1 << 30);
        assert!(matches!(too_many, Err(StreamErrorKind::TooLarge { .. })), "{too_many:?}");
    }
}
