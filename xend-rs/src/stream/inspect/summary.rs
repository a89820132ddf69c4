//! What a whole stream held.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::hypervisor::types::Pfn;
use crate::stream::libxc::{PAGE_BYTES, PageEntry, PageRun, PageType};

/// Pfns in one word of the set of those seen.
const PFNS_PER_CHUNK: u64 = 512;

/// Counters over a stream.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Bytes of the whole stream.
    pub bytes: u64,
    /// Records of the libxl and the libxc layer, by name.
    pub records: BTreeMap<&'static str, u64>,
    /// Pages by type, in the order of [`PageType::ALL`].
    pub pages: [u64; PageType::ALL.len()],
    /// Pages that came as zero, without contents.
    pub zero_pages: u64,
    /// Pfns that came at least once.
    pub distinct_pfns: u64,
    /// Highest of them.
    pub highest_pfn: Option<Pfn>,
    /// Which pfns came: bits in chunks, so that memory follows the number of entries read and
    /// not the size of a pfn.
    seen: HashMap<u64, [u64; 8]>,
}

impl Summary {
    pub(super) fn count_record(&mut self, name: &'static str) {
        *self.records.entry(name).or_default() += 1;
    }

    pub(super) fn count_pages(&mut self, entries: &[PageEntry]) {
        for entry in entries {
            self.pages[index_of(entry.page_type)] += 1;
            self.see(entry.pfn);
        }
    }

    pub(super) fn count_zero_pages(&mut self, runs: &[PageRun]) {
        for pfn in runs.iter().flat_map(|run| run.pfns()) {
            self.zero_pages += 1;
            self.see(pfn);
        }
    }

    fn see(&mut self, pfn: Pfn) {
        self.highest_pfn = self.highest_pfn.max(Some(pfn));
        let (chunk, bit) = (pfn.0 / PFNS_PER_CHUNK, pfn.0 % PFNS_PER_CHUNK);
        let word = &mut self.seen.entry(chunk).or_default()[(bit / 64) as usize];
        let mask = 1 << (bit % 64);
        self.distinct_pfns += u64::from(*word & mask == 0);
        *word |= mask;
    }

    /// Entries of all PAGE_DATA records.
    pub fn page_entries(&self) -> u64 {
        self.pages.iter().sum()
    }

    /// Entries that had contents.
    pub fn data_pages(&self) -> u64 {
        PageType::ALL.into_iter().filter(|t| t.has_data()).map(|t| self.pages[index_of(t)]).sum()
    }
}

fn index_of(page_type: PageType) -> usize {
    PageType::ALL.iter().position(|t| *t == page_type).unwrap_or_default()
}

/// How many of each type there are among `entries`, such as `NOTAB 1000, XTAB 24`.
pub(super) fn types(entries: &[PageEntry]) -> String {
    let mut counts = [0_u64; PageType::ALL.len()];
    for entry in entries {
        counts[index_of(entry.page_type)] += 1;
    }
    type_counts(&counts)
}

fn type_counts(counts: &[u64; PageType::ALL.len()]) -> String {
    let present = PageType::ALL.into_iter().zip(counts).filter(|(_, count)| **count > 0);
    let parts: Vec<_> = present.map(|(t, count)| format!("{} {count}", t.name())).collect();
    parts.join(", ")
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: u64 = self.records.values().sum();
        let by_name: Vec<_> = self.records.iter().map(|(name, n)| format!("{name} {n}")).collect();
        writeln!(f, "records  {records}: {}", by_name.join(", "))?;
        let entries = self.page_entries();
        write!(f, "pages    {entries}: {}", type_counts(&self.pages))?;
        if self.zero_pages > 0 {
            write!(f, "; {} of zeroes", self.zero_pages)?;
        }
        let distinct = self.distinct_pfns;
        let again = entries + self.zero_pages - distinct;
        writeln!(f)?;
        write!(f, "pfns     {distinct} distinct, {again} sent again")?;
        if let Some(highest) = self.highest_pfn {
            write!(f, ", highest {:#x}", highest.0)?;
        }
        let contents = self.data_pages() * PAGE_BYTES as u64;
        write!(f, "\nbytes    {}, of them {contents} page contents", self.bytes)
    }
}
