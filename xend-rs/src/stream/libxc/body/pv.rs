//! What only a PV guest has: its width, where its P2M lies, its vCPUs.

use super::{Context, pfn_list, wrong_length};
use crate::hypervisor::types::Pfn;
use crate::stream::bytes::Fields;
use crate::stream::error::{Expected, Fault, StreamErrorKind};
use crate::stream::libxc::PAGE_BYTES;
use crate::stream::libxc::record::RecordType;

/// Width of a PV guest: X86_PV_INFO. The levels of its page tables follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PvWidth {
    /// 4 bytes, 3 levels.
    Bits32,
    /// 8 bytes, 4 levels.
    Bits64,
}

impl PvWidth {
    /// Bytes of a machine word, and of a P2M entry.
    pub fn bytes(self) -> u8 {
        match self {
            PvWidth::Bits32 => 4,
            PvWidth::Bits64 => 8,
        }
    }

    /// Levels of the page tables.
    pub fn page_table_levels(self) -> u8 {
        match self {
            PvWidth::Bits32 => 3,
            PvWidth::Bits64 => 4,
        }
    }

    /// P2M entries in one frame.
    pub fn pfns_per_frame(self) -> u64 {
        PAGE_BYTES as u64 / u64::from(self.bytes())
    }

    /// Length of `vcpu_guest_context` for such a guest.
    pub fn vcpu_context_bytes(self) -> usize {
        match self {
            PvWidth::Bits32 => 2800,
            PvWidth::Bits64 => 5168,
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<PvWidth, Fault> {
        let (width, levels) = (fields.u8()?, fields.u8()?);
        let pv_width = [PvWidth::Bits32, PvWidth::Bits64]
            .into_iter()
            .find(|w| (w.bytes(), w.page_table_levels()) == (width, levels))
            .ok_or_else(|| {
                let found = u64::from(u16::from_le_bytes([width, levels]));
                let what = "X86_PV_INFO guest width and page table levels";
                fields.fault_before(2, StreamErrorKind::BadField { what, found })
            })?;
        fields.reserved::<6>("X86_PV_INFO reserved field")?;
        Ok(pv_width)
    }

    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend([self.bytes(), self.page_table_levels(), 0, 0, 0, 0, 0, 0]);
    }
}

/// The frames that hold a guest's P2M: X86_PV_P2M_FRAMES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct P2mFrames {
    /// First pfn of the described range.
    pub start: u32,
    /// Last pfn of the described range; the guest's last pfn.
    pub end: u32,
    /// The frame of the P2M that holds the entry of `start`, and those after it up to `end`.
    pub frames: Vec<Pfn>,
}

impl P2mFrames {
    const HEADER_BYTES: u64 = 8;

    /// How many frames the range takes in a guest of this width.
    pub fn frame_count(start: u32, end: u32, width: PvWidth) -> u64 {
        let per_frame = width.pfns_per_frame();
        u64::from(end) / per_frame - u64::from(start) / per_frame + 1
    }

    pub(crate) fn decode(fields: &mut Fields<'_>, context: &Context) -> Result<Self, Fault> {
        let (start, end) = (fields.u32()?, fields.u32()?);
        if start > end {
            let kind = StreamErrorKind::BadField {
                what: "X86_PV_P2M_FRAMES start beyond its end",
                found: u64::from(start),
            };
            return Err(fields.fault_before(8, kind));
        }
        if u64::from(end) > context.last_pfn.0 {
            let kind = StreamErrorKind::BadPfn { pfn: u64::from(end), last: context.last_pfn.0 };
            return Err(fields.fault_before(4, kind));
        }
        let found = fields.left() as u64;
        // Without X86_PV_INFO, which only a display of a broken stream lacks, either width will do.
        let widths = match context.pv_width {
            Some(width) => vec![width],
            None => vec![PvWidth::Bits64, PvWidth::Bits32],
        };
        let lengths = widths.into_iter().map(|w| P2mFrames::frame_count(start, end, w) * 8);
        let lengths: Vec<u64> = lengths.collect();
        if !lengths.contains(&found) {
            let expected = Expected::Exactly(P2mFrames::HEADER_BYTES + lengths[0]);
            let found = (P2mFrames::HEADER_BYTES + found) as usize;
            return Err(wrong_length(RecordType::PvP2mFrames, found, expected));
        }
        let at = fields.at();
        let frames = pfn_list(fields.rest(), Pfn(u64::from(end)))
            .map_err(|f| Fault::at(at + f.at, f.kind))?;
        Ok(P2mFrames { start, end, frames })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.start.to_le_bytes());
        out.extend(self.end.to_le_bytes());
        out.extend(self.frames.iter().flat_map(|f| f.0.to_le_bytes()));
    }
}

/// Which part of a vCPU a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VcpuKind {
    /// `vcpu_guest_context`: registers, tables, callbacks.
    Basic,
    /// `xen_domctl_ext_vcpucontext`: system call entry points, machine checks.
    Extended,
    /// XCR0, accumulated XCR0 and the XSAVE area.
    Xsave,
    /// Model-specific registers, 16 bytes each.
    Msrs,
}

impl VcpuKind {
    /// The longest state accepted.
    pub const fn max_state_bytes(self) -> u32 {
        match self {
            VcpuKind::Basic => 5168,
            VcpuKind::Extended => 128,
            // The largest area any CPU has now is about 11 KiB, with AMX tiles.
            VcpuKind::Xsave => 64 << 10,
            VcpuKind::Msrs => 4096 * 16,
        }
    }

    /// Whether so long a state can be of this kind. Empty ones are: old senders wrote them.
    fn fits(self, length: usize, width: Option<PvWidth>) -> Result<(), Expected> {
        let width = width.unwrap_or(PvWidth::Bits64);
        let (good, expected) = match self {
            VcpuKind::Basic => {
                let exact = width.vcpu_context_bytes();
                return if length == exact { Ok(()) } else { Err(Expected::Exactly(exact as u64)) };
            }
            VcpuKind::Extended => return Ok(()),
            VcpuKind::Xsave => (length >= 16, Expected::AtLeast(16)),
            VcpuKind::Msrs => (length.is_multiple_of(16), Expected::MultipleOf(16)),
        };
        if good || length == 0 { Ok(()) } else { Err(expected) }
    }
}

/// One part of one vCPU, as the pair of Xen calls for it packs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VcpuState {
    /// Which part.
    pub kind: VcpuKind,
    /// Which vCPU.
    pub vcpu: u32,
    /// The state. Empty, which is to be ignored, only in old streams and never for
    /// [`VcpuKind::Basic`].
    pub state: Vec<u8>,
}

impl VcpuState {
    pub(crate) fn decode(
        kind: VcpuKind,
        fields: &mut Fields<'_>,
        context: &Context,
    ) -> Result<VcpuState, Fault> {
        let vcpu = fields.u32()?;
        if vcpu >= context.vcpus {
            let kind = StreamErrorKind::BadVcpu { vcpu, vcpus: context.vcpus };
            return Err(fields.fault_before(4, kind));
        }
        fields.reserved::<4>("vCPU record reserved field")?;
        let at = fields.at();
        let state = fields.rest().to_vec();
        kind.fits(state.len(), context.pv_width).map_err(|expected| {
            let found = state.len() as u64;
            Fault::at(at, StreamErrorKind::BadLength { what: "vCPU state", found, expected })
        })?;
        Ok(VcpuState { kind, vcpu, state })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.vcpu.to_le_bytes());
        out.extend([0; 4]);
        out.extend(&self.state);
    }
}
