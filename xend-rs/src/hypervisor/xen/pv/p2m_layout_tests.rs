//! Layouts of guests that are made of a map from machine frames to pages.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const PER: usize = PER_PAGE as usize;
const PRESENT: u64 = 0x67;
const BOUNDS: Bounds = Bounds { domid: Domid(1), machine_frames: 0x100_0000, pfn_count: 1 << 27 };

#[derive(Default)]
struct Machine {
    pages: HashMap<u64, Vec<u64>>,
    next_frame: u64,
}

impl Machine {
    /// A frame of its own with these words, or zeroes after their end.
    fn page(&mut self, words: &[u64]) -> u64 {
        self.next_frame += 1;
        let mut page = words.to_vec();
        page.resize(PER, 0);
        self.pages.insert(self.next_frame, page);
        self.next_frame
    }

    fn leaf_frames(&mut self, count: usize) -> Vec<u64> {
        let first = 0x80_0000 + self.next_frame;
        (first..).take(count).collect()
    }

    /// Hangs `entries` into tables, the first one at slot `slot`, and gives the tables' frames.
    fn tables(&mut self, entries: &[u64], slot: usize) -> Vec<u64> {
        let mut words = vec![0; slot];
        words.extend(entries.iter().map(|frame| frame << 12 | PRESENT));
        words.chunks(PER).map(|chunk| self.page(chunk)).collect()
    }

    /// A linear p2m of these leaves at `vaddr`; `tail` more level 2 entries are all one and the
    /// same table, whose entries are all one and the same page.
    fn linear(&mut self, vaddr: u64, leaves: &[u64], tail: usize) -> P2mPointers {
        let slot = |level: u32| ((vaddr >> (12 + 9 * (level - 1))) as usize) % PER;
        let mut level_1 = self.tables(leaves, slot(1));
        if tail > 0 {
            let nothing = self.page(&[!0; PER]);
            let shared = self.tables(&[nothing; PER], 0)[0];
            level_1.extend(vec![shared; tail]);
        }
        let level_2 = self.tables(&level_1, slot(2));
        let level_3 = self.tables(&level_2, slot(3));
        let level_4 = self.tables(&level_3, slot(4));
        assert_eq!(level_4.len(), 1);
        let max_pfn = (leaves.len() + tail * PER) as u64 * PER_PAGE;
        P2mPointers { generation: 5, max_pfn, frame_list_list: 0, cr3: level_4[0] << 12, vaddr }
    }

    /// A 3-level p2m; `tail` more lists are all one and the same.
    fn tree(&mut self, leaves: &[u64], tail: usize) -> P2mPointers {
        let mut lists: Vec<_> = leaves.chunks(PER).map(|chunk| self.page(chunk)).collect();
        if tail > 0 {
            let nothing = self.page(&[!0; PER]);
            let shared = self.page(&[nothing; PER]);
            lists.extend(vec![shared; tail]);
        }
        let max_pfn = (leaves.len() + tail * PER) as u64 * PER_PAGE;
        let frame_list_list = self.page(&lists);
        P2mPointers { generation: 5, max_pfn, frame_list_list, cr3: 0, vaddr: 0 }
    }

    fn find(&self, pointers: &P2mPointers) -> Result<P2mLayout> {
        find(pointers, &BOUNDS, |frames| {
            // A guest that points to its own nonsense finds zeroes there.
            let page = |frame| self.pages.get(frame).cloned().unwrap_or_else(|| vec![0; PER]);
            Ok(frames.iter().flat_map(page).collect())
        })
    }

    fn refusal(&self, pointers: &P2mPointers) -> String {
        match self.find(pointers) {
            Err(HypervisorError::BadGuest { what, .. }) => what,
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// Where Linux has its own.
const VADDR: u64 = 0xffff_c900_0000_0000;

#[test]
fn a_linear_p2m_is_found_wherever_it_starts() {
    for offset in [0, 0x1000, 0x1f_f000, 0x3fff_f000, 0x7f_ffff_f000] {
        for leaf_count in [1, 2, 511, 512, 513, 1500] {
            let mut machine = Machine::default();
            let leaves = machine.leaf_frames(leaf_count);
            let mut pointers = machine.linear(0x1000_0000_0000 + offset, &leaves, 0);
            pointers.max_pfn -= 300;
            let layout = machine.find(&pointers).expect("it is sound");
            assert_eq!(layout.leaves, leaves, "{leaf_count} leaves at {offset:#x}");
            assert_eq!(layout.pfn_count, pointers.max_pfn);
            assert_eq!(layout.generation, Some(5));
        }
    }
}

#[test]
fn what_a_linear_p2m_promises_beyond_its_memory_is_cut_off() {
    let mut machine = Machine::default();
    let leaves = machine.leaf_frames(2 * PER);
    let pointers = machine.linear(VADDR, &leaves, 500);
    let layout = machine.find(&pointers).expect("it is sound");
    assert_eq!(layout.leaves, leaves);
    assert_eq!(layout.pfn_count, 2 * PER_PAGE * PER_PAGE);
}

#[test]
fn one_odd_table_at_the_end_is_no_shared_tail() {
    let mut machine = Machine::default();
    let leaves = machine.leaf_frames(PER);
    let pointers = machine.linear(VADDR, &leaves, 1);
    let layout = machine.find(&pointers).expect("it is sound");
    assert_eq!(layout.leaves.len(), 2 * PER);
    assert_eq!(layout.pfn_count, pointers.max_pfn);
}

#[test]
fn a_tree_is_found_and_its_shared_lists_cut_off_but_one() {
    for (leaf_count, tail, expected_leaves) in
        [(1, 0, 1), (513, 0, 513), (2 * PER, 1, 3 * PER), (2 * PER, 400, 3 * PER)]
    {
        let mut machine = Machine::default();
        let leaves = machine.leaf_frames(leaf_count);
        let pointers = machine.tree(&leaves, tail);
        let layout = machine.find(&pointers).expect("it is sound");
        assert_eq!(layout.leaves.len(), expected_leaves);
        assert_eq!(layout.leaves[..leaf_count], leaves);
        assert_eq!(layout.pfn_count, expected_leaves as u64 * PER_PAGE);
        assert_eq!(layout.generation, None);
    }
}

#[test]
fn a_p2m_at_an_impossible_address_is_refused() {
    let mut machine = Machine::default();
    let leaves = machine.leaf_frames(4);
    let sound = machine.linear(VADDR, &leaves, 0);
    for vaddr in [
        0x0000_8000_0000_0000,
        0x0000_7fff_ffff_f000,
        0xffff_7fff_ffff_f000,
        0xffff_8000_0000_0000,
        0xffff_7fff_ffff_d000,
        0xffff_87ff_ffff_f000,
        0xffff_ffff_ffff_f000,
        !0,
        VADDR + 8,
    ] {
        let refusal = machine.refusal(&P2mPointers { vaddr, ..sound });
        assert!(refusal.contains("cannot be at"), "{vaddr:#x}: {refusal}");
    }
}

#[test]
fn sizes_that_cannot_be_are_refused_before_anything_is_read() {
    for (max_pfn, cr3) in [(0, 0), (0, 1 << 12), (!0, 1 << 12), ((1 << 32) + 1, 1 << 12)] {
        let pointers =
            P2mPointers { generation: 0, max_pfn, frame_list_list: 1, cr3, vaddr: VADDR };
        let result = find(&pointers, &BOUNDS, |_| panic!("nothing is to be read"));
        assert!(matches!(result, Err(HypervisorError::BadGuest { .. })));
    }
    let pointers = P2mPointers {
        generation: 0,
        max_pfn: MAX_TREE_PFN_COUNT + 1,
        frame_list_list: 1,
        cr3: 0,
        vaddr: 0,
    };
    assert!(find(&pointers, &BOUNDS, |_| panic!("nothing is to be read")).is_err());
}

#[test]
fn more_pfns_than_the_guest_could_use_are_refused_before_their_leaves_are_read() {
    let mut machine = Machine::default();
    let leaves = machine.leaf_frames(3 * PER);
    let bounds = Bounds { pfn_count: 1000, ..BOUNDS };
    for pointers in [machine.linear(VADDR, &leaves, 0), machine.tree(&leaves, 0)] {
        let mut frames_read = 0;
        let result = find(&pointers, &bounds, |frames| {
            frames_read += frames.len();
            Ok(frames.iter().flat_map(|frame| machine.pages[frame].clone()).collect())
        });
        let Err(HypervisorError::BadGuest { what, .. }) = result else { panic!("not refused") };
        assert!(what.contains("believable"), "{what}");
        assert!(frames_read <= 3, "{frames_read} frames were read");
    }
}

#[test]
fn frames_beyond_the_machine_and_holes_are_refused() {
    for bad in [0, BOUNDS.machine_frames, 0xf_ffff_ffff] {
        let mut machine = Machine::default();
        let mut leaves = machine.leaf_frames(600);
        leaves[555] = bad;
        let linear = machine.linear(VADDR, &leaves, 0);
        assert!(machine.refusal(&linear).contains("does not exist"));
        let tree = machine.tree(&leaves, 0);
        assert!(machine.refusal(&tree).contains("does not exist"));
        assert!(machine.find(&P2mPointers { frame_list_list: bad, ..tree }).is_err());
    }

    let mut machine = Machine::default();
    let leaves = machine.leaf_frames(4);
    let pointers = machine.linear(VADDR, &leaves, 0);
    assert!(machine.find(&P2mPointers { max_pfn: 5 * PER_PAGE, ..pointers }).is_err());
    let other_root = P2mPointers { cr3: 0xff_ffff << 12, ..pointers };
    assert!(machine.refusal(&other_root).contains("not mapped"));
}

proptest! {
    #[test]
    fn hostile_pointers_and_tables_never_panic(
        max_pfn in prop_oneof![any::<u64>(), 1u64..1 << 28],
        vaddr in prop_oneof![any::<u64>(), Just(VADDR), Just(0x1000)],
        root in 0u64..20,
        linear: bool,
        words in prop::collection::vec(prop_oneof![
            any::<u64>(), (0u64..20).prop_map(|frame| frame << 12 | PRESENT), 0u64..20,
        ], 512),
    ) {
        let cr3 = if linear { root << 12 | 1 } else { 0 };
        let pointers = P2mPointers { generation: 0, max_pfn, frame_list_list: root, cr3, vaddr };
        let result = find(&pointers, &BOUNDS, |frames| {
            assert!(frames.len() <= 1 << 14, "{} frames are read at once", frames.len());
            Ok(frames.iter().flat_map(|_| words.iter().copied()).collect())
        });
        if let Ok(layout) = result {
            prop_assert_eq!(layout.leaves.len() as u64, layout.pfn_count.div_ceil(PER_PAGE));
            prop_assert!(layout.pfn_count <= BOUNDS.pfn_count);
        }
    }
}
