//! Page tables on the way between hosts: machine frames to pfns (*normalise*) and back
//! (*localise*).

use crate::hypervisor::types::{Mfn, PAGE_SIZE, Pfn};
use crate::hypervisor::xen::foreign::Page;

/// Bits 12 to 51 of an entry: the frame it points to.
const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;
const FRAME_SHIFT: u32 = 12;
/// The entry maps something.
pub const PRESENT: u64 = 1 << 0;
/// In a table above level 1: the entry maps a superpage and is not a pointer to another table.
const SUPERPAGE: u64 = 1 << 7;

/// The slots of a level 4 table that Xen fills in for itself: the addresses from
/// 0xffff800000000000 to 0xffff87ffffffffff. The other host's Xen will put its own there.
const XEN_L4_SLOTS: std::ops::RangeInclusive<usize> = 256..=271;

/// Why a page cannot be translated as the page table it is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PteError {
    /// Xen gives PV guests no superpages, so this is no page table, or not yet or no longer one.
    #[error("maps a superpage in L{level}[{index}]: {pte:#x}")]
    Superpage {
        /// Level of the table.
        level: u8,
        /// Which entry.
        index: usize,
        /// The entry.
        pte: u64,
    },
    /// The entry points to a frame that is not the guest's own: it is being changed, or the guest
    /// has mapped memory of another domain, or it lies.
    #[error("refers to a frame that is not its own in L{level}[{index}]: {pte:#x}")]
    NotItsFrame {
        /// Level of the table.
        level: u8,
        /// Which entry.
        index: usize,
        /// The entry.
        pte: u64,
    },
}

/// Turns the machine frames in a copy of a level `level` page table (1 to 4) into pfns, and empties
/// the slots that are Xen's. `pfn_of` gives the pfn of a frame that is the guest's own.
///
/// # Errors
/// The first entry that cannot be translated. The page is then half done and of no use. Under a
/// running guest that is an everyday event, and the page has to be read again later.
pub fn normalise(
    page: &mut Page,
    level: u8,
    pfn_of: impl FnMut(Mfn) -> Option<Pfn>,
) -> Result<(), PteError> {
    let mut pfn_of = pfn_of;
    translate(page, level, |frame| pfn_of(Mfn(frame)).map(|pfn| pfn.0))
}

/// Turns the pfns in a level `level` page table (1 to 4) into machine frames: the other way round.
/// `mfn_of` gives the frame of a pfn that has one.
///
/// # Errors
/// The first entry that cannot be translated. The page is then half done and of no use.
pub fn localise(
    page: &mut Page,
    level: u8,
    mfn_of: impl FnMut(Pfn) -> Option<Mfn>,
) -> Result<(), PteError> {
    let mut mfn_of = mfn_of;
    translate(page, level, |frame| mfn_of(Pfn(frame)).map(|mfn| mfn.0))
}

/// The pfns that a normalised level `level` page table refers to: what must have frames before it
/// can be [localised](localise).
pub fn referenced_pfns(page: &Page, level: u8) -> impl Iterator<Item = Pfn> + '_ {
    let entries = page.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).enumerate();
    entries
        .filter(move |&(index, pte)| pte & PRESENT != 0 && !is_xens(level, index))
        .map(|(_, pte)| Pfn(frame_of(pte)))
}

fn translate(
    page: &mut Page,
    level: u8,
    mut to: impl FnMut(u64) -> Option<u64>,
) -> Result<(), PteError> {
    debug_assert!((1..=4).contains(&level), "x86-64 has page tables of four levels");
    for (index, bytes) in page.as_chunks_mut().0.iter_mut().enumerate() {
        let pte = u64::from_le_bytes(*bytes);
        if is_xens(level, index) {
            *bytes = [0; 8];
        } else if pte & PRESENT != 0 {
            if level > 1 && pte & SUPERPAGE != 0 {
                return Err(PteError::Superpage { level, index, pte });
            }
            let frame = to(frame_of(pte)).filter(|&frame| frame <= FRAME_MASK >> FRAME_SHIFT);
            let frame = frame.ok_or(PteError::NotItsFrame { level, index, pte })?;
            *bytes = (pte & !FRAME_MASK | frame << FRAME_SHIFT).to_le_bytes();
        }
    }
    Ok(())
}

/// Whether the slot of a table of this level belongs to Xen.
fn is_xens(level: u8, index: usize) -> bool {
    level == 4 && XEN_L4_SLOTS.contains(&index)
}

/// The frame that a present entry points to.
pub(super) fn frame_of(pte: u64) -> u64 {
    (pte & FRAME_MASK) >> FRAME_SHIFT
}

/// Whether the entry points to another table (or, at level 1, to a page).
pub(super) fn is_pointer(level: u8, pte: u64) -> bool {
    pte & PRESENT != 0 && (level == 1 || pte & SUPERPAGE == 0)
}

/// Entries in a page table.
pub const ENTRIES: usize = PAGE_SIZE / size_of::<u64>();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page_of(entries: &[(usize, u64)]) -> Page {
        let mut page = [0; PAGE_SIZE];
        for &(index, pte) in entries {
            page[index * 8..][..8].copy_from_slice(&pte.to_le_bytes());
        }
        page
    }

    fn entry(page: &Page, index: usize) -> u64 {
        u64::from_le_bytes(page[index * 8..][..8].try_into().expect("8 bytes"))
    }

    /// The frames 0x1000 to 0x1fff are the guest's, as its pfns 0 to 0xfff.
    fn pfn_of(mfn: Mfn) -> Option<Pfn> {
        (0x1000..0x2000).contains(&mfn.0).then(|| Pfn(mfn.0 - 0x1000))
    }

    fn mfn_of(pfn: Pfn) -> Option<Mfn> {
        (pfn.0 < 0x1000).then(|| Mfn(pfn.0 + 0x1000))
    }

    #[test]
    fn flags_stay_and_frames_change() {
        let flags = (1 << 63) | 0x67;
        let mut page = page_of(&[(0, flags | 0x1234 << 12), (511, 0x1fff << 12 | 1)]);
        assert_eq!(normalise(&mut page, 1, pfn_of), Ok(()));
        assert_eq!(entry(&page, 0), flags | 0x234 << 12);
        assert_eq!(entry(&page, 511), 0xfff << 12 | 1);
        assert_eq!(referenced_pfns(&page, 1).collect::<Vec<_>>(), [Pfn(0x234), Pfn(0xfff)]);
    }

    #[test]
    fn entries_that_are_not_present_are_left_alone() {
        let swap = 0xdead_beef_0000_0066;
        let mut page = page_of(&[(7, swap)]);
        assert_eq!(normalise(&mut page, 2, |_| None), Ok(()));
        assert_eq!(entry(&page, 7), swap);
    }

    #[test]
    fn xens_slots_are_emptied_in_level_4_only_whatever_is_in_them() {
        let present: Vec<_> = (250..280).map(|i| (i, 0x1001 << 12 | 1)).collect();
        let hostile = [(256, !0), (271, 0x9999 << 12 | 0x81)];
        let mut page = page_of(&[present.as_slice(), &hostile].concat());
        assert_eq!(normalise(&mut page, 4, pfn_of), Ok(()));
        for index in 250..280 {
            let expected = if (256..272).contains(&index) { 0 } else { 1 << 12 | 1 };
            assert_eq!(entry(&page, index), expected, "slot {index}");
        }

        let mut page = page_of(&present);
        assert_eq!(normalise(&mut page, 3, pfn_of), Ok(()));
        assert!((250..280).all(|index| entry(&page, index) == 1 << 12 | 1));
    }

    #[test]
    fn a_superpage_is_refused_above_level_1_where_the_bit_means_something_else() {
        let pte = 0x1001 << 12 | 0x81;
        for level in 2..=4 {
            let mut page = page_of(&[(3, pte)]);
            let refused = Err(PteError::Superpage { level, index: 3, pte });
            assert_eq!(normalise(&mut page, level, pfn_of), refused);
            assert_eq!(localise(&mut page_of(&[(3, pte)]), level, mfn_of), refused);
        }
        let mut page = page_of(&[(3, pte)]);
        assert_eq!(normalise(&mut page, 1, pfn_of), Ok(()));
        assert_eq!(entry(&page, 3), 1 << 12 | 0x81);
    }

    #[test]
    fn frames_of_others_are_refused() {
        for foreign in [0, 0xfff, 0x2000, FRAME_MASK >> FRAME_SHIFT] {
            let pte = foreign << 12 | 1;
            let refused = Err(PteError::NotItsFrame { level: 1, index: 9, pte });
            assert_eq!(normalise(&mut page_of(&[(9, pte)]), 1, pfn_of), refused);
        }
    }

    #[test]
    fn a_translation_that_does_not_fit_an_entry_is_refused() {
        let refused = Err(PteError::NotItsFrame { level: 1, index: 0, pte: 1 });
        assert_eq!(localise(&mut page_of(&[(0, 1)]), 1, |_| Some(Mfn::INVALID)), refused);
    }

    prop_compose! {
        /// A page table as it travels: any flags, any entries that are not present, pfns that exist.
        fn normalised(level: u8)(words in prop::collection::vec(any::<u64>(), 512)) -> Page {
            let tidy = words.iter().enumerate().map(|(index, &word)| {
                let word = if level > 1 { word & !SUPERPAGE } else { word };
                match (is_xens(level, index), word & PRESENT != 0) {
                    (true, _) => (index, 0),
                    (false, false) => (index, word),
                    (false, true) => (index, word & !FRAME_MASK | (word >> 20 & 0xfff) << 12),
                }
            });
            page_of(&tidy.collect::<Vec<_>>())
        }
    }

    fn any_level() -> impl Strategy<Value = (u8, Page)> {
        (1u8..=4).prop_flat_map(|level| (Just(level), normalised(level)))
    }

    proptest! {
        #[test]
        fn normalise_undoes_localise((level, page) in any_level()) {
            let mut there = page;
            prop_assert_eq!(localise(&mut there, level, mfn_of), Ok(()));
            for (index, word) in there.as_chunks().0.iter().enumerate() {
                let pte = u64::from_le_bytes(*word);
                prop_assert!(pte & PRESENT == 0 || (0x1000..0x2000).contains(&frame_of(pte)), "{index}");
            }
            prop_assert_eq!(normalise(&mut there, level, pfn_of), Ok(()));
            prop_assert!(there == page);
        }

        #[test]
        fn hostile_pages_are_refused_or_hold_nothing_but_pfns(
            words in prop::collection::vec(any::<u64>(), 512),
            level in 1u8..=4,
        ) {
            let entries: Vec<_> = words.iter().copied().enumerate().collect();
            let mut page = page_of(&entries);
            if normalise(&mut page, level, pfn_of).is_ok() {
                prop_assert!(referenced_pfns(&page, level).all(|pfn| pfn.0 < 0x1000));
            }
        }
    }
}
