//! One page of test data: what it holds follows from its index and a sequence number alone, so a
//! page that was lost, stale, torn or put in another page's place is told from the right one.

/// Size of a page in bytes, the unit in which a guest is migrated.
pub(crate) const PAGE_BYTES: usize = 4096;

const WORDS: usize = PAGE_BYTES / 8;
const SEQ: usize = 0;
const INDEX: usize = 1;
const BODY: std::ops::Range<usize> = 2..WORDS - 1;
const CHECKSUM: usize = WORDS - 1;

/// Words: sequence number, page index, pseudo-random body, checksum of all before it.
#[derive(Clone, PartialEq, Eq)]
#[repr(C, align(4096))]
pub(crate) struct Page([u64; WORDS]);

impl Page {
    /// A page of zeroes: not valid for any index, for a filled page never has a zero checksum
    /// together with a zero body.
    pub(crate) fn zeroed() -> Self {
        Self([0; WORDS])
    }

    /// Makes this the page `index` as written for the `seq`th time.
    pub(crate) fn fill(&mut self, index: u64, seq: u64) {
        self.0[SEQ] = seq;
        self.0[INDEX] = index;
        let mut sum = fold(fold(0, seq), index);
        let mut state = mix(mix(index) ^ seq) | 1;
        for word in &mut self.0[BODY] {
            // xorshift64: each word depends on the one before, so the compiler emits no vector
            // code, which an emulated CPU runs slower than this.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *word = state;
            sum = fold(sum, state);
        }
        self.0[CHECKSUM] = sum;
    }

    /// The sequence number that this page holds, right or wrong.
    pub(crate) fn seq(&self) -> u64 {
        self.0[SEQ]
    }

    /// The page as it is on a disk, whatever machine reads it.
    pub(crate) fn write_to(&self, bytes: &mut [u8; PAGE_BYTES]) {
        for (word, place) in self.0.iter().zip(bytes.chunks_exact_mut(8)) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Offset of the first byte in which the two pages differ.
    pub(crate) fn first_difference(&self, other: &Self) -> Option<usize> {
        let (word, (ours, theirs)) =
            self.0.iter().zip(&other.0).enumerate().find(|(_, (ours, theirs))| ours != theirs)?;
        Some(word * 8 + (ours ^ theirs).trailing_zeros() as usize / 8)
    }

    /// Flips bits of one byte.
    #[cfg(test)]
    pub(crate) fn corrupt(&mut self, offset: usize, bits: u8) {
        self.0[offset / 8] ^= u64::from(bits) << (offset % 8 * 8);
    }
}

/// The finaliser of splitmix64: neighbouring numbers become unrelated ones.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn fold(sum: u64, word: u64) -> u64 {
    (sum ^ word).rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(index: u64, seq: u64) -> Page {
        let mut page = Page::zeroed();
        page.fill(index, seq);
        page
    }

    #[test]
    fn every_single_wrong_byte_is_seen_at_its_offset() {
        let right = page(7, 3);
        for offset in 0..PAGE_BYTES {
            for bits in [0x01, 0x80, 0xff] {
                let mut wrong = right.clone();
                wrong.corrupt(offset, bits);
                assert_eq!(right.first_difference(&wrong), Some(offset));
            }
        }
        assert_eq!(right.first_difference(&page(7, 3)), None);
    }

    #[test]
    fn index_and_seq_each_change_header_body_and_checksum() {
        let right = page(7, 3);
        for other in [page(7, 4), page(8, 3), page(3, 7)] {
            let same = right.0.iter().zip(&other.0).filter(|(a, b)| a == b).count();
            assert!(same <= 1, "only the header word that was not changed may be equal: {same}");
            assert_ne!(right.0[CHECKSUM], other.0[CHECKSUM]);
        }
    }

    #[test]
    fn a_page_of_zeroes_is_never_a_written_page() {
        assert!(Page::zeroed().first_difference(&page(0, 0)).is_some());
    }
}
