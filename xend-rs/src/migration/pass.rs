//! One pass over a set of pages: map a window, read a batch, queue it, again.

use std::time::Instant;

use super::cancel::Cancel;
use super::error::SaveFailure;
use super::outgoing::{Broken, Outgoing};
use super::progress::{Progress, Stage};
use super::report::PassReport;
use super::toolstack::SourceToolstack;
use crate::hypervisor::{Liveness, MAX_BATCH_PFNS, PageBatch, PfnSet, SourceGuest, types::Pfn};

/// Pages that are mapped in one go (32 MiB). Mapping is what a pass pays most for after the copy
/// itself: one large window costs one system call and one teardown where Xen's own tools pay for
/// each 1024 pages.
const WINDOW_PFNS: usize = 8 * MAX_BATCH_PFNS;

/// What ends a pass early.
pub(super) enum PassEnd {
    /// This failed.
    Failed(SaveFailure),
    /// The writer stopped; it knows why.
    Broken,
}

impl From<Broken> for PassEnd {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl<E: Into<SaveFailure>> From<E> for PassEnd {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Everything that a pass works on.
pub(super) struct Pass<'a, 'scope, G, T> {
    pub(super) guest: &'a mut G,
    pub(super) toolstack: &'a mut T,
    pub(super) outgoing: &'a Outgoing<'scope>,
    pub(super) cancel: &'a Cancel,
    /// Pages that could not be read as the guest ran. A page leaves this set when it is sent.
    pub(super) owed: &'a mut PfnSet,
}

impl<G: SourceGuest, T: SourceToolstack> Pass<'_, '_, G, T> {
    /// Sends the pages of `set` and waits until the transport has taken them.
    pub(super) fn send(mut self, set: &PfnSet, stage: Stage) -> Result<PassReport, PassEnd> {
        let started = Instant::now();
        let mut report = PassReport::default();
        let mut progress = Progress { stage, done_pages: 0, total_pages: set.len_pfns() };
        self.toolstack.progress(&progress);

        let mut pfns = set.iter();
        let mut window: Vec<Pfn> = Vec::with_capacity(WINDOW_PFNS);
        loop {
            window.clear();
            window.extend(pfns.by_ref().take(WINDOW_PFNS));
            if window.is_empty() {
                break;
            }
            self.guest.map_window(&window)?;
            for batch_pfns in window.chunks(MAX_BATCH_PFNS) {
                self.send_batch(batch_pfns, stage, &mut report)?;
                progress.done_pages += batch_pfns.len() as u64;
                self.toolstack.progress(&progress);
            }
        }
        self.outgoing.drain()?;
        report.duration = started.elapsed();
        Ok(report)
    }

    fn send_batch(
        &mut self,
        pfns: &[Pfn],
        stage: Stage,
        report: &mut PassReport,
    ) -> Result<(), PassEnd> {
        if self.cancel.is_cancelled() {
            return Err(SaveFailure::Cancelled.into());
        }
        let liveness = match stage {
            Stage::PreCopy { .. } => Liveness::Running,
            Stage::StopAndCopy | Stage::Verify | Stage::Receiving => Liveness::Suspended,
        };
        let mut batch = self.outgoing.empty_batch();
        self.guest.read_batch(pfns, liveness, &mut batch)?;
        self.settle_debts(&batch, report);
        if !batch.entries.is_empty() {
            self.outgoing.send_batch(batch)?;
        }
        Ok(())
    }

    /// A page that is in the batch is no longer owed; one that the batch calls owed is, from now.
    fn settle_debts(&mut self, batch: &PageBatch, report: &mut PassReport) {
        for entry in &batch.entries {
            if entry.page_type.has_data() {
                report.data_pages += 1;
            } else {
                report.empty_pages += 1;
            }
            self.owed.remove(entry.pfn);
        }
        for &pfn in &batch.owed {
            self.owed.insert(pfn);
            report.owed_pages += 1;
        }
    }
}
