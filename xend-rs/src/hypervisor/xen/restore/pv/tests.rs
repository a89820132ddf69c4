use super::fields::{get_u64, put_u64};
use super::p2m::P2m;
use super::stash::VcpuStashes;
use super::*;
use crate::hypervisor::destination::RingEnd;
use crate::hypervisor::types::{Domid, Port};
use crate::hypervisor::xen::pv::vcpu::Context;
use crate::stream::libxc::{P2mFrames, VcpuKind, VcpuState};

const CONTEXT_BYTES: usize = 5168;
const RDX: usize = 616;
const GDT_FRAMES: usize = 4832;
const GDT_ENTRIES: usize = 4960;
const CR1: usize = 4992;
const CR3: usize = 5008;

/// A p2m of 2000 pfns in pfns 100 to 103, where pfn n has frame 0x1000 + n if it is below 200. Pfn
/// 10 is an L4 table, 11 a pinned one, 12 a pinned L1 table.
fn p2m() -> P2m {
    let mut p2m = P2m::new(4096);
    let frames = (100..104).map(Pfn).collect();
    p2m.learn_frames(&P2mFrames { start: 0, end: 1999, frames }).unwrap();
    for pfn in 0..200 {
        p2m.set_mfn(Pfn(pfn), Mfn(0x1000 + pfn));
    }
    p2m.set_type(Pfn(10), PageType::L4);
    p2m.set_type(Pfn(11), PageType::L4Pinned);
    p2m.set_type(Pfn(12), PageType::L1Pinned);
    p2m
}

fn frames(start: u32, end: u32, frames: Vec<Pfn>) -> P2mFrames {
    P2mFrames { start, end, frames }
}

fn complaint<T>(check: Check<T>) -> String {
    check.err().expect("a complaint")
}

#[test]
fn p2m_grows_with_a_later_record_and_keeps_what_it_has() {
    let mut p2m = p2m();
    let more = (104..106).map(Pfn).collect();
    p2m.learn_frames(&frames(2048, 3071, more)).unwrap();
    assert_eq!(p2m.pfn_count(), 3072);
    assert_eq!(p2m.mfn(Pfn(5)), Some(Mfn(0x1005)));
    assert_eq!(p2m.mfn(Pfn(3071)), None);
    assert_eq!(p2m.own_frames().unwrap().len(), 6);

    // A smaller range renames frames and takes no pfn away.
    p2m.learn_frames(&frames(0, 511, vec![Pfn(150)])).unwrap();
    assert_eq!(p2m.pfn_count(), 3072);
    assert_eq!(p2m.own_frames().unwrap()[0], Mfn(0x1000 + 150));
}

#[test]
fn p2m_refuses_more_frames_than_the_domain_can_have_before_it_makes_room() {
    let mut p2m = P2m::new(16);
    let why = complaint(p2m.learn_frames(&frames(0, u32::MAX, vec![Pfn(0); 1 << 23])));
    assert!(why.contains("8388608 pages") && why.contains("no more than 16"), "{why}");
    assert_eq!(p2m.pfn_count(), 0);
    p2m.learn_frames(&frames(0, 16 * 512 - 1, vec![Pfn(0); 16])).unwrap();
}

#[test]
fn p2m_refuses_records_that_do_not_add_up() {
    let mut p2m = P2m::new(4096);
    assert!(complaint(p2m.learn_frames(&frames(5, 4, vec![Pfn(1)]))).contains("backwards"));
    assert!(complaint(p2m.learn_frames(&frames(0, 512, vec![Pfn(1)]))).contains("in 2 frames"));
    p2m.learn_frames(&frames(1024, 1500, vec![Pfn(1)])).unwrap();
    assert!(complaint(p2m.own_frames()).contains("frame 0 of its p2m was never named"));
}

#[test]
fn p2m_pages_must_be_plain_and_there() {
    let mut p2m = p2m();
    p2m.learn_frames(&frames(0, 511, vec![Pfn(11)])).unwrap();
    assert!(complaint(p2m.own_frames()).contains("L4TAB"));
    p2m.learn_frames(&frames(0, 511, vec![Pfn(1000)])).unwrap();
    assert!(complaint(p2m.own_frames()).contains("has no memory"));
    p2m.learn_frames(&frames(0, 511, vec![Pfn(2000)])).unwrap();
    assert!(complaint(p2m.own_frames()).contains("beyond the guest's last, 0x7cf"));
}

#[test]
fn p2m_is_written_with_holes_as_all_ones() {
    let p2m = p2m();
    let mut page = [0; PAGE_SIZE];
    p2m.write_frame(0, &mut page);
    assert_eq!((get_u64(&page, 0), get_u64(&page, 199 * 8)), (0x1000, 0x1000 + 199));
    assert_eq!(get_u64(&page, 200 * 8), !0);
    p2m.write_frame(3, &mut page);
    assert_eq!(page, [0xff; PAGE_SIZE]);
}

#[test]
fn pins_what_is_pinned_last_and_populated() {
    let mut p2m = p2m();
    p2m.set_type(Pfn(1500), PageType::L2Pinned);
    let pinned: Vec<_> = p2m.pinned_tables().collect();
    assert_eq!(pinned, [(4, Mfn(0x100b)), (1, Mfn(0x100c))]);
    p2m.set_type(Pfn(12), PageType::L1);
    assert_eq!(p2m.pinned_tables().count(), 1);
}

#[test]
fn page_tables_name_what_must_be_populated_and_nothing_out_of_range() {
    let p2m = p2m();
    let mut missing = Vec::new();
    p2m.find_missing([7, 1000, 199, 1999].map(Pfn).into_iter(), &mut missing).unwrap();
    assert_eq!(missing, [Pfn(1000), Pfn(1999)]);
    let why = complaint(p2m.find_missing([Pfn(2000)].into_iter(), &mut missing));
    assert_eq!(why, "pfn 0x7d0 is beyond the guest's last, 0x7cf");
}

#[test]
fn tables_keep_their_pages_among_others() {
    let entries = [
        PageEntry { pfn: Pfn(1), page_type: PageType::Normal },
        PageEntry { pfn: Pfn(2), page_type: PageType::L1 },
        PageEntry { pfn: Pfn(3), page_type: PageType::L4Pinned },
    ];
    let mut pages = [[1; PAGE_SIZE], [2; PAGE_SIZE], [3; PAGE_SIZE]].concat();
    let tables = tables_of(&entries, &mut pages).map(|(entry, level, page)| {
        assert_eq!(*page, [entry.pfn.0 as u8; PAGE_SIZE]);
        (entry.pfn, level)
    });
    assert_eq!(tables.collect::<Vec<_>>(), [(Pfn(2), 1), (Pfn(3), 4)]);
}

fn context() -> [u8; CONTEXT_BYTES] {
    let mut context = [0; CONTEXT_BYTES];
    put_u64(&mut context, 512, 1 << 2);
    put_u64(&mut context, RDX, 20);
    put_u64(&mut context, GDT_FRAMES, 30);
    put_u64(&mut context, GDT_FRAMES + 8, 31);
    put_u64(&mut context, GDT_ENTRIES, 513);
    put_u64(&mut context, CR3, 10 << 12);
    put_u64(&mut context, CR1, 11 << 12 | 1);
    context
}

fn localised(bytes: [u8; CONTEXT_BYTES]) -> Check<[u8; CONTEXT_BYTES]> {
    let mut context = Context::new(Box::new(bytes));
    vcpu::localise(&mut context, &p2m())?;
    Ok(*context.into_bytes())
}

#[test]
fn registers_name_frames_afterwards() {
    let context = localised(context()).unwrap();
    assert_eq!(get_u64(&context, 512), 1 << 2 | 1 << 5, "online");
    assert_eq!(get_u64(&context, GDT_FRAMES), 0x1000 + 30);
    assert_eq!(get_u64(&context, GDT_FRAMES + 8), 0x1000 + 31);
    assert_eq!(get_u64(&context, GDT_FRAMES + 16), 0);
    assert_eq!(get_u64(&context, CR3), 0x100a << 12);
    assert_eq!(get_u64(&context, CR1), 0x100b << 12, "without the mark");
    assert_eq!(get_u64(&context, RDX), 20, "start info is vCPU 0's alone");
}

#[test]
fn a_guest_without_user_page_tables_has_no_cr1() {
    let mut context = context();
    put_u64(&mut context, CR1, 0);
    assert_eq!(get_u64(&localised(context).unwrap(), CR1), 0);
}

#[test]
fn registers_with_wrong_frames_are_refused() {
    let cases = [
        (GDT_ENTRIES, 7169, "GDT of 7169 entries"),
        (GDT_ENTRIES, u64::MAX, "GDT of 18446744073709551615 entries"),
        (GDT_FRAMES + 8, 12, "frame 1 of its GDT: pfn 0xc must be a plain page"),
        (GDT_FRAMES, 1000, "frame 0 of its GDT: pfn 0x3e8 has no memory"),
        (CR3, 12 << 12, "cr3: pfn 0xc must be a level 4 page table"),
        (CR3, 20 << 12, "cr3: pfn 0x14 must be a level 4 page table"),
        (CR3, u64::MAX, "cr3: pfn 0xfffffffffffff is beyond"),
        (CR1, 2000 << 12 | 1, "cr1: pfn 0x7d0 is beyond"),
        (CR1, 11 << 12, "cr1 is 0xb000, neither"),
    ];
    for (at, value, expected) in cases {
        let mut context = context();
        put_u64(&mut context, at, value);
        let why = complaint(localised(context));
        assert!(why.contains(expected), "{why}");
    }
}

fn rings() -> Rings {
    Rings {
        store: RingEnd { port: Port(1), peer: Domid(0) },
        console: RingEnd { port: Port(2), peer: Domid(0) },
    }
}

#[test]
fn start_info_is_made_to_fit() {
    let mut page = [0xee; PAGE_SIZE];
    put_u64(&mut page, 56, 40);
    put_u64(&mut page, 72, 41);
    let found = start_info::restore(&mut page, &p2m(), &rings(), Mfn(0xabc)).unwrap();
    assert_eq!(found, RingFrames { store: Mfn(0x1028), console: Mfn(0x1029) });
    assert_eq!(page[..32], [0xee; 32], "magic");
    assert_eq!(get_u64(&page, 32), 2000, "nr_pages");
    assert_eq!(get_u64(&page, 40), 0xabc << 12, "shared_info");
    assert_eq!(page[48..52], [0; 4], "flags");
    assert_eq!(get_u64(&page, 56), 0x1028);
    assert_eq!(page[64..68], 1u32.to_le_bytes());
    assert_eq!(get_u64(&page, 72), 0x1029);
    assert_eq!(page[80..84], 2u32.to_le_bytes());
    assert_eq!(page[88..], [0xee; PAGE_SIZE - 88], "what is for the first boot only");
}

#[test]
fn rings_must_be_plain_pages_of_the_guest() {
    for (at, pfn, expected) in
        [(56, 2000, "xenstore ring"), (72, 12, "console ring"), (72, 1000, "has no memory")]
    {
        let mut page = [0; PAGE_SIZE];
        put_u64(&mut page, 56, 40);
        put_u64(&mut page, 72, 41);
        put_u64(&mut page, at, pfn);
        let why = complaint(start_info::restore(&mut page, &p2m(), &rings(), Mfn(1)));
        assert!(why.contains(expected), "{why}");
    }
}

fn state(kind: VcpuKind, vcpu: u32, bytes: usize) -> VcpuState {
    VcpuState { kind, vcpu, state: vec![0; bytes] }
}

#[test]
fn vcpu_state_is_kept_in_bounds() {
    let mut stashes = VcpuStashes::new(2);
    let fits = [
        (VcpuKind::Basic, CONTEXT_BYTES),
        (VcpuKind::Extended, 64),
        (VcpuKind::Extended, 128),
        (VcpuKind::Xsave, 16),
        (VcpuKind::Xsave, 11 << 10),
        (VcpuKind::Msrs, 48),
        (VcpuKind::Msrs, 0),
    ];
    for (kind, bytes) in fits {
        stashes.keep(state(kind, 1, bytes)).unwrap();
    }
    let too_much = [
        (VcpuKind::Basic, CONTEXT_BYTES - 1),
        (VcpuKind::Basic, 2800),
        (VcpuKind::Extended, 129),
        (VcpuKind::Xsave, 15),
        (VcpuKind::Xsave, 1 << 20),
        (VcpuKind::Msrs, 17),
        (VcpuKind::Msrs, 1 << 20),
    ];
    for (kind, bytes) in too_much {
        let why = complaint(stashes.keep(state(kind, 1, bytes)));
        assert!(why.starts_with(&format!("{bytes} bytes of")), "{why}");
    }
    assert!(complaint(stashes.keep(state(VcpuKind::Xsave, 2, 16))).contains("has 2 vCPUs"));
    assert!(complaint(stashes.take()).contains("vCPU 0"));
    stashes.keep(state(VcpuKind::Basic, 0, CONTEXT_BYTES)).unwrap();
    let kept = stashes.take().unwrap();
    assert!(kept[1].basic.is_some() && kept[1].msrs.as_ref().is_some_and(|m| m.len() == 48));
}
