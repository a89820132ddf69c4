//! Sequences of records, without bytes.

use super::*;
use RecordType::{
    Checkpoint, CheckpointDirtyPfnList, CpuidPolicy, End, HvmContext, HvmParams, MsrPolicy,
    PageData, PvInfo, PvP2mFrames, PvVcpu, SharedInfo, StaticDataEnd, Toolstack, TscInfo, Verify,
    ZeroPages,
};

const BASIC: RecordType = PvVcpu(VcpuKind::Basic);
const XSAVE: RecordType = PvVcpu(VcpuKind::Xsave);
const EXTRA: RecordType = RecordType::Optional(0x8000_0001);

/// Runs records of vCPU 0 through; how far it came and why no further.
fn run(
    version: u32,
    guest: GuestType,
    records: &[RecordType],
) -> Result<Order, (usize, OrderError)> {
    let version = if version == 2 { ImageVersion::V2 } else { ImageVersion::V3 };
    let mut order = Order::new(version, guest);
    for (i, record) in records.iter().enumerate() {
        order.accept(*record).map_err(|e| (i, e))?;
        if let PvVcpu(kind) = record {
            let state = VcpuState { kind: *kind, vcpu: 0, state: vec![1] };
            order.accept_body(&Record::PvVcpu(state)).map_err(|e| (i, e))?;
        }
    }
    Ok(order)
}

fn pv(records: &[RecordType]) -> Result<Order, (usize, OrderError)> {
    run(3, GuestType::X86Pv, records)
}

fn hvm(records: &[RecordType]) -> Result<Order, (usize, OrderError)> {
    run(3, GuestType::X86Hvm, records)
}

const PV_V3: [RecordType; 11] = [
    PvInfo,
    CpuidPolicy,
    MsrPolicy,
    StaticDataEnd,
    PvP2mFrames,
    PageData,
    PageData,
    TscInfo,
    SharedInfo,
    BASIC,
    End,
];
const HVM_V3: [RecordType; 9] = [
    CpuidPolicy,
    MsrPolicy,
    StaticDataEnd,
    PageData,
    PageData,
    TscInfo,
    HvmContext,
    HvmParams,
    End,
];

#[test]
fn what_xen_sends_is_accepted() {
    pv(&PV_V3).expect("PV");
    hvm(&HVM_V3).expect("HVM");
    let verified = [
        PvInfo,
        StaticDataEnd,
        PvP2mFrames,
        PageData,
        Verify,
        PageData,
        SharedInfo,
        BASIC,
        XSAVE,
        EXTRA,
        End,
    ];
    pv(&verified).expect("with a verification pass");
    hvm(&[EXTRA, TscInfo, StaticDataEnd, PageData, HvmParams, HvmContext, End]).expect(
        "the order \
        the format asks for",
    );
    run(2, GuestType::X86Pv, &[PvInfo, PvP2mFrames, PageData, SharedInfo, BASIC, End]).expect("v2");
    run(2, GuestType::X86Hvm, &[PageData, HvmContext, HvmParams, End]).expect("v2");
}

#[test]
fn the_end_of_static_data_is_inferred_in_version_2_only() {
    let ended = |order: Result<Order, _>| order.expect("in order").static_data_ended();
    assert!(!ended(run(2, GuestType::X86Pv, &[PvInfo, TscInfo])));
    assert!(ended(run(2, GuestType::X86Pv, &[PvInfo, PvP2mFrames])));
    assert!(ended(run(2, GuestType::X86Hvm, &[PageData])));
    assert!(ended(hvm(&[StaticDataEnd])));
    let missing = (0, OrderError::TooEarly { record: PageData, needs: StaticDataEnd });
    assert_eq!(hvm(&[PageData]).err(), Some(missing));
    let missing = (1, OrderError::TooEarly { record: PvP2mFrames, needs: StaticDataEnd });
    assert_eq!(pv(&[PvInfo, PvP2mFrames]).err(), Some(missing));
}

#[test]
fn leaving_out_any_record_a_guest_needs_is_noticed() {
    for (i, left_out) in PV_V3.iter().enumerate() {
        let rest: Vec<_> = PV_V3.iter().filter(|r| *r != left_out).copied().collect();
        let needed = ![CpuidPolicy, MsrPolicy, TscInfo, End].contains(left_out);
        assert_eq!(pv(&rest).is_err(), needed, "without {left_out}, number {i}");
    }
    for left_out in HVM_V3 {
        let rest: Vec<_> = HVM_V3.into_iter().filter(|r| *r != left_out).collect();
        let needed = ![CpuidPolicy, MsrPolicy, TscInfo, End].contains(&left_out);
        assert_eq!(hvm(&rest).is_err(), needed, "without {left_out}");
    }
}

#[test]
fn no_record_but_page_data_and_optional_ones_may_repeat() {
    for (i, record) in PV_V3.into_iter().enumerate().filter(|(_, r)| *r != End) {
        let mut twice = PV_V3.to_vec();
        twice.insert(i, record);
        let (at, error) = match pv(&twice) {
            Ok(_) => {
                assert_eq!(record, PageData);
                continue;
            }
            Err(e) => e,
        };
        let basic_again = OrderError::DuplicateVcpu { kind: VcpuKind::Basic, vcpu: 0 };
        let again = if record == BASIC { basic_again } else { OrderError::Duplicate { record } };
        assert_eq!((at, error), (i + 1, again));
    }
}

#[test]
fn misplaced_records_are_told_apart() {
    use OrderError as E;
    let (pv_guest, hvm_guest) = (GuestType::X86Pv, GuestType::X86Hvm);
    let cases: [(u32, GuestType, &[RecordType], OrderError); 16] = [
        (3, hvm_guest, &[PvInfo], E::WrongGuest { record: PvInfo, guest: hvm_guest }),
        (3, hvm_guest, &[SharedInfo], E::WrongGuest { record: SharedInfo, guest: hvm_guest }),
        (3, pv_guest, &[HvmParams], E::WrongGuest { record: HvmParams, guest: pv_guest }),
        (
            2,
            hvm_guest,
            &[CpuidPolicy],
            E::WrongVersion { record: CpuidPolicy, version: ImageVersion::V2 },
        ),
        (
            2,
            pv_guest,
            &[StaticDataEnd],
            E::WrongVersion { record: StaticDataEnd, version: ImageVersion::V2 },
        ),
        (3, pv_guest, &[StaticDataEnd], E::TooEarly { record: StaticDataEnd, needs: PvInfo }),
        (2, pv_guest, &[PvP2mFrames], E::TooEarly { record: PvP2mFrames, needs: PvInfo }),
        (
            3,
            pv_guest,
            &[PvInfo, StaticDataEnd, PageData],
            E::TooEarly { record: PageData, needs: PvP2mFrames },
        ),
        (
            3,
            pv_guest,
            &[PvInfo, StaticDataEnd, BASIC],
            E::TooEarly { record: BASIC, needs: PvP2mFrames },
        ),
        (3, pv_guest, &[SharedInfo], E::TooEarly { record: SharedInfo, needs: PvInfo }),
        (3, hvm_guest, &[StaticDataEnd, Verify], E::TooEarly { record: Verify, needs: PageData }),
        (
            3,
            hvm_guest,
            &[StaticDataEnd, CpuidPolicy],
            E::TooLate { record: CpuidPolicy, after: StaticDataEnd },
        ),
        (
            3,
            hvm_guest,
            &[StaticDataEnd, PageData, HvmParams, PageData],
            E::TooLate { record: PageData, after: HvmParams },
        ),
        (3, hvm_guest, &[Checkpoint], E::NotPlain { record: Checkpoint }),
        (3, pv_guest, &[CheckpointDirtyPfnList], E::NotPlain { record: CheckpointDirtyPfnList }),
        (3, pv_guest, &[Toolstack], E::NotPlain { record: Toolstack }),
    ];
    for (version, guest, records, error) in cases {
        let got = run(version, guest, records).err();
        assert_eq!(got, Some((records.len() - 1, error)), "{records:?}");
    }
}

#[test]
fn every_vcpu_needs_its_basic_state() {
    let start = [PvInfo, StaticDataEnd, PvP2mFrames, PageData, SharedInfo];
    let mut order = pv(&start).expect("in order");
    let mut vcpu = |kind, vcpu, length| {
        order.accept(PvVcpu(kind)).expect("in order");
        order.accept_body(&Record::PvVcpu(VcpuState { kind, vcpu, state: vec![0; length] }))
    };
    vcpu(VcpuKind::Basic, 0, 8).expect("first");
    vcpu(VcpuKind::Msrs, 2, 0).expect("an empty record says nothing");
    vcpu(VcpuKind::Msrs, 1, 16).expect("before the basic state");
    let error = order.clone().accept(End).expect_err("vCPU 1 has MSRs only");
    assert_eq!(error, OrderError::NoBasicState { vcpu: 1 });
    let state = VcpuState { kind: VcpuKind::Basic, vcpu: 1, state: vec![0; 8] };
    order.accept_body(&Record::PvVcpu(state)).expect("first of vCPU 1");
    order.accept(End).expect("complete");
}

#[test]
fn zero_pages_come_where_pages_come() {
    for pages in [&[ZeroPages][..], &[ZeroPages, PageData, ZeroPages, ZeroPages]] {
        let head = [CpuidPolicy, MsrPolicy, StaticDataEnd];
        let tail = [TscInfo, HvmContext, HvmParams, End];
        hvm(&[&head, pages, &tail].concat()).unwrap();
        hvm(&[&head, pages, &[Verify, PageData], &tail].concat()).unwrap();
        let head = [PvInfo, StaticDataEnd, PvP2mFrames];
        let tail = [TscInfo, SharedInfo, BASIC, End];
        pv(&[&head, pages, &tail].concat()).unwrap();
    }
    let too_early = OrderError::TooEarly { record: ZeroPages, needs: StaticDataEnd };
    assert_eq!(hvm(&[ZeroPages]).unwrap_err(), (0, too_early));
    let too_early = OrderError::TooEarly { record: ZeroPages, needs: PvP2mFrames };
    assert_eq!(pv(&[PvInfo, StaticDataEnd, ZeroPages]).unwrap_err(), (2, too_early));
    for after in [Verify, HvmContext, HvmParams] {
        let too_late = OrderError::TooLate { record: ZeroPages, after };
        let found = hvm(&[StaticDataEnd, PageData, after, ZeroPages]).unwrap_err();
        assert_eq!(found, (3, too_late));
    }
    let version = ImageVersion::V2;
    let found = run(2, GuestType::X86Hvm, &[ZeroPages]).unwrap_err();
    assert_eq!(found, (0, OrderError::WrongVersion { record: ZeroPages, version }));
}
