//! PAGE_DATA: the record nearly all bytes of a migration are in.
//!
//! Its head (record header, count, one word per pfn) is encoded and decoded here; the page
//! contents are not touched. A sender reserves [`head_bytes`] at the start of a buffer, puts the
//! pages behind it, then writes the head and sends the buffer with one write. A receiver decodes
//! the head and reads the pages to where they belong.

use crate::hypervisor::types::Pfn;
use crate::stream::error::{Expected, Fault, StreamErrorKind};
use crate::stream::libxc::record::RecordType;
use crate::stream::libxc::{MAX_RECORD_BYTES, PAGE_BYTES, PageType};

/// Most entries of one record that are accepted or sent. Stock Xen sends at most 1024; 128 MiB
/// has room for 32704 that all have contents.
pub const MAX_ENTRIES: usize = 32 << 10;

/// The highest pfn the format can hold: 52 bits.
pub const MAX_PFN: Pfn = Pfn((1 << 52) - 1);

const RECORD_HEADER_BYTES: usize = 8;
const COUNT_BYTES: usize = 8;
const TYPE_SHIFT: u32 = 60;

/// One page of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEntry {
    /// Where the page is in the guest.
    pub pfn: Pfn,
    /// What it is, and with that whether contents follow.
    pub page_type: PageType,
}

impl PageEntry {
    fn word(self) -> u64 {
        u64::from(self.page_type.bits()) << TYPE_SHIFT | self.pfn.0
    }
}

/// The head of a record that arrived. Its page contents are still in the stream: one page for
/// each entry that [has data](PageType::has_data), in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageDataHead {
    /// The pages, in stream order; never empty.
    pub entries: Vec<PageEntry>,
}

impl PageDataHead {
    /// Entries that have contents in the stream.
    pub fn data_pages(&self) -> usize {
        data_pages(&self.entries)
    }
}

/// Why a batch cannot be one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The format demands at least one page.
    #[error("a PAGE_DATA record needs at least one page")]
    Empty,
    /// More than 32 Ki entries or 128 MiB.
    #[error("{entries} pages, {data_pages} with contents, do not fit one PAGE_DATA record")]
    TooLarge {
        /// Entries in the batch.
        entries: usize,
        /// Of them with contents.
        data_pages: usize,
    },
    /// A pfn that does not fit in 52 bits.
    #[error("pfn {:#x} does not fit in 52 bits", .0.0)]
    PfnTooLarge(Pfn),
}

fn data_pages(entries: &[PageEntry]) -> usize {
    entries.iter().filter(|e| e.page_type.has_data()).count()
}

/// Bytes in front of the page contents of a record of `entries` pages: record header, count and
/// pfn words. It does not depend on the types, so room can be left before they are settled.
pub const fn head_bytes(entries: usize) -> usize {
    RECORD_HEADER_BYTES + COUNT_BYTES + entries * size_of::<u64>()
}

/// Appends the head of a record to `out`. The bytes of page contents that must follow are
/// returned.
pub fn encode_head(entries: &[PageEntry], out: &mut Vec<u8>) -> Result<usize, BatchError> {
    let start = out.len();
    out.resize(start + head_bytes(entries.len()), 0);
    write_head(entries, &mut out[start..]).inspect_err(|_| out.truncate(start))
}

/// Writes the head of a record over `out`, which is [`head_bytes`] long. The bytes of page
/// contents that must follow are returned.
///
/// # Panics
/// If `out` has another length.
pub fn write_head(entries: &[PageEntry], out: &mut [u8]) -> Result<usize, BatchError> {
    assert_eq!(out.len(), head_bytes(entries.len()), "room for the head of a PAGE_DATA record");
    if entries.is_empty() {
        return Err(BatchError::Empty);
    }
    let data_pages = data_pages(entries);
    let page_bytes = data_pages * PAGE_BYTES;
    let body_bytes = out.len() - RECORD_HEADER_BYTES + page_bytes;
    if entries.len() > MAX_ENTRIES || body_bytes > MAX_RECORD_BYTES as usize {
        return Err(BatchError::TooLarge { entries: entries.len(), data_pages });
    }
    let (head, words) = out.split_at_mut(RECORD_HEADER_BYTES + COUNT_BYTES);
    head[0..4].copy_from_slice(&RecordType::PageData.to_wire().to_le_bytes());
    head[4..8].copy_from_slice(&(body_bytes as u32).to_le_bytes());
    head[8..12].copy_from_slice(&(entries.len() as u32).to_le_bytes());
    head[12..16].fill(0);
    for (entry, word) in entries.iter().zip(words.chunks_exact_mut(size_of::<u64>())) {
        if entry.pfn > MAX_PFN {
            return Err(BatchError::PfnTooLarge(entry.pfn));
        }
        word.copy_from_slice(&entry.word().to_le_bytes());
    }
    Ok(page_bytes)
}

/// The entry count of a body of `body_bytes`, from its first 8 bytes.
pub(crate) fn decode_count(first: [u8; COUNT_BYTES], body_bytes: u32) -> Result<usize, Fault> {
    let word = u64::from_le_bytes(first);
    let (count, reserved) = ((word & 0xffff_ffff) as usize, word >> 32);
    if reserved != 0 {
        return Err(Fault::at(
            4,
            StreamErrorKind::NonZeroFill { what: "PAGE_DATA reserved field" },
        ));
    }
    if count == 0 {
        return Err(Fault::at(
            0,
            StreamErrorKind::BadField { what: "PAGE_DATA page count", found: 0 },
        ));
    }
    if count > MAX_ENTRIES {
        return Err(Fault::at(
            0,
            StreamErrorKind::TooLarge {
                what: "PAGE_DATA page count",
                found: count as u64,
                limit: MAX_ENTRIES as u64,
            },
        ));
    }
    let least = COUNT_BYTES + count * size_of::<u64>();
    if (body_bytes as usize) < least {
        return Err(wrong_length(body_bytes, Expected::AtLeast(least as u64)));
    }
    Ok(count)
}

/// The entries of a body of `body_bytes`, from its pfn words; no pfn may be above `last_pfn`.
pub(crate) fn decode_entries(
    words: &[u8],
    body_bytes: u32,
    last_pfn: Pfn,
) -> Result<Vec<PageEntry>, Fault> {
    let mut entries = Vec::with_capacity(words.len() / size_of::<u64>());
    let (words, _) = words.as_chunks::<{ size_of::<u64>() }>();
    for (i, word) in words.iter().enumerate() {
        let entry = decode_word(u64::from_le_bytes(*word), last_pfn)
            .map_err(|kind| Fault::at(COUNT_BYTES + i * size_of::<u64>(), kind))?;
        entries.push(entry);
    }
    let exact = COUNT_BYTES + size_of_val(words) + data_pages(&entries) * PAGE_BYTES;
    if body_bytes as usize != exact {
        return Err(wrong_length(body_bytes, Expected::Exactly(exact as u64)));
    }
    Ok(entries)
}

/// The fault of a body too short for a count.
pub(crate) fn too_short(body_bytes: u32) -> StreamErrorKind {
    wrong_length(body_bytes, Expected::AtLeast((COUNT_BYTES + size_of::<u64>()) as u64)).kind
}

fn decode_word(word: u64, last_pfn: Pfn) -> Result<PageEntry, StreamErrorKind> {
    // The reserved bits 59..52 count as part of the pfn: set, they put it out of every range.
    let pfn = word & ((1 << TYPE_SHIFT) - 1);
    let bits = (word >> TYPE_SHIFT) as u8;
    let last = last_pfn.min(MAX_PFN);
    if pfn > last.0 {
        return Err(StreamErrorKind::BadPfn { pfn, last: last.0 });
    }
    let page_type =
        PageType::from_bits(bits).ok_or(StreamErrorKind::BadPageType { pfn, page_type: bits })?;
    Ok(PageEntry { pfn: Pfn(pfn), page_type })
}

fn wrong_length(body_bytes: u32, expected: Expected) -> Fault {
    Fault::at(
        0,
        StreamErrorKind::BadLength {
            what: "PAGE_DATA body",
            found: u64::from(body_bytes),
            expected,
        },
    )
}
