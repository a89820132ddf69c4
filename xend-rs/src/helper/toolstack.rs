//! libxl, as the toolstack that the engine asks.

use std::sync::Arc;

use super::args::Callbacks;
use super::ipc::{Message, message};
use super::link::Link;
use crate::hypervisor::types::Domid;
use crate::hypervisor::{MissingPolicies, RingFrames};
use crate::migration::progress::{Progress, Stage};
use crate::migration::toolstack::{DestinationToolstack, SourceToolstack, ToolstackError};

/// libxl while it saves a guest.
pub(super) struct LibxlSource {
    pub(super) link: Arc<Link>,
    pub(super) callbacks: Callbacks,
    pub(super) domid: Domid,
    /// Only such a guest may have a device model whose writes count too.
    pub(super) is_hvm: bool,
}

impl SourceToolstack for LibxlSource {
    fn suspend(&mut self) -> Result<(), ToolstackError> {
        let request = "suspend the guest";
        match self.link.ask(Message::new(message::SUSPEND), request)? {
            1 => Ok(()),
            _ => Err(ToolstackError::Refused { request }),
        }
    }

    /// libxl resumes the guest itself, as soon as it hears that the save failed.
    fn resume(&mut self) -> Result<(), ToolstackError> {
        Ok(())
    }

    fn set_device_model_log_dirty(&mut self, on: bool) -> Result<(), ToolstackError> {
        if !self.is_hvm || !self.callbacks.has(message::SWITCH_QEMU_LOGDIRTY) {
            return Ok(());
        }
        let request = "switch the device model's write tracking";
        let message =
            Message::new(message::SWITCH_QEMU_LOGDIRTY).u32(self.domid.0.into()).u32(on.into());
        match self.link.ask(message, request)? {
            0 => Ok(()),
            _ => Err(ToolstackError::Refused { request }),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        tell_progress(&self.link, progress);
    }
}

/// libxl while it restores a guest.
pub(super) struct LibxlDestination {
    pub(super) link: Arc<Link>,
    pub(super) callbacks: Callbacks,
}

/// `XGR_SDD_MISSING_CPUID` and `XGR_SDD_MISSING_MSR` of xenguest.h.
const MISSING_CPUID: u32 = 1;
const MISSING_MSR: u32 = 2;

impl DestinationToolstack for LibxlDestination {
    fn static_data_done(&mut self, missing: MissingPolicies) -> Result<(), ToolstackError> {
        if !self.callbacks.has(message::STATIC_DATA_DONE) {
            return Ok(());
        }
        let request = "set the CPU policies that the stream does not have";
        let bits = if missing.cpuid { MISSING_CPUID } else { 0 }
            | if missing.msr { MISSING_MSR } else { 0 };
        match self.link.ask(Message::new(message::STATIC_DATA_DONE).u32(bits), request)? {
            0 => Ok(()),
            _ => Err(ToolstackError::Refused { request }),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        tell_progress(&self.link, progress);
    }
}

/// Tells libxl where the rings are, which it needs to introduce the domain.
pub(super) fn tell_results(link: &Link, rings: RingFrames) -> Result<(), ToolstackError> {
    let message = Message::new(message::RESTORE_RESULTS).u64(rings.store.0).u64(rings.console.0);
    link.tell(message).map_err(|source| ToolstackError::Lost {
        request: "take the results of the restore",
        source,
    })
}

/// In the words of Xen's own helper, so that `xl` shows what its users are used to.
fn tell_progress(link: &Link, progress: &Progress) {
    let what = match progress.stage {
        Stage::PreCopy { round } => format!("Frames iteration {round}"),
        Stage::StopAndCopy => "Frames last pass".to_owned(),
        Stage::Verify => "Frames verify".to_owned(),
        Stage::Receiving => "Frames received".to_owned(),
    };
    let message = Message::new(message::PROGRESS)
        .text("xend")
        .text(&what)
        .u64(progress.done_pages)
        .u64(progress.total_pages);
    // With libxl gone there is nobody to tell, and the link has cancelled the transfer.
    let _ = link.tell(message);
}
