//! What is encoded decodes to the same: every record by itself, and whole images.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use xend_rs::hypervisor::types::Pfn;
use xend_rs::stream::libxc::page_data::encode_head;
use xend_rs::stream::libxc::{
    CpuidLeaf, DomainHeader, GuestType, HvmParam, ImageHeader, ImageVersion, MsrEntry, P2mFrames,
    PAGE_BYTES, PageDataHead, PageEntry, PageRun, PageType, PvWidth, Reader, Record, TscInfo,
    VcpuKind, VcpuState, write,
};
use xend_rs::stream::libxl::{self, Emulator, EmulatorId, XenstorePair};
use xend_rs::stream::xl_header::XlHeader;
use xend_rs::stream::{Checks, Source};

fn version() -> impl Strategy<Value = ImageVersion> {
    select(vec![ImageVersion::V2, ImageVersion::V3])
}

fn pages(last_pfn: u64) -> impl Strategy<Value = Record> {
    let page_type = select(PageType::ALL.to_vec());
    let entry = (0..=last_pfn, page_type)
        .prop_map(|(pfn, page_type)| PageEntry { pfn: Pfn(pfn), page_type });
    vec(entry, 1..40).prop_map(|entries| Record::PageData(PageDataHead { entries }))
}

fn zero_pages(last_pfn: u64) -> impl Strategy<Value = Record> {
    let pfns = proptest::collection::btree_set(0..=last_pfn, 1..60);
    pfns.prop_map(|pfns| Record::ZeroPages(PageRun::all_of(pfns.into_iter().map(Pfn))))
}

fn p2m(end: u32, width: PvWidth) -> impl Strategy<Value = Record> {
    let count = P2mFrames::frame_count(0, end, width) as usize;
    vec(0..=u64::from(end), count).prop_map(move |frames| {
        let frames = frames.into_iter().map(Pfn).collect();
        Record::PvP2mFrames(P2mFrames { start: 0, end, frames })
    })
}

fn vcpu(kind: VcpuKind, vcpu: u32, width: PvWidth) -> impl Strategy<Value = Record> {
    let length = match kind {
        VcpuKind::Basic => Just(width.vcpu_context_bytes()).boxed(),
        VcpuKind::Extended => (0..=128_usize).boxed(),
        VcpuKind::Xsave => prop_oneof![Just(0), 16..3000_usize].boxed(),
        VcpuKind::Msrs => (0..20_usize).prop_map(|n| n * 16).boxed(),
    };
    length
        .prop_flat_map(|length| vec(any::<u8>(), length))
        .prop_map(move |state| Record::PvVcpu(VcpuState { kind, vcpu, state }))
}

fn tsc_info() -> impl Strategy<Value = Record> {
    any::<(u32, u32, u64, u32)>().prop_map(|(mode, khz, elapsed_ns, incarnation)| {
        Record::TscInfo(TscInfo { mode, khz, elapsed_ns, incarnation })
    })
}

fn shared_info() -> impl Strategy<Value = Record> {
    vec(any::<u8>(), PAGE_BYTES).prop_map(|bytes| {
        Record::SharedInfo(bytes.into_boxed_slice().try_into().expect("one page"))
    })
}

fn hvm_params() -> impl Strategy<Value = Record> {
    let param = any::<(u64, u64)>().prop_map(|(index, value)| HvmParam { index, value });
    vec(param, 0..20).prop_map(Record::HvmParams)
}

fn cpuid_policy() -> impl Strategy<Value = Record> {
    let leaf = any::<(u32, u32, [u32; 4])>().prop_map(|(leaf, subleaf, registers)| CpuidLeaf {
        leaf,
        subleaf,
        registers,
    });
    vec(leaf, 1..30).prop_map(Record::CpuidPolicy)
}

fn msr_policy() -> impl Strategy<Value = Record> {
    let entry = any::<(u32, u64)>().prop_map(|(index, value)| MsrEntry { index, value });
    vec(entry, 1..10).prop_map(Record::MsrPolicy)
}

fn optional() -> impl Strategy<Value = Record> {
    (any::<u32>(), vec(any::<u8>(), 0..100))
        .prop_map(|(number, body)| Record::Optional { number: number | 1 << 31, body: Some(body) })
}

fn blob(length: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..length)
}

/// Any record, in no order.
fn any_record() -> impl Strategy<Value = Record> {
    let (last_pfn, width) = ((1 << 52) - 1, PvWidth::Bits64);
    let kinds = [VcpuKind::Basic, VcpuKind::Extended, VcpuKind::Xsave, VcpuKind::Msrs];
    let pfns = vec((0..=last_pfn).prop_map(Pfn), 0..50);
    prop_oneof![
        pages(last_pfn),
        select(vec![PvWidth::Bits32, PvWidth::Bits64]).prop_map(Record::PvInfo),
        (0..3000_u32).prop_flat_map(move |end| p2m(end, width)),
        (select(kinds.to_vec()), 0..8192_u32).prop_flat_map(move |(k, v)| vcpu(k, v, width)),
        tsc_info(),
        shared_info(),
        blob(300).prop_map(Record::HvmContext),
        hvm_params(),
        blob(300).prop_map(Record::Toolstack),
        select(vec![Record::Verify, Record::Checkpoint, Record::StaticDataEnd]),
        pfns.prop_map(Record::CheckpointDirtyPfnList),
        cpuid_policy(),
        msr_policy(),
        zero_pages(1000),
        zero_pages(last_pfn),
        optional(),
    ]
}

fn static_data(version: ImageVersion) -> BoxedStrategy<Vec<Record>> {
    if version == ImageVersion::V2 {
        return Just(vec![]).boxed();
    }
    (cpuid_policy(), msr_policy()).prop_map(|(c, m)| vec![c, m, Record::StaticDataEnd]).boxed()
}

/// Batches of pages, and of pages of zeroes where there can be any.
fn pages_and_zeroes(version: ImageVersion, last_pfn: u64) -> BoxedStrategy<Vec<Record>> {
    match version {
        ImageVersion::V2 => vec(pages(last_pfn), 1..4).boxed(),
        ImageVersion::V3 => vec(prop_oneof![pages(last_pfn), zero_pages(last_pfn)], 1..5).boxed(),
    }
}

/// The records of a whole PV image.
fn pv_records(version: ImageVersion) -> impl Strategy<Value = Vec<Record>> {
    let widths = select(vec![PvWidth::Bits32, PvWidth::Bits64]);
    (widths, 0..5000_u32, 1..4_u32).prop_flat_map(move |(width, end, vcpus)| {
        let states: Vec<_> = (0..vcpus)
            .flat_map(|v| [VcpuKind::Basic, VcpuKind::Xsave, VcpuKind::Msrs].map(|k| (k, v)))
            .map(|(kind, v)| vcpu(kind, v, width))
            .collect();
        (
            static_data(version),
            p2m(end, width),
            pages_and_zeroes(version, u64::from(end)),
            (optional(), tsc_info(), shared_info()),
            states,
        )
            .prop_map(move |(fixed, p2m, pages, (optional, tsc, shared), vcpus)| {
                let mut records = vec![Record::PvInfo(width)];
                records.extend(fixed);
                records.push(p2m);
                records.extend(pages);
                records.extend([optional, tsc, shared]);
                records.extend(vcpus);
                records.push(Record::End);
                records
            })
    })
}

/// The records of a whole HVM image.
fn hvm_records(version: ImageVersion) -> impl Strategy<Value = Vec<Record>> {
    let context = blob(2000).prop_map(Record::HvmContext);
    (static_data(version), pages_and_zeroes(version, 1 << 40), tsc_info(), context, hvm_params())
        .prop_map(|(mut records, pages, tsc, context, params)| {
            records.extend(pages);
            records.extend([tsc, context, params, Record::End]);
            records
        })
}

/// Encodes an image. Every byte of page contents is the low byte of its pfn.
fn encode(version: ImageVersion, guest_type: GuestType, records: &[Record]) -> Vec<u8> {
    let mut out = Vec::new();
    let domain = DomainHeader { guest_type, xen_major: 4, xen_minor: 20 };
    write::headers(&mut out, &ImageHeader { version }, &domain).expect("room in memory");
    for record in records {
        let Record::PageData(head) = record else {
            write::record(&mut out, record).expect("a record within its limits");
            continue;
        };
        encode_head(&head.entries, &mut out).expect("a batch that fits a record");
        for entry in head.entries.iter().filter(|e| e.page_type.has_data()) {
            out.resize(out.len() + PAGE_BYTES, entry.pfn.0 as u8);
        }
    }
    out
}

/// Decodes an image and checks its page contents.
fn decode(bytes: &[u8], checks: Checks) -> Vec<Record> {
    let mut reader = Reader::open(Source::new(bytes), checks).expect("headers");
    let mut records = Vec::new();
    while let Some(record) = reader.next_record().expect("a sound image") {
        if let Record::PageData(head) = &record {
            for entry in head.entries.iter().filter(|e| e.page_type.has_data()) {
                let mut page = [0; PAGE_BYTES];
                reader.page_bytes(&mut page).expect("a page");
                assert!(page.iter().all(|b| *b == entry.pfn.0 as u8), "{entry:?}");
            }
        }
        records.push(record);
    }
    assert_eq!(reader.offset(), bytes.len() as u64);
    records
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_records(version in version(), mut records in vec(any_record(), 0..6)) {
        // The width decides how other records are read: one, and first.
        records.retain(|r| !matches!(r, Record::PvInfo(_) ));
        records.insert(0, Record::PvInfo(PvWidth::Bits64));
        // A range of pfns lowers the bound for those after it: last.
        records.sort_by_key(|r| matches!(r, Record::PvP2mFrames(_)));
        records.push(Record::End);
        let bytes = encode(version, GuestType::X86Pv, &records);
        prop_assert_eq!(decode(&bytes, Checks::DISPLAY), records);
    }

    #[test]
    fn pv_images((version, records) in version().prop_flat_map(|v| (Just(v), pv_records(v)))) {
        let bytes = encode(version, GuestType::X86Pv, &records);
        prop_assert_eq!(decode(&bytes, Checks::VERIFY), records);
    }

    #[test]
    fn hvm_images((version, records) in version().prop_flat_map(|v| (Just(v), hvm_records(v)))) {
        let bytes = encode(version, GuestType::X86Hvm, &records);
        prop_assert_eq!(decode(&bytes, Checks::VERIFY), records);
    }

    #[test]
    fn libxl_records(
        id in select(vec![EmulatorId::Unknown, EmulatorId::QemuTraditional, EmulatorId::QemuUpstream]),
        index: u32,
        pairs in vec(("[a-zA-Z0-9_@-][a-zA-Z0-9/_@-]{0,20}", vec(1_u8.., 0..20)), 0..6),
        context in vec(any::<u8>(), 0..200),
        control_id: u32,
        converted_from_legacy: bool,
    ) {
        let emulator = Emulator { id, index };
        let pairs = pairs.into_iter().map(|(key, value)| XenstorePair { key, value }).collect();
        let records = [
            libxl::Record::EmulatorXenstoreData { emulator, pairs },
            libxl::Record::EmulatorContext { emulator, context },
            libxl::Record::CheckpointState { control_id },
            libxl::Record::CheckpointEnd,
            libxl::Record::End,
        ];
        let header = libxl::Header { converted_from_legacy };
        let mut bytes = Vec::new();
        libxl::write::header(&mut bytes, &header).expect("room in memory");
        for record in &records {
            libxl::write::record(&mut bytes, record).expect("a record within its limits");
        }
        let source = Source::new(bytes.as_slice());
        let mut reader = libxl::Reader::open(source, Checks::DISPLAY).expect("the header");
        prop_assert_eq!(reader.header(), header);
        for record in records {
            prop_assert_eq!(reader.next_record().expect("sound"), Some(record));
        }
        prop_assert_eq!(reader.next_record().expect("sound"), None);
    }

    #[test]
    fn xl_headers(config in proptest::option::of(vec(any::<u8>(), 0..300)), config_is_json: bool) {
        let header = XlHeader { config, config_is_json, beyond: Vec::new() };
        let mut bytes = Vec::new();
        header.write(&mut bytes).expect("a short configuration");
        prop_assert_eq!(XlHeader::read(&mut Source::new(bytes.as_slice()), true).expect("sound"), header);
    }
}
