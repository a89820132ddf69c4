//! Small sound streams: seeds for fuzzing, and what the tests cut short and damage.

use crate::hypervisor::types::Pfn;
use crate::stream::libxc::body::{CpuidLeaf, HvmParam, MsrEntry, P2mFrames, PvWidth, TscInfo};
use crate::stream::libxc::header::{DomainHeader, GuestType, ImageHeader, ImageVersion};
use crate::stream::libxc::page_data::{PageEntry, encode_head};
use crate::stream::libxc::{PAGE_BYTES, PageRun, PageType, VcpuKind, VcpuState, write};
use crate::stream::libxl::{self, Emulator, EmulatorId, XenstorePair};
use crate::stream::xend::{
    self, Answer, Frame, GuestNeeds, Offer, Request, Timing, Token, Verdict,
};
use crate::stream::xl_header::{CONFIG_OFFSET, XlHeader};

const QEMU: Emulator = Emulator { id: EmulatorId::QemuUpstream, index: 0 };

/// A 64-bit PV image with one vCPU and every record such a guest can have.
pub fn pv_image(version: ImageVersion) -> Vec<u8> {
    let mut out = Vec::new();
    headers(&mut out, version, GuestType::X86Pv);
    built(write::pv_info(&mut out, PvWidth::Bits64));
    static_data(&mut out, version);
    let frames = P2mFrames { start: 0, end: 15, frames: vec![Pfn(3)] };
    built(write::pv_p2m_frames(&mut out, &frames));
    pages(&mut out, &[(0, PageType::Normal), (1, PageType::Invalid), (2, PageType::L1)]);
    pages(&mut out, &[(7, PageType::L4Pinned), (15, PageType::Broken)]);
    built(write::tsc_info(&mut out, &tsc_info()));
    built(write::shared_info(&mut out, &[0x5a; PAGE_BYTES]));
    let basic = PvWidth::Bits64.vcpu_context_bytes();
    let state = [
        (VcpuKind::Basic, basic),
        (VcpuKind::Extended, 64),
        (VcpuKind::Xsave, 592),
        (VcpuKind::Msrs, 48),
    ];
    for (kind, bytes) in state {
        let state = VcpuState { kind, vcpu: 0, state: vec![0x33; bytes] };
        built(write::pv_vcpu(&mut out, &state));
    }
    built(write::end(&mut out));
    out
}

/// An HVM image with every record such a guest can have, one of them optional and unknown.
pub fn hvm_image(version: ImageVersion) -> Vec<u8> {
    let mut out = hvm_image_up_to_pages(version);
    built(write::optional(&mut out, 0x8000_1234, b"to be skipped"));
    hvm_image_rest(&mut out);
    out
}

/// The same without the optional record, which Xen's own verifier does not know how to skip.
pub fn hvm_image_without_optional(version: ImageVersion) -> Vec<u8> {
    let mut out = hvm_image_up_to_pages(version);
    hvm_image_rest(&mut out);
    out
}

/// What only a xend is sent: an image with pages of zeroes, before others and alone.
pub fn xend_image() -> Vec<u8> {
    let mut out = Vec::new();
    headers(&mut out, ImageVersion::V3, GuestType::X86Hvm);
    static_data(&mut out, ImageVersion::V3);
    let zeroes = [1, 2, 3, 9].into_iter().chain(0x100..0x1203).map(Pfn);
    built(write::zero_pages(&mut out, &PageRun::all_of(zeroes)));
    pages(&mut out, &[(0, PageType::Normal), (0xfeff, PageType::Normal)]);
    built(write::zero_pages(&mut out, &PageRun::all_of([Pfn(0)])));
    hvm_image_rest(&mut out);
    out
}

fn hvm_image_up_to_pages(version: ImageVersion) -> Vec<u8> {
    let mut out = Vec::new();
    headers(&mut out, version, GuestType::X86Hvm);
    static_data(&mut out, version);
    pages(&mut out, &[(0, PageType::Normal), (0xfeff, PageType::Normal)]);
    built(write::verify(&mut out));
    pages(&mut out, &[(0, PageType::Normal), (0xa0, PageType::Invalid)]);
    out
}

fn hvm_image_rest(out: &mut Vec<u8>) {
    built(write::tsc_info(out, &tsc_info()));
    // In the order Xen 4.17 sends them.
    built(write::hvm_context(out, &[0x77; 203]));
    let params = [HvmParam { index: 1, value: 0xfeff }, HvmParam { index: 17, value: 0xfefe }];
    built(write::hvm_params(out, &params));
    built(write::end(out));
}

/// A libxl stream of an HVM guest with a device model.
pub fn libxl_hvm_stream() -> Vec<u8> {
    let mut out = libxl_with_image(&hvm_image_without_optional(ImageVersion::V3));
    let pair = |key: &str, value: &[u8]| XenstorePair { key: key.into(), value: value.into() };
    let pairs =
        [pair("physmap/f0000000/start_addr", b"a0000"), pair("physmap/f0000000/size", b"800000")];
    built(libxl::write::emulator_xenstore_data(&mut out, QEMU, &pairs));
    built(libxl::write::emulator_context(&mut out, QEMU, b"QEVM and so on"));
    built(libxl::write::end(&mut out));
    out
}

/// The same without the nodes of the device model.
pub fn libxl_hvm_stream_without_xenstore_data() -> Vec<u8> {
    let mut out = libxl_with_image(&hvm_image_without_optional(ImageVersion::V3));
    built(libxl::write::emulator_context(&mut out, QEMU, b"QEVM and so on"));
    built(libxl::write::end(&mut out));
    out
}

const CONFIG: &str = r#"{"c_info":{"type":"pv","name":"guest"},"b_info":{"max_memkb":64}}"#;

/// Length of the header and configuration of [`xl_pv_file`]. A libxl stream follows.
pub const XL_PV_HEADER_BYTES: usize = CONFIG_OFFSET as usize + CONFIG.len() + 1;

/// What `xl save` writes for a PV guest.
pub fn xl_pv_file() -> Vec<u8> {
    let mut out = Vec::new();
    built(XlHeader::with_json(CONFIG).write(&mut out));
    out.extend(libxl_with_image(&pv_image(ImageVersion::V3)));
    built(libxl::write::end(&mut out));
    out
}

/// A libxl stream up to the end of its image.
fn libxl_with_image(image: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    built(libxl::write::header(&mut out, &libxl::Header::default()));
    built(libxl::write::libxc_context(&mut out));
    out.extend_from_slice(image);
    out
}

/// Appends a PAGE_DATA record; each page that has contents is filled with the low byte of its pfn.
pub fn pages(out: &mut Vec<u8>, pages: &[(u64, PageType)]) {
    let entries: Vec<PageEntry> =
        pages.iter().map(|(pfn, t)| PageEntry { pfn: Pfn(*pfn), page_type: *t }).collect();
    encode_head(&entries, out).expect("a batch that fits a record");
    for entry in entries.iter().filter(|e| e.page_type.has_data()) {
        out.resize(out.len() + PAGE_BYTES, entry.pfn.0 as u8);
    }
}

fn headers(out: &mut Vec<u8>, version: ImageVersion, guest_type: GuestType) {
    let domain = DomainHeader { guest_type, xen_major: 4, xen_minor: 17 };
    built(write::headers(out, &ImageHeader { version }, &domain));
}

fn static_data(out: &mut Vec<u8>, version: ImageVersion) {
    if version < ImageVersion::V3 {
        return;
    }
    let leaf = CpuidLeaf { leaf: 7, subleaf: 0, registers: [1, 2, 3, 4] };
    built(write::cpuid_policy(out, &[leaf, CpuidLeaf::default()]));
    built(write::msr_policy(out, &[MsrEntry { index: 0xce, value: 1 << 31 }]));
    built(write::static_data_end(out));
}

fn tsc_info() -> TscInfo {
    TscInfo { mode: 0, khz: 2_400_000, elapsed_ns: 123_456_789, incarnation: 2 }
}

/// Writing to memory cannot fail, and the samples are within every limit.
fn built(written: std::io::Result<()>) {
    written.expect("a record within its limits, written to memory");
}

/// An offer, an answer without its magic, and one message of each kind.
pub fn xend_messages() -> Vec<Vec<u8>> {
    let token = Token::from_bytes([7; Token::BYTES]);
    let needs = GuestNeeds {
        total_pages: 1 << 16,
        cpuid: vec![CpuidLeaf { leaf: 1, subleaf: !0, registers: [1, 2, 3, 4] }],
        msrs: vec![MsrEntry { index: 0xce, value: 1 << 31 }],
        ..GuestNeeds::default()
    };
    let versions = xend::our_versions();
    let request = Request::Migrate;
    let capabilities = xend::CAPABILITIES;
    let offer = Offer { versions: versions.clone(), request, token, capabilities, needs };
    let answer = Answer {
        version: Some(xend::CURRENT),
        versions,
        verdict: Verdict::Refused,
        token,
        capabilities: 0,
        problems: vec!["no bridge".to_owned()],
        warnings: vec!["another clock".to_owned()],
    };
    let timing = Timing { step: "finish".to_owned(), micros: 1234 };
    let mut frames = Vec::new();
    for frame in [
        Frame::KeepAlive,
        Frame::Ready(token),
        Frame::Running(vec![timing]),
        Frame::Failed("no memory".to_owned()),
        Frame::Handover(token),
        Frame::Cancel("asked to".to_owned()),
    ] {
        frame.write(&mut frames).expect("room in memory");
    }
    vec![offer.encode(), answer.encode()[xend::ANSWER_MAGIC.len()..].to_vec(), frames]
}
