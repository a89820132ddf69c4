//! Which pages a pass sends, and in which order.
//!
//! A page that is sent and then written has been sent in vain. Who sends the pages that are seldom
//! written first, and those that are written all the time last, sends the fewest in vain; and the
//! hottest of all need not be sent before the guest stands still, as far as there is time for them
//! then. What was written in every round so far will have to be sent then anyway.

use std::ops::Range;

use super::heat::Heat;
use crate::hypervisor::PfnSet;
use crate::hypervisor::types::Pfn;

/// The pages of a pass.
pub(super) struct Order<'a> {
    set: PfnSet,
    /// By which to send the coldest first. In order of pfns without.
    coldest_first: Option<&'a Heat>,
    /// Pages that were left out.
    pub(super) held_back_pages: u64,
}

impl<'a> Order<'a> {
    /// All of `set`, by pfns.
    pub(super) fn by_pfn(set: PfnSet) -> Self {
        Self { set, coldest_first: None, held_back_pages: 0 }
    }

    /// Those with the least `heat` first.
    pub(super) fn coldest_first(self, heat: &'a Heat) -> Self {
        Self { coldest_first: Some(heat), ..self }
    }

    /// Leaves out the `most` hottest pages. None is that has not been seen being written.
    pub(super) fn hold_back(self, most: u64, heat: &Heat) -> Self {
        if most == 0 {
            return self;
        }
        let mut pages_of = [0u64; 256];
        self.set.iter().for_each(|pfn| pages_of[usize::from(heat.of(pfn))] += 1);
        // How many of each heat can be left out.
        let mut left = most;
        let mut quota = [0u64; 256];
        for degree in (1..quota.len()).rev() {
            quota[degree] = pages_of[degree].min(left);
            left -= quota[degree];
        }
        self.leave_out(|pfn| {
            let quota = &mut quota[usize::from(heat.of(pfn))];
            let held_back = *quota > 0;
            *quota -= u64::from(held_back);
            held_back
        })
    }

    /// Leaves out what was written in each of the last rounds. A page that the guest leaves alone for one
    /// round is sent in the next.
    pub(super) fn without_always_written(self, heat: &Heat) -> Self {
        self.leave_out(|pfn| heat.is_always_written(pfn))
    }

    fn leave_out(mut self, mut is_left_out: impl FnMut(Pfn) -> bool) -> Self {
        let left_out: Vec<Pfn> = self.set.iter().filter(|&pfn| is_left_out(pfn)).collect();
        left_out.iter().for_each(|&pfn| self.set.remove(pfn));
        self.held_back_pages += left_out.len() as u64;
        self
    }

    /// How many they are.
    pub(super) fn len_pages(&self) -> u64 {
        self.set.len_pfns()
    }

    /// They, one after the other. Of those that are about equally hot neighbours follow each other, for
    /// large pages are made of them, but strips of them come from all over memory.
    pub(super) fn pfns(&self) -> Box<dyn Iterator<Item = Pfn> + '_> {
        let Some(heat) = self.coldest_first else { return Box::new(self.set.iter()) };
        Box::new((0..Heat::CLASSES).flat_map(move |class| {
            let of_class = move |&pfn: &Pfn| heat.class_of(pfn) == class;
            strips(self.set.bound_pfns())
                .flat_map(move |strip| self.set.iter_in(strip).filter(of_class))
        }))
    }
}

/// Pfns that are read one after the other: two large pages.
const STRIP_PFNS: u64 = 1024;

/// All strips of `pfn_count` pfns, those that follow each other being far apart: numbered in binary with
/// the digits in reverse.
///
/// Pages of zeroes take no bytes. The link would stand still while a guest's free memory is read, were it
/// read at one go; and what has been sent after a second would say little of what is to come.
fn strips(pfn_count: u64) -> impl Iterator<Item = Range<u64>> {
    let strips = pfn_count.div_ceil(STRIP_PFNS);
    let digits = u64::BITS - strips.saturating_sub(1).leading_zeros();
    (0..1u64 << digits)
        .map(move |number| number.reverse_bits().checked_shr(u64::BITS - digits).unwrap_or(0))
        .filter(move |&strip| strip < strips)
        .map(|strip| strip * STRIP_PFNS..(strip + 1) * STRIP_PFNS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PFNS: u64 = 300;

    fn set(pfns: impl IntoIterator<Item = u64>) -> PfnSet {
        let mut set = PfnSet::empty(PFNS);
        pfns.into_iter().for_each(|pfn| set.insert(Pfn(pfn)));
        set
    }

    fn pfns(order: &Order<'_>) -> Vec<u64> {
        order.pfns().map(|pfn| pfn.0).collect()
    }

    #[test]
    fn the_coldest_come_first_and_the_hottest_not_at_all() {
        let mut heat = Heat::new(PFNS);
        heat.note(&set([5, 7, 200]), None);
        heat.note(&set([5, 8]), None);
        let all = || Order::by_pfn(set([3, 5, 7, 8, 150, 200]));
        assert_eq!(pfns(&all()), [3, 5, 7, 8, 150, 200]);
        assert_eq!(pfns(&all().coldest_first(&heat)), [3, 150, 7, 200, 8, 5]);
        let order = all().hold_back(3, &heat).coldest_first(&heat);
        // 5 and 8 are the hottest; of 7 and 200, which are alike, one.
        assert_eq!((pfns(&order), order.held_back_pages), (vec![3, 150, 200], 3));
        // What was never written is not held back.
        let order = all().hold_back(100, &heat);
        assert_eq!((pfns(&order), order.held_back_pages), (vec![3, 150], 4));
        assert_eq!(all().hold_back(100, &Heat::new(PFNS)).held_back_pages, 0);
    }

    #[test]
    fn what_is_always_written_is_left_out_until_it_is_not() {
        let mut heat = Heat::new(PFNS);
        (0..4).for_each(|_| heat.note(&set([5, 7]), None));
        let order = |heat: &Heat| -> (Vec<u64>, u64) {
            let order = Order::by_pfn(set([3, 5, 7, 8])).without_always_written(heat);
            (pfns(&order), order.held_back_pages)
        };
        assert_eq!(order(&heat), (vec![3, 8], 2));
        heat.note(&set([5]), None);
        assert_eq!(order(&heat), (vec![3, 7, 8], 1));
    }

    #[test]
    fn strips_are_taken_from_all_over_memory() {
        let numbers =
            |pfn_count| strips(pfn_count).map(|s| s.start / STRIP_PFNS).collect::<Vec<_>>();
        assert_eq!(numbers(8 * STRIP_PFNS), [0, 4, 2, 6, 1, 5, 3, 7]);
        assert_eq!(numbers(4 * STRIP_PFNS + 1), [0, 4, 2, 1, 3]);
        assert_eq!((numbers(0), numbers(1), numbers(STRIP_PFNS)), (vec![], vec![0], vec![0]));
        let heat = Heat::new(3 * STRIP_PFNS);
        let mut all = PfnSet::empty(3 * STRIP_PFNS);
        [0, 1, 1023, 1024, 2048, 3000].into_iter().for_each(|pfn| all.insert(Pfn(pfn)));
        let order = Order::by_pfn(all).coldest_first(&heat);
        assert_eq!(pfns(&order), [0, 1, 1023, 2048, 3000, 1024]);
    }

    proptest! {
        #[test]
        fn each_page_is_sent_once_or_held_back(
            rounds in prop::collection::vec(prop::collection::vec(0..PFNS, 0..100), 0..10),
            unsent in prop::collection::btree_set(0..PFNS, 0..200),
            most in 0u64..250,
        ) {
            let mut heat = Heat::new(PFNS);
            rounds.iter().for_each(|written| heat.note(&set(written.iter().copied()), None));
            let order = Order::by_pfn(set(unsent.iter().copied()))
                .hold_back(most, &heat)
                .coldest_first(&heat);
            let sent = pfns(&order);
            prop_assert!(order.held_back_pages <= most);
            prop_assert_eq!(sent.len() as u64, order.len_pages());
            prop_assert_eq!(sent.len() as u64 + order.held_back_pages, unsent.len() as u64);
            let degree = |pfn: &u64| heat.of(Pfn(*pfn));
            prop_assert!(sent.is_sorted_by_key(|pfn| heat.class_of(Pfn(*pfn))));
            let held = unsent.iter().filter(|pfn| !sent.contains(pfn));
            let coldest_held = held.map(degree).min().unwrap_or(u8::MAX);
            prop_assert!(coldest_held > 0 && sent.iter().map(degree).all(|d| d <= coldest_held));
        }
    }
}
