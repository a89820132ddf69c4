//! The state of PV vCPUs, kept until all memory is there: Xen checks registers against it.

use crate::hypervisor::xen::pv::vcpu::{CONTEXT_BYTES, Context};
use crate::hypervisor::xen::restore::calls::MAX_EXT_CONTEXT_BYTES;
use crate::hypervisor::xen::restore::guest::Check;
use crate::stream::libxc::{VcpuKind, VcpuState};

/// XCR0 and accumulated XCR0, which stand before an XSAVE area.
const XSAVE_HEADER_BYTES: usize = 16;
/// Well above any CPU's area, with AMX tiles about 11 KiB. Xen compares with its own exactly.
const MAX_XSAVE_BYTES: usize = 64 << 10;
const MSR_BYTES: usize = 16;
/// Xen knows less than a dozen.
const MAX_MSRS: usize = 1024;

/// What the stream said of one vCPU.
#[derive(Default)]
pub(super) struct VcpuStash {
    pub(super) basic: Option<Context>,
    pub(super) extended: Option<Vec<u8>>,
    pub(super) xsave: Option<Vec<u8>>,
    pub(super) msrs: Option<Vec<u8>>,
}

/// What the stream said of each vCPU that the domain has.
pub(super) struct VcpuStashes {
    vcpus: Vec<VcpuStash>,
}

impl VcpuStashes {
    /// Nothing yet of `count` vCPUs.
    pub(super) fn new(count: u32) -> Self {
        let mut vcpus = Vec::new();
        vcpus.resize_with(count as usize, VcpuStash::default);
        Self { vcpus }
    }

    /// Keeps `state`, in place of an earlier one of its kind. Old senders sent empty ones, which
    /// mean nothing.
    pub(super) fn keep(&mut self, state: VcpuState) -> Check<()> {
        let VcpuState { kind, vcpu, state } = state;
        if state.is_empty() {
            return Ok(());
        }
        let count = self.vcpus.len();
        let stash = self
            .vcpus
            .get_mut(vcpu as usize)
            .ok_or_else(|| format!("state of vCPU {vcpu}, but the domain has {count} vCPUs"))?;
        let len = state.len();
        let sized = |good: bool, what| {
            if good { Ok(()) } else { Err(format!("{len} bytes of {what} for vCPU {vcpu}")) }
        };
        match kind {
            VcpuKind::Basic => {
                sized(len == CONTEXT_BYTES, "registers")?;
                stash.basic = state.into_boxed_slice().try_into().ok().map(Context::new);
            }
            VcpuKind::Extended => {
                sized(len <= MAX_EXT_CONTEXT_BYTES, "extended state")?;
                stash.extended = Some(state);
            }
            VcpuKind::Xsave => {
                let good = (XSAVE_HEADER_BYTES..=MAX_XSAVE_BYTES).contains(&len);
                sized(good, "XSAVE state")?;
                stash.xsave = Some(state);
            }
            VcpuKind::Msrs => {
                let good = len.is_multiple_of(MSR_BYTES) && len <= MAX_MSRS * MSR_BYTES;
                sized(good, "MSRs")?;
                stash.msrs = Some(state);
            }
        }
        Ok(())
    }

    /// Gives out what was kept, in order of vCPU ids.
    ///
    /// # Errors
    /// If there are no registers for vCPU 0, without which no guest can run.
    pub(super) fn take(&mut self) -> Check<Vec<VcpuStash>> {
        if self.vcpus.first().is_none_or(|vcpu| vcpu.basic.is_none()) {
            return Err("no registers of vCPU 0 came".into());
        }
        Ok(std::mem::take(&mut self.vcpus))
    }
}
