//! Writing an image: the headers, and one function per record.
//!
//! Each writes its record with one call of [`Write::write_all`]. Only PAGE_DATA is not here: its
//! head comes from [`page_data`](super::page_data), so that head and pages lie in one buffer.

use std::io::{self, Write};

use crate::hypervisor::types::Pfn;
use crate::stream::bytes::write_record;
use crate::stream::libxc::PAGE_BYTES;
use crate::stream::libxc::body::{
    CpuidLeaf, HvmParam, MsrEntry, P2mFrames, PageRun, PvWidth, TscInfo, VcpuState,
};
use crate::stream::libxc::header::{DomainHeader, ImageHeader};
use crate::stream::libxc::record::{Record, RecordType};

/// The two headers.
pub fn headers(out: &mut impl Write, image: &ImageHeader, domain: &DomainHeader) -> io::Result<()> {
    out.write_all(&[image.encode().as_slice(), domain.encode().as_slice()].concat())
}

/// X86_PV_INFO.
pub fn pv_info(out: &mut impl Write, width: PvWidth) -> io::Result<()> {
    framed(out, RecordType::PvInfo, |body| width.encode(body))
}

/// X86_PV_P2M_FRAMES.
pub fn pv_p2m_frames(out: &mut impl Write, frames: &P2mFrames) -> io::Result<()> {
    framed(out, RecordType::PvP2mFrames, |body| frames.encode(body))
}

/// X86_PV_VCPU_BASIC, _EXTENDED, _XSAVE or _MSRS.
pub fn pv_vcpu(out: &mut impl Write, state: &VcpuState) -> io::Result<()> {
    framed(out, RecordType::PvVcpu(state.kind), |body| state.encode(body))
}

/// SHARED_INFO.
pub fn shared_info(out: &mut impl Write, page: &[u8; PAGE_BYTES]) -> io::Result<()> {
    blob(out, RecordType::SharedInfo, page)
}

/// X86_TSC_INFO.
pub fn tsc_info(out: &mut impl Write, info: &TscInfo) -> io::Result<()> {
    framed(out, RecordType::TscInfo, |body| info.encode(body))
}

/// HVM_CONTEXT.
pub fn hvm_context(out: &mut impl Write, context: &[u8]) -> io::Result<()> {
    blob(out, RecordType::HvmContext, context)
}

/// HVM_PARAMS.
pub fn hvm_params(out: &mut impl Write, params: &[HvmParam]) -> io::Result<()> {
    framed(out, RecordType::HvmParams, |body| HvmParam::encode_all(params, body))
}

/// X86_CPUID_POLICY.
pub fn cpuid_policy(out: &mut impl Write, leaves: &[CpuidLeaf]) -> io::Result<()> {
    framed(out, RecordType::CpuidPolicy, |body| leaves.iter().for_each(|leaf| leaf.encode(body)))
}

/// X86_MSR_POLICY.
pub fn msr_policy(out: &mut impl Write, entries: &[MsrEntry]) -> io::Result<()> {
    framed(out, RecordType::MsrPolicy, |body| entries.iter().for_each(|e| e.encode(body)))
}

/// XEND_ZERO_PAGES. Only a xend understands it, and only one that has said so may be sent it.
pub fn zero_pages(out: &mut impl Write, runs: &[PageRun]) -> io::Result<()> {
    framed(out, RecordType::ZeroPages, |body| PageRun::encode_all(runs, body))
}

/// CHECKPOINT_DIRTY_PFN_LIST.
pub fn checkpoint_dirty_pfn_list(out: &mut impl Write, pfns: &[Pfn]) -> io::Result<()> {
    framed(out, RecordType::CheckpointDirtyPfnList, |body| {
        body.extend(pfns.iter().flat_map(|pfn| pfn.0.to_le_bytes()));
    })
}

/// TOOLSTACK. Nobody accepts it; it is here to show that we do not either.
pub fn toolstack(out: &mut impl Write, data: &[u8]) -> io::Result<()> {
    blob(out, RecordType::Toolstack, data)
}

/// STATIC_DATA_END.
pub fn static_data_end(out: &mut impl Write) -> io::Result<()> {
    blob(out, RecordType::StaticDataEnd, &[])
}

/// VERIFY.
pub fn verify(out: &mut impl Write) -> io::Result<()> {
    blob(out, RecordType::Verify, &[])
}

/// CHECKPOINT.
pub fn checkpoint(out: &mut impl Write) -> io::Result<()> {
    blob(out, RecordType::Checkpoint, &[])
}

/// END.
pub fn end(out: &mut impl Write) -> io::Result<()> {
    blob(out, RecordType::End, &[])
}

/// A record that a reader may skip; `number` gets bit 31 if it has not.
pub fn optional(out: &mut impl Write, number: u32, body: &[u8]) -> io::Result<()> {
    blob(out, RecordType::Optional(number), body)
}

/// Any record but PAGE_DATA.
///
/// # Errors
/// The writer's; `InvalidInput` for PAGE_DATA, and for a body that a reader would refuse.
pub fn record(out: &mut impl Write, record: &Record) -> io::Result<()> {
    match record {
        Record::PageData(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "PAGE_DATA is written with its pages, by page_data::write_head",
        )),
        Record::End => end(out),
        Record::PvInfo(width) => pv_info(out, *width),
        Record::PvP2mFrames(frames) => pv_p2m_frames(out, frames),
        Record::PvVcpu(state) => pv_vcpu(out, state),
        Record::SharedInfo(page) => shared_info(out, page),
        Record::TscInfo(info) => tsc_info(out, info),
        Record::HvmContext(context) => hvm_context(out, context),
        Record::HvmParams(params) => hvm_params(out, params),
        Record::Toolstack(data) => toolstack(out, data),
        Record::Verify => verify(out),
        Record::Checkpoint => checkpoint(out),
        Record::CheckpointDirtyPfnList(pfns) => checkpoint_dirty_pfn_list(out, pfns),
        Record::StaticDataEnd => static_data_end(out),
        Record::CpuidPolicy(leaves) => cpuid_policy(out, leaves),
        Record::MsrPolicy(entries) => msr_policy(out, entries),
        Record::ZeroPages(runs) => zero_pages(out, runs),
        Record::Optional { number, body } => {
            optional(out, *number, body.as_deref().unwrap_or_default())
        }
    }
}

fn blob(out: &mut impl Write, record_type: RecordType, body: &[u8]) -> io::Result<()> {
    framed(out, record_type, |buffer| buffer.extend_from_slice(body))
}

fn framed(
    out: &mut impl Write,
    record_type: RecordType,
    encode_body: impl FnOnce(&mut Vec<u8>),
) -> io::Result<()> {
    write_record(
        out,
        record_type.to_wire(),
        record_type.name(),
        record_type.max_bytes(),
        encode_body,
    )
}
