//! One pass over a set of pages: map a window, read it in batches, queue what travels, again.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::cancel::Cancel;
use super::error::SaveFailure;
use super::outgoing::{Broken, Outgoing};
use super::progress::{Progress, Stage};
use super::report::PassReport;
use super::toolstack::SourceToolstack;
use crate::hypervisor::{Liveness, MAX_BATCH_PFNS, PfnSet, Sieve, SourceGuest, types::Pfn};

/// Pages that are mapped in one go (32 MiB). Mapping is what a pass pays most for after the copy
/// itself: one large window costs one system call and one teardown where Xen's own tools pay for
/// each 1024 pages.
const WINDOW_PFNS: usize = 8 * MAX_BATCH_PFNS;
/// The same for each reader where there are several (64 MiB), so that they seldom wait for each
/// other at a window's end.
const WINDOW_PFNS_PER_READER: usize = 16 * MAX_BATCH_PFNS;

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
    /// What of the pages that are read travels.
    pub(super) sieve: &'a dyn Sieve,
    /// Threads that read.
    pub(super) readers: usize,
    /// Pages that could not be read as the guest ran. A page leaves this set when the receiver has
    /// what it holds.
    pub(super) owed: &'a mut PfnSet,
}

/// The account of a pass under way.
struct Account {
    report: PassReport,
    progress: Progress,
    /// Time that readers spent reading, added up over all of them.
    busy: Duration,
}

impl<G: SourceGuest, T: SourceToolstack> Pass<'_, '_, G, T> {
    /// Sends those pages of `set` that travel and waits until the transport has taken them.
    pub(super) fn send(mut self, set: &PfnSet, stage: Stage) -> Result<PassReport, PassEnd> {
        let started = Instant::now();
        let mut account = Account {
            report: PassReport::default(),
            progress: Progress { stage, done_pages: 0, total_pages: set.len_pfns() },
            busy: Duration::ZERO,
        };
        self.toolstack.progress(&account.progress);

        let window_pfns = match self.readers {
            0 | 1 => WINDOW_PFNS,
            readers => WINDOW_PFNS_PER_READER * readers,
        };
        let mut pfns = set.iter();
        let mut window: Vec<Pfn> = Vec::with_capacity(WINDOW_PFNS);
        loop {
            window.clear();
            window.extend(pfns.by_ref().take(window_pfns));
            if window.is_empty() {
                break;
            }
            let mapping = Instant::now();
            self.guest.map_window(&window)?;
            account.report.reading += mapping.elapsed();
            self.send_window(&window, &mut account)?;
        }
        self.outgoing.drain()?;
        account.report.reading += account.busy / self.readers.max(1) as u32;
        account.report.duration = started.elapsed();
        Ok(account.report)
    }

    fn send_window(&mut self, window: &[Pfn], account: &mut Account) -> Result<(), PassEnd> {
        let (guest, outgoing, cancel) = (&*self.guest, self.outgoing, self.cancel);
        let liveness = match account.progress.stage {
            Stage::PreCopy { .. } => Liveness::Running,
            Stage::StopAndCopy | Stage::Verify | Stage::Receiving => Liveness::Suspended,
        };
        let reader = Reader { guest, outgoing, cancel, sieve: self.sieve, liveness };
        let batches = Batches { next: AtomicUsize::new(0), len: window.len() };
        if self.readers <= 1 {
            while let Some(pages) = batches.next() {
                let done = reader.send_batch(pages)?;
                settle(self.owed, window, &done, account);
                self.toolstack.progress(&account.progress);
            }
            return Ok(());
        }
        let (owed, toolstack) = (&mut *self.owed, &mut *self.toolstack);
        thread::scope(|scope| {
            let (tell, done) = channel();
            for _ in 0..self.readers {
                let (tell, reader, batches) = (tell.clone(), &reader, &batches);
                scope.spawn(move || reader.send_batches(batches, &tell));
            }
            drop(tell);
            for done in done {
                // The others stop after the batch that they are at.
                let done = done.inspect_err(|_| batches.stop())?;
                settle(owed, window, &done, account);
                toolstack.progress(&account.progress);
            }
            Ok(())
        })
    }
}

/// A window in batches, to be taken by whichever reader is free.
struct Batches {
    next: AtomicUsize,
    len: usize,
}

impl Batches {
    fn next(&self) -> Option<Range<usize>> {
        let start = self.next.fetch_add(MAX_BATCH_PFNS, Ordering::Relaxed);
        (start < self.len).then(|| start..self.len.min(start + MAX_BATCH_PFNS))
    }

    fn stop(&self) {
        self.next.store(self.len, Ordering::Relaxed);
    }
}

/// One thread's view of a pass.
struct Reader<'a, 'scope, G> {
    guest: &'a G,
    outgoing: &'a Outgoing<'scope>,
    cancel: &'a Cancel,
    sieve: &'a dyn Sieve,
    liveness: Liveness,
}

/// A batch that was read, and of which all that travels has been queued.
struct Done {
    pages: Range<usize>,
    data_pages: u64,
    empty_pages: u64,
    read_pages: u64,
    owed: Vec<Pfn>,
    reading: Duration,
}

impl<G: SourceGuest> Reader<'_, '_, G> {
    fn send_batches(&self, batches: &Batches, tell: &Sender<Result<Done, PassEnd>>) {
        while let Some(pages) = batches.next() {
            let done = self.send_batch(pages);
            let failed = done.is_err();
            if tell.send(done).is_err() || failed {
                return;
            }
        }
    }

    fn send_batch(&self, pages: Range<usize>) -> Result<Done, PassEnd> {
        if self.cancel.is_cancelled() {
            return Err(SaveFailure::Cancelled.into());
        }
        let mut batch = self.outgoing.empty_batch();
        let started = Instant::now();
        self.guest.read_batch(pages.clone(), self.liveness, self.sieve, &mut batch)?;
        let data_pages = batch.entries.iter().filter(|e| e.page_type.has_data()).count() as u64;
        let done = Done {
            pages,
            data_pages,
            empty_pages: batch.entries.len() as u64 - data_pages,
            read_pages: batch.read_pages,
            owed: std::mem::take(&mut batch.owed),
            reading: started.elapsed(),
        };
        if batch.entries.is_empty() {
            self.outgoing.give_back(batch);
        } else {
            self.outgoing.send_batch(batch)?;
        }
        Ok(done)
    }
}

/// A page that was looked at is no longer owed, for the receiver has it or will; one that the batch
/// calls owed is, from now.
fn settle(owed: &mut PfnSet, window: &[Pfn], done: &Done, account: &mut Account) {
    for &pfn in &window[done.pages.clone()] {
        owed.remove(pfn);
    }
    for &pfn in &done.owed {
        owed.insert(pfn);
    }
    account.report.data_pages += done.data_pages;
    account.report.empty_pages += done.empty_pages;
    account.report.owed_pages += done.owed.len() as u64;
    account.report.read_pages += done.read_pages;
    account.progress.done_pages += done.pages.len() as u64;
    account.busy += done.reading;
}
