//! How often each page is written.
//!
//! A byte for each page, as ageing page replacement keeps one: the highest bit says whether the guest
//! wrote the page during the last round, the next one whether during the round before, and so on. Read
//! as a number it orders pages by how soon they will probably be written again.

use crate::hypervisor::PfnSet;
use crate::hypervisor::types::Pfn;

/// Pfns that are kept together, when the first of them is written: of most guests most pages never are.
const BLOCK_PFNS: usize = 4096;

const JUST_WRITTEN: u8 = 0x80;
/// Written in each of the last four rounds.
const ALWAYS_WRITTEN: u8 = 0xf0;

/// The heat of each page.
pub(super) struct Heat {
    blocks: Vec<Option<Box<[u8; BLOCK_PFNS]>>>,
}

impl Heat {
    /// Classes that pages are put into to be sent in that order. What the three last rounds say of them
    /// is told apart; within a class it is better to keep to the order of pfns.
    pub(super) const CLASSES: u8 = 8;

    /// Of a guest of `pfn_count` pfns nothing is known.
    pub(super) fn new(pfn_count: u64) -> Self {
        let blocks = usize::try_from(pfn_count.div_ceil(BLOCK_PFNS as u64));
        let blocks = blocks.expect("a pfn bitmap fits in memory");
        Self { blocks: std::iter::repeat_with(|| None).take(blocks).collect() }
    }

    /// The heat of a page. 0 is none.
    pub(super) fn of(&self, pfn: Pfn) -> u8 {
        let (block, index) = place_of(pfn);
        self.blocks.get(block).and_then(Option::as_ref).map_or(0, |block| block[index])
    }

    /// The class of a page, below [`CLASSES`](Self::CLASSES). The coldest are 0.
    pub(super) fn class_of(&self, pfn: Pfn) -> u8 {
        self.of(pfn) / (256 / u16::from(Self::CLASSES)) as u8
    }

    /// Whether a page was written in each of the last rounds, and so will probably be in the next.
    pub(super) fn is_always_written(&self, pfn: Pfn) -> bool {
        self.of(pfn) >= ALWAYS_WRITTEN
    }

    /// A round is over, during which the guest wrote `written`. Of `unseen` nothing new is known.
    pub(super) fn note(&mut self, written: &PfnSet, unseen: Option<&PfnSet>) {
        let kept: Vec<(Pfn, u8)> = unseen
            .into_iter()
            .flat_map(PfnSet::iter)
            .map(|pfn| (pfn, self.of(pfn)))
            .filter(|&(_, heat)| heat > 0)
            .collect();
        for block in self.blocks.iter_mut().flatten() {
            block.iter_mut().for_each(|heat| *heat >>= 1);
        }
        for pfn in written.iter() {
            *self.heat_mut(pfn) |= JUST_WRITTEN;
        }
        for (pfn, heat) in kept {
            *self.heat_mut(pfn) = heat;
        }
    }

    fn heat_mut(&mut self, pfn: Pfn) -> &mut u8 {
        let (block, index) = place_of(pfn);
        &mut self.blocks[block].get_or_insert_with(|| Box::new([0; BLOCK_PFNS]))[index]
    }
}

fn place_of(pfn: Pfn) -> (usize, usize) {
    ((pfn.0 / BLOCK_PFNS as u64) as usize, (pfn.0 % BLOCK_PFNS as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pfns: &[u64]) -> PfnSet {
        let mut set = PfnSet::empty(20_000);
        pfns.iter().for_each(|&pfn| set.insert(Pfn(pfn)));
        set
    }

    #[test]
    fn what_was_written_later_or_more_often_is_hotter_and_all_cools() {
        let mut heat = Heat::new(20_000);
        for written in [&[1, 2, 9000][..], &[1, 3, 9000], &[4, 9000]] {
            heat.note(&set(written), None);
        }
        let of = |pfn| heat.of(Pfn(pfn));
        assert!(of(9000) > of(4) && of(4) > of(1) && of(1) > of(3) && of(3) > of(2));
        assert_eq!((of(2) > 0, of(5), of(19_999)), (true, 0, 0));
        assert_eq!(heat.class_of(Pfn(9000)), Heat::CLASSES - 1);
        for _ in 0..8 {
            heat.note(&set(&[]), None);
        }
        assert!((0..20_000).all(|pfn| heat.of(Pfn(pfn)) == 0));
    }

    #[test]
    fn always_is_in_each_of_four_rounds() {
        let mut heat = Heat::new(20_000);
        let rounds = [&[1, 2][..], &[1, 2], &[1], &[1, 2], &[2], &[1, 2]];
        let seen = rounds.map(|written| {
            heat.note(&set(written), None);
            [1, 2].map(|pfn| heat.is_always_written(Pfn(pfn)))
        });
        let (first_only, none) = ([true, false], [false, false]);
        assert_eq!(seen, [none, none, none, first_only, none, none]);
    }

    #[test]
    fn what_nobody_looked_at_stays_as_hot_as_it_was() {
        let mut heat = Heat::new(20_000);
        heat.note(&set(&[1, 2]), None);
        heat.note(&set(&[3]), Some(&set(&[2, 7])));
        assert_eq!([1, 2, 3, 7].map(|pfn| heat.of(Pfn(pfn))), [0x40, 0x80, 0x80, 0]);
    }

    #[test]
    fn only_what_is_written_takes_memory() {
        let mut heat = Heat::new(1 << 27);
        heat.note(
            &{
                let mut set = PfnSet::empty(1 << 27);
                set.insert(Pfn(99_999_999));
                set
            },
            None,
        );
        assert_eq!(heat.blocks.iter().flatten().count(), 1);
        assert_eq!(heat.class_of(Pfn(99_999_999)), 4);
    }
}
