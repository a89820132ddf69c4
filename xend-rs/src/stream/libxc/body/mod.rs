//! What is inside the records that are not page data: each type with its decoder and encoder.
//!
//! Decoders get a whole body, already bounded in length, and report faults by position in it.
//! Encoders append the body to a buffer.

mod hvm;
mod policy;
mod pv;
mod tsc;
mod zero;

pub use hvm::HvmParam;
pub use policy::{CpuidLeaf, MsrEntry};
pub use pv::{P2mFrames, PvWidth, VcpuKind, VcpuState};
pub use tsc::TscInfo;
pub use zero::PageRun;

use crate::hypervisor::types::Pfn;
use crate::stream::bytes::Fields;
use crate::stream::error::{Expected, Fault, StreamErrorKind};
use crate::stream::libxc::PAGE_BYTES;
use crate::stream::libxc::record::{Record, RecordType};

/// What a body has to be decoded against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// Insist on zero in reserved fields.
    pub(crate) zero_fill: bool,
    /// Width of the guest, once X86_PV_INFO told it.
    pub(crate) pv_width: Option<PvWidth>,
    /// The last pfn the guest may have.
    pub(crate) last_pfn: Pfn,
    /// The last pfn that a page may have: the same, or what a PV guest has said of itself.
    pub(crate) last_page: Pfn,
    /// How many vCPUs the guest may have.
    pub(crate) vcpus: u32,
}

/// Decodes a body that is wholly in memory; that is any but PAGE_DATA and optional ones.
pub(crate) fn decode(
    record_type: RecordType,
    bytes: Vec<u8>,
    context: &Context,
) -> Result<Record, Fault> {
    let mut fields = Fields::new(record_type.name(), &bytes, context.zero_fill);
    let record = match record_type {
        RecordType::End => Record::End,
        RecordType::Verify => Record::Verify,
        RecordType::Checkpoint => Record::Checkpoint,
        RecordType::StaticDataEnd => Record::StaticDataEnd,
        RecordType::PvInfo => Record::PvInfo(PvWidth::decode(&mut fields)?),
        RecordType::PvP2mFrames => Record::PvP2mFrames(P2mFrames::decode(&mut fields, context)?),
        RecordType::PvVcpu(kind) => Record::PvVcpu(VcpuState::decode(kind, &mut fields, context)?),
        RecordType::SharedInfo => return shared_info(bytes),
        RecordType::TscInfo => Record::TscInfo(TscInfo::decode(&mut fields)?),
        RecordType::HvmContext => return opaque(record_type, bytes).map(Record::HvmContext),
        RecordType::HvmParams => Record::HvmParams(HvmParam::decode_all(&mut fields)?),
        RecordType::Toolstack => return Ok(Record::Toolstack(bytes)),
        RecordType::CheckpointDirtyPfnList => {
            Record::CheckpointDirtyPfnList(pfn_list(fields.rest(), context.last_pfn)?)
        }
        RecordType::CpuidPolicy => Record::CpuidPolicy(CpuidLeaf::decode_all(&mut fields)?),
        RecordType::ZeroPages => Record::ZeroPages(PageRun::decode_all(&mut fields, context)?),
        RecordType::MsrPolicy => Record::MsrPolicy(MsrEntry::decode_all(&mut fields)?),
        RecordType::PageData | RecordType::Optional(_) => {
            unreachable!("the reader takes {record_type} apart itself")
        }
    };
    fields.end()?;
    Ok(record)
}

fn shared_info(bytes: Vec<u8>) -> Result<Record, Fault> {
    let page = bytes.into_boxed_slice().try_into().map_err(|b: Box<[u8]>| {
        let expected = Expected::Exactly(PAGE_BYTES as u64);
        wrong_length(RecordType::SharedInfo, b.len(), expected)
    })?;
    Ok(Record::SharedInfo(page))
}

fn opaque(record_type: RecordType, bytes: Vec<u8>) -> Result<Vec<u8>, Fault> {
    if bytes.is_empty() {
        return Err(wrong_length(record_type, 0, Expected::AtLeast(1)));
    }
    Ok(bytes)
}

/// 64-bit pfns up to the end of the body. `Fault::at` counts from the first of them.
fn pfn_list(bytes: &[u8], last_pfn: Pfn) -> Result<Vec<Pfn>, Fault> {
    let (words, rest) = bytes.as_chunks::<{ size_of::<u64>() }>();
    if !rest.is_empty() {
        let kind = StreamErrorKind::BadLength {
            what: "list of pfns",
            found: bytes.len() as u64,
            expected: Expected::MultipleOf(8),
        };
        return Err(Fault::at(0, kind));
    }
    let mut pfns = Vec::with_capacity(words.len());
    for (i, word) in words.iter().enumerate() {
        let pfn = u64::from_le_bytes(*word);
        if pfn > last_pfn.0 {
            let kind = StreamErrorKind::BadPfn { pfn, last: last_pfn.0 };
            return Err(Fault::at(i * size_of::<u64>(), kind));
        }
        pfns.push(Pfn(pfn));
    }
    Ok(pfns)
}

/// How many entries of `entry_bytes` the body holds: some, and no fraction of one.
fn entry_count(record_type: RecordType, length: usize, entry_bytes: usize) -> Result<usize, Fault> {
    if length == 0 || !length.is_multiple_of(entry_bytes) {
        return Err(wrong_length(record_type, length, Expected::MultipleOf(entry_bytes as u64)));
    }
    Ok(length / entry_bytes)
}

fn wrong_length(record_type: RecordType, found: usize, expected: Expected) -> Fault {
    let what = record_type.name();
    Fault::at(0, StreamErrorKind::BadLength { what, found: found as u64, expected })
}
