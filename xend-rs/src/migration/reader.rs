//! Reading the pages of a window, and gathering what of them travels into batches.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::cancel::Cancel;
use super::error::SaveFailure;
use super::outgoing::{Broken, Outgoing};
use super::pass::PassEnd;
use crate::hypervisor::types::{PAGE_SIZE, Pfn};
use crate::hypervisor::{Liveness, MAX_BATCH_PFNS, PageBatch, Sieve, SourceGuest};
use crate::stream::libxc::{PageRun, PageType};

/// A window in chunks, to be taken by whichever reader is free.
pub(super) struct Chunks {
    next: AtomicUsize,
    len: usize,
}

impl Chunks {
    /// All of a window of `len` pages.
    pub(super) fn of_window(len: usize) -> Self {
        Self { next: AtomicUsize::new(0), len }
    }

    /// The next `pfns` pages, or what is left.
    pub(super) fn next(&self, pfns: usize) -> Option<Range<usize>> {
        let start = self.next.fetch_add(pfns, Ordering::Relaxed);
        (start < self.len).then(|| start..self.len.min(start + pfns))
    }

    pub(super) fn stop(&self) {
        self.next.store(self.len, Ordering::Relaxed);
    }
}

/// One thread's view of a pass.
pub(super) struct Reader<'a, G> {
    pub(super) guest: &'a G,
    pub(super) cancel: &'a Cancel,
    pub(super) sieve: &'a dyn Sieve,
    pub(super) leave_out_holes: bool,
    pub(super) liveness: Liveness,
}

/// Pages that were read. What of them travels is in a batch, or has been queued.
pub(super) struct Done {
    /// By their places in the window.
    pub(super) pages: Range<usize>,
    pub(super) data_pages: u64,
    pub(super) zero_pages: u64,
    pub(super) empty_pages: u64,
    pub(super) read_pages: u64,
    pub(super) owed: Vec<Pfn>,
    pub(super) reading: Duration,
}

impl<G: SourceGuest> Reader<'_, G> {
    /// Reads pages of the window and adds what of them travels to `batch`.
    pub(super) fn read(&self, pages: Range<usize>, batch: &mut PageBatch) -> Result<Done, PassEnd> {
        if self.cancel.is_cancelled() {
            return Err(SaveFailure::Cancelled.into());
        }
        let started = Instant::now();
        let (entries, zeroes) = (batch.entries.len(), batch.zeroes.len());
        let data_before = data_pages(batch);
        self.guest.read_batch(pages.clone(), self.liveness, self.sieve, batch)?;
        if self.leave_out_holes {
            batch.entries.retain(|entry| entry.page_type != PageType::Invalid);
        }
        let data_pages = data_pages(batch) - data_before;
        Ok(Done {
            pages,
            data_pages: data_pages as u64,
            zero_pages: (batch.zeroes.len() - zeroes) as u64,
            empty_pages: (batch.entries.len() - entries - data_pages) as u64,
            read_pages: std::mem::take(&mut batch.read_pages),
            owed: std::mem::take(&mut batch.owed),
            reading: started.elapsed(),
        })
    }

    /// Reads chunk after chunk, one of several readers, and tells of each.
    pub(super) fn send_chunks(
        &self,
        chunks: &Chunks,
        gathered: &mut Gathered<'_, '_>,
        tell: &Sender<Result<Done, PassEnd>>,
    ) {
        while let Some(pages) = chunks.next(MAX_BATCH_PFNS) {
            let done = self.read_and_send(pages, gathered);
            let failed = done.is_err();
            if tell.send(done).is_err() || failed {
                return;
            }
        }
    }

    fn read_and_send(
        &self,
        pages: Range<usize>,
        gathered: &mut Gathered<'_, '_>,
    ) -> Result<Done, PassEnd> {
        let done = self.read(pages, gathered.batch_with_room(MAX_BATCH_PFNS)?)?;
        gathered.send()?;
        Ok(done)
    }
}

/// The batch that a reader fills.
///
/// Who holds the link to a rate waits while a batch is sent, and the queue holds few: so a batch is not
/// queued for the sake of pages of zeroes, which take no time to send and some to be found.
pub(super) struct Gathered<'a, 'scope> {
    outgoing: &'a Outgoing<'scope>,
    tell_zeroes: bool,
    batch: Option<PageBatch>,
}

impl<'a, 'scope> Gathered<'a, 'scope> {
    /// Nothing yet. With `tell_zeroes` pages of zeroes travel without their data.
    pub(super) fn new(outgoing: &'a Outgoing<'scope>, tell_zeroes: bool) -> Self {
        Self { outgoing, tell_zeroes, batch: None }
    }

    /// A batch to add `pfns` pages to, whatever they turn out to be.
    pub(super) fn batch_with_room(&mut self, pfns: usize) -> Result<&mut PageBatch, Broken> {
        if self.batch.as_ref().is_some_and(|batch| !has_room(batch, pfns)) {
            self.send()?;
        }
        let (outgoing, tell_zeroes) = (self.outgoing, self.tell_zeroes);
        Ok(self.batch.get_or_insert_with(|| PageBatch { tell_zeroes, ..outgoing.empty_batch() }))
    }

    /// Queues the batch if it has so many pages with data.
    pub(super) fn send_from(&mut self, pfns: usize) -> Result<(), Broken> {
        match self.batch.as_ref().is_some_and(|batch| data_pages(batch) >= pfns) {
            true => self.send(),
            false => Ok(()),
        }
    }

    /// Queues the batch, if there is anything in it.
    pub(super) fn send(&mut self) -> Result<(), Broken> {
        match self.batch.take() {
            Some(batch) if batch.is_empty() => self.outgoing.give_back(batch),
            Some(batch) => self.outgoing.send_batch(batch)?,
            None => {}
        }
        Ok(())
    }
}

fn has_room(batch: &PageBatch, pfns: usize) -> bool {
    batch.entries.len() + pfns <= MAX_BATCH_PFNS && batch.zeroes.len() + pfns <= PageRun::MAX_RUNS
}

fn data_pages(batch: &PageBatch) -> usize {
    batch.data.len() / PAGE_SIZE
}
