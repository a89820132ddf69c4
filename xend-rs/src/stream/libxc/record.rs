//! Records: their types, the longest body each may have, and what they decode to.

use std::fmt;

use crate::hypervisor::types::Pfn;
use crate::stream::libxc::body::{
    CpuidLeaf, HvmParam, MsrEntry, P2mFrames, PageRun, PvWidth, TscInfo, VcpuKind, VcpuState,
};
use crate::stream::libxc::page_data::PageDataHead;
use crate::stream::libxc::{MAX_RECORD_BYTES, PAGE_BYTES};

/// Set in the type of a record that a reader may skip without understanding it.
const OPTIONAL_BIT: u32 = 1 << 31;

/// "xen" and a 1: far from Xen's own numbers, which count up from 0.
const ZERO_PAGES: u32 = 0x7865_6e01;

/// Type of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// Last record of an image.
    End,
    /// A batch of pages.
    PageData,
    /// Width of a PV guest.
    PvInfo,
    /// Where a PV guest keeps its P2M.
    PvP2mFrames,
    /// State of one PV vCPU.
    PvVcpu(VcpuKind),
    /// The page a PV guest shares with Xen.
    SharedInfo,
    /// How the guest sees the time stamp counter.
    TscInfo,
    /// Machine state of an HVM guest, as Xen packs it.
    HvmContext,
    /// Parameters of an HVM guest.
    HvmParams,
    /// Deprecated, never sent by a release of Xen.
    Toolstack,
    /// All memory was sent; it now comes a second time, to be compared.
    Verify,
    /// End of one state of a checkpointed stream.
    Checkpoint,
    /// Dirty pages of a COLO secondary; travels in the other direction.
    CheckpointDirtyPfnList,
    /// End of what does not change while the guest runs.
    StaticDataEnd,
    /// CPUID policy.
    CpuidPolicy,
    /// MSR policy.
    MsrPolicy,
    /// Pages that are zero. Not of Xen's format: between two xends only.
    ZeroPages,
    /// A record nobody has to understand, with its number.
    Optional(u32),
}

impl RecordType {
    /// Every type of Xen's but the optional ones, by their numbers.
    pub const MANDATORY: [RecordType; 19] = [
        RecordType::End,
        RecordType::PageData,
        RecordType::PvInfo,
        RecordType::PvP2mFrames,
        RecordType::PvVcpu(VcpuKind::Basic),
        RecordType::PvVcpu(VcpuKind::Extended),
        RecordType::PvVcpu(VcpuKind::Xsave),
        RecordType::SharedInfo,
        RecordType::TscInfo,
        RecordType::HvmContext,
        RecordType::HvmParams,
        RecordType::Toolstack,
        RecordType::PvVcpu(VcpuKind::Msrs),
        RecordType::Verify,
        RecordType::Checkpoint,
        RecordType::CheckpointDirtyPfnList,
        RecordType::StaticDataEnd,
        RecordType::CpuidPolicy,
        RecordType::MsrPolicy,
    ];

    /// The type with this number; `None` if it is unknown and may not be skipped.
    pub fn from_wire(number: u32) -> Option<RecordType> {
        if number & OPTIONAL_BIT != 0 {
            return Some(RecordType::Optional(number));
        }
        if number == ZERO_PAGES {
            return Some(RecordType::ZeroPages);
        }
        RecordType::MANDATORY.get(number as usize).copied()
    }

    /// The number.
    pub fn to_wire(self) -> u32 {
        match self {
            RecordType::End => 0x00,
            RecordType::PageData => 0x01,
            RecordType::PvInfo => 0x02,
            RecordType::PvP2mFrames => 0x03,
            RecordType::PvVcpu(VcpuKind::Basic) => 0x04,
            RecordType::PvVcpu(VcpuKind::Extended) => 0x05,
            RecordType::PvVcpu(VcpuKind::Xsave) => 0x06,
            RecordType::SharedInfo => 0x07,
            RecordType::TscInfo => 0x08,
            RecordType::HvmContext => 0x09,
            RecordType::HvmParams => 0x0a,
            RecordType::Toolstack => 0x0b,
            RecordType::PvVcpu(VcpuKind::Msrs) => 0x0c,
            RecordType::Verify => 0x0d,
            RecordType::Checkpoint => 0x0e,
            RecordType::CheckpointDirtyPfnList => 0x0f,
            RecordType::StaticDataEnd => 0x10,
            RecordType::CpuidPolicy => 0x11,
            RecordType::MsrPolicy => 0x12,
            RecordType::ZeroPages => ZERO_PAGES,
            RecordType::Optional(number) => number | OPTIONAL_BIT,
        }
    }

    /// The name Xen's format description uses.
    pub fn name(self) -> &'static str {
        match self {
            RecordType::End => "END",
            RecordType::PageData => "PAGE_DATA",
            RecordType::PvInfo => "X86_PV_INFO",
            RecordType::PvP2mFrames => "X86_PV_P2M_FRAMES",
            RecordType::PvVcpu(VcpuKind::Basic) => "X86_PV_VCPU_BASIC",
            RecordType::PvVcpu(VcpuKind::Extended) => "X86_PV_VCPU_EXTENDED",
            RecordType::PvVcpu(VcpuKind::Xsave) => "X86_PV_VCPU_XSAVE",
            RecordType::SharedInfo => "SHARED_INFO",
            RecordType::TscInfo => "X86_TSC_INFO",
            RecordType::HvmContext => "HVM_CONTEXT",
            RecordType::HvmParams => "HVM_PARAMS",
            RecordType::Toolstack => "TOOLSTACK",
            RecordType::PvVcpu(VcpuKind::Msrs) => "X86_PV_VCPU_MSRS",
            RecordType::Verify => "VERIFY",
            RecordType::Checkpoint => "CHECKPOINT",
            RecordType::CheckpointDirtyPfnList => "CHECKPOINT_DIRTY_PFN_LIST",
            RecordType::StaticDataEnd => "STATIC_DATA_END",
            RecordType::CpuidPolicy => "X86_CPUID_POLICY",
            RecordType::MsrPolicy => "X86_MSR_POLICY",
            RecordType::ZeroPages => "XEND_ZERO_PAGES",
            RecordType::Optional(_) => "optional",
        }
    }

    /// The longest body that is accepted. Below the format's own 128 MiB where what a record
    /// holds is known to be smaller, with room for larger hosts than there are.
    pub fn max_bytes(self) -> u32 {
        match self {
            RecordType::End
            | RecordType::Verify
            | RecordType::Checkpoint
            | RecordType::StaticDataEnd => 0,
            RecordType::PageData | RecordType::Optional(_) => MAX_RECORD_BYTES,
            RecordType::PvInfo => 8,
            // One word for each 512 of the 2^32 pfns the record can speak of.
            RecordType::PvP2mFrames => 8 + (64 << 20),
            RecordType::PvVcpu(kind) => 8 + kind.max_state_bytes(),
            RecordType::SharedInfo => PAGE_BYTES as u32,
            RecordType::TscInfo => 24,
            // Some 10 KiB per vCPU.
            RecordType::HvmContext => 16 << 20,
            RecordType::HvmParams => 8 + 1024 * 16,
            RecordType::Toolstack => 1 << 20,
            RecordType::CheckpointDirtyPfnList => 8 << 20,
            RecordType::CpuidPolicy => 4096 * 24,
            RecordType::MsrPolicy => 4096 * 16,
            RecordType::ZeroPages => (PageRun::MAX_RUNS * size_of::<u64>()) as u32,
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordType::Optional(number) => write!(f, "optional {number:#x}"),
            known => f.write_str(known.name()),
        }
    }
}

/// Where a record is and what its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Position in the image, from 0.
    pub index: u64,
    /// Offset of the record header in the stream.
    pub offset: u64,
    /// Type.
    pub record_type: RecordType,
    /// Length of the body without padding.
    pub body_bytes: u32,
}

/// A record, decoded. Of PAGE_DATA only the head: the page contents stay in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// END.
    End,
    /// PAGE_DATA without the page contents.
    PageData(PageDataHead),
    /// X86_PV_INFO.
    PvInfo(PvWidth),
    /// X86_PV_P2M_FRAMES.
    PvP2mFrames(P2mFrames),
    /// X86_PV_VCPU_BASIC, _EXTENDED, _XSAVE or _MSRS.
    PvVcpu(VcpuState),
    /// SHARED_INFO: one page.
    SharedInfo(Box<[u8; PAGE_BYTES]>),
    /// X86_TSC_INFO.
    TscInfo(TscInfo),
    /// HVM_CONTEXT; not empty.
    HvmContext(Vec<u8>),
    /// HVM_PARAMS.
    HvmParams(Vec<HvmParam>),
    /// TOOLSTACK.
    Toolstack(Vec<u8>),
    /// VERIFY.
    Verify,
    /// CHECKPOINT.
    Checkpoint,
    /// CHECKPOINT_DIRTY_PFN_LIST.
    CheckpointDirtyPfnList(Vec<Pfn>),
    /// STATIC_DATA_END.
    StaticDataEnd,
    /// X86_CPUID_POLICY; not empty.
    CpuidPolicy(Vec<CpuidLeaf>),
    /// X86_MSR_POLICY; not empty.
    MsrPolicy(Vec<MsrEntry>),
    /// XEND_ZERO_PAGES; not empty, in ascending order.
    ZeroPages(Vec<PageRun>),
    /// A record with bit 31 set in its type.
    Optional {
        /// The whole type, bit 31 included.
        number: u32,
        /// The body, unless it is longer than [`MAX_OPTIONAL_BYTES`] and was skipped.
        body: Option<Vec<u8>>,
    },
}

/// The longest body of an optional record that is kept.
pub const MAX_OPTIONAL_BYTES: u32 = 64 << 10;

impl Record {
    /// Its type.
    pub fn record_type(&self) -> RecordType {
        match self {
            Record::End => RecordType::End,
            Record::PageData(_) => RecordType::PageData,
            Record::PvInfo(_) => RecordType::PvInfo,
            Record::PvP2mFrames(_) => RecordType::PvP2mFrames,
            Record::PvVcpu(state) => RecordType::PvVcpu(state.kind),
            Record::SharedInfo(_) => RecordType::SharedInfo,
            Record::TscInfo(_) => RecordType::TscInfo,
            Record::HvmContext(_) => RecordType::HvmContext,
            Record::HvmParams(_) => RecordType::HvmParams,
            Record::Toolstack(_) => RecordType::Toolstack,
            Record::Verify => RecordType::Verify,
            Record::Checkpoint => RecordType::Checkpoint,
            Record::CheckpointDirtyPfnList(_) => RecordType::CheckpointDirtyPfnList,
            Record::StaticDataEnd => RecordType::StaticDataEnd,
            Record::CpuidPolicy(_) => RecordType::CpuidPolicy,
            Record::MsrPolicy(_) => RecordType::MsrPolicy,
            Record::ZeroPages(_) => RecordType::ZeroPages,
            Record::Optional { number, .. } => RecordType::Optional(*number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_are_a_bijection() {
        for (number, t) in RecordType::MANDATORY.into_iter().enumerate() {
            assert_eq!(t.to_wire(), number as u32, "{t}");
            assert_eq!(RecordType::from_wire(number as u32), Some(t));
        }
        let ours = RecordType::ZeroPages;
        assert_eq!(RecordType::from_wire(ours.to_wire()), Some(ours));
        assert_eq!(RecordType::from_wire(0x13), None);
        assert_eq!(RecordType::from_wire(0x7fff_ffff), None);
        assert_eq!(RecordType::from_wire(0x8000_0001), Some(RecordType::Optional(0x8000_0001)));
    }

    #[test]
    fn no_type_may_be_longer_than_the_format_allows() {
        for t in RecordType::MANDATORY.into_iter().chain([RecordType::ZeroPages]) {
            assert!(t.max_bytes() <= MAX_RECORD_BYTES, "{t}");
        }
    }
}
