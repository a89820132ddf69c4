//! One pass over a set of pages: map a window, read it chunk by chunk, queue what travels, again. A page
//! leaves the set of those that are unsent when it has been read, and what was read has been queued when
//! the pass is over.

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use super::cancel::Cancel;
use super::error::SaveFailure;
use super::order::Order;
use super::outgoing::{Broken, Outgoing};
use super::progress::{Progress, Stage};
use super::put_off::{InTime, PutOff};
use super::reader::{Chunks, Done, Gathered, Reader};
use super::report::PassReport;
use super::toolstack::SourceToolstack;
use crate::hypervisor::types::Pfn;
use crate::hypervisor::{Liveness, MAX_BATCH_PFNS, PfnSet, Sieve, SourceGuest};

/// Pages that are mapped in one go (32 MiB). Mapping is what a pass pays most for after the copy
/// itself: one large window costs one system call and one teardown where Xen's own tools pay for
/// each 1024 pages.
const WINDOW_PFNS: usize = 8 * MAX_BATCH_PFNS;
/// The same for each reader where there are several (64 MiB), so that they seldom wait for each
/// other at a window's end.
const WINDOW_PFNS_PER_READER: usize = 16 * MAX_BATCH_PFNS;

/// Batches in a window where pages are put off and a batch is what leaves in a twentieth of a second: as
/// many as fill a large window at full speed, and no more on a slow link, whose queue would run dry while
/// that is mapped.
const BATCHES_IN_WINDOW: usize = WINDOW_PFNS / MAX_BATCH_PFNS;

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
    /// Whether the receiver makes pages of zeroes itself.
    pub(super) tell_zeroes: bool,
    /// Whether it knows that a page that it is not told of is none: nothing has been sent before.
    pub(super) leave_out_holes: bool,
    /// Threads that read.
    pub(super) readers: usize,
    /// What the guest is seen to write meanwhile, where pages are to be put off for that.
    pub(super) put_off: Option<&'a mut PutOff>,
    /// When it has to end, though not all is sent.
    pub(super) until: Option<Instant>,
    /// Pages that the receiver lacks. Those that are sent are taken out.
    pub(super) unsent: &'a mut PfnSet,
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
    /// When it began.
    started: Instant,
}

impl<G: SourceGuest, T: SourceToolstack> Pass<'_, '_, G, T> {
    /// Sends those pages of `order` that travel and waits until the transport has taken them.
    pub(super) fn send(mut self, order: &Order<'_>, stage: Stage) -> Result<PassReport, PassEnd> {
        let started = Instant::now();
        let held_back_pages = order.held_back_pages;
        let mut account = Account {
            report: PassReport { held_back_pages, ..PassReport::default() },
            progress: Progress {
                stage,
                done_pages: 0,
                data_pages: 0,
                total_pages: order.len_pages(),
                sent_bytes: self.outgoing.sent_bytes(),
            },
            busy: Duration::ZERO,
            started,
        };
        self.toolstack.progress(&account.progress);
        if let Some(put_off) = &mut self.put_off {
            put_off.begin_pass();
        }

        // The link has nothing to do until the first is mapped.
        let mut window_pfns = self.window_pfns(&account).min(MAX_BATCH_PFNS * self.readers.max(1));
        let mut pfns = order.pfns();
        let mut window: Vec<Pfn> = Vec::with_capacity(WINDOW_PFNS);
        let mut gathered = Gathered::new(self.outgoing, self.tell_zeroes);
        loop {
            window.clear();
            self.fill_window(&mut window, &mut pfns, window_pfns, &mut account);
            if window.is_empty() || self.is_over() {
                break;
            }
            let mapping = Instant::now();
            self.guest.map_window(&window)?;
            account.report.reading += mapping.elapsed();
            account.report.lead.get_or_insert_with(|| started.elapsed());
            self.send_window(&window, &mut gathered, &mut account)?;
            window_pfns = self.window_pfns(&account);
        }
        gathered.send()?;
        self.outgoing.drain()?;
        account.report.reading += account.busy / self.readers.max(1) as u32;
        account.report.duration = started.elapsed();
        if let Some(put_off) = &mut self.put_off {
            account.report.looks = put_off.end_pass(&account.report);
        }
        Ok(account.report)
    }

    /// Takes the next pages, but for those that are put off: they need not even be mapped.
    fn fill_window(
        &self,
        window: &mut Vec<Pfn>,
        pfns: &mut dyn Iterator<Item = Pfn>,
        window_pfns: usize,
        account: &mut Account,
    ) {
        let Some(put_off) = &self.put_off else {
            window.extend(pfns.take(window_pfns));
            return;
        };
        while window.len() < window_pfns
            && let Some(pfn) = pfns.next()
        {
            if put_off.written().contains(pfn) {
                account.report.put_off_pages += 1;
                account.progress.done_pages += 1;
            } else {
                window.push(pfn);
            }
        }
    }

    /// What has not been sent by then stays unsent.
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn send_window(
        &mut self,
        window: &[Pfn],
        gathered: &mut Gathered<'_, '_>,
        account: &mut Account,
    ) -> Result<(), PassEnd> {
        let chunks = Chunks::of_window(window.len());
        if self.readers > 1 && self.put_off.is_none() {
            return self.send_window_by_several(window, &chunks, account);
        }
        while !self.is_over() {
            let pfns = self.batch_pfns(account);
            let Some(pages) = chunks.next(pfns) else { break };
            if let Some(put_off) = &mut self.put_off {
                put_off.look(self.guest);
            }
            let batch = gathered.batch_with_room(pages.len())?;
            let put_off = self.put_off.as_deref().map(PutOff::written);
            let done = match put_off {
                None => self.reader(self.sieve, account).read(pages, batch)?,
                Some(put_off) => {
                    let sieve = InTime { sieve: self.sieve, put_off };
                    self.reader(&sieve, account).read(pages, batch)?
                }
            };
            gathered.send_from(pfns)?;
            settle(self.unsent, self.owed, put_off, window, &done, account);
            account.progress.sent_bytes = self.outgoing.sent_bytes();
            self.toolstack.progress(&account.progress);
        }
        Ok(())
    }

    fn send_window_by_several(
        &mut self,
        window: &[Pfn],
        chunks: &Chunks,
        account: &mut Account,
    ) -> Result<(), PassEnd> {
        let tell_zeroes = self.tell_zeroes;
        let reader = Reader {
            guest: &*self.guest,
            cancel: self.cancel,
            sieve: self.sieve,
            leave_out_holes: self.leave_out_holes,
            liveness: liveness_in(account.progress.stage),
        };
        let (unsent, owed) = (&mut *self.unsent, &mut *self.owed);
        let (toolstack, outgoing) = (&mut *self.toolstack, self.outgoing);
        thread::scope(|scope| {
            let (tell, done) = channel();
            for _ in 0..self.readers {
                let (tell, reader) = (tell.clone(), &reader);
                let mut gathered = Gathered::new(outgoing, tell_zeroes);
                scope.spawn(move || reader.send_chunks(chunks, &mut gathered, &tell));
            }
            drop(tell);
            for done in done {
                // The others stop after the chunk that they are at.
                let done = done.inspect_err(|_| chunks.stop())?;
                settle(unsent, owed, None, window, &done, account);
                account.progress.sent_bytes = outgoing.sent_bytes();
                toolstack.progress(&account.progress);
            }
            Ok(())
        })
    }

    fn reader<'b>(&'b self, sieve: &'b dyn Sieve, account: &Account) -> Reader<'b, G> {
        Reader {
            guest: &*self.guest,
            cancel: self.cancel,
            sieve,
            leave_out_holes: self.leave_out_holes,
            liveness: liveness_in(account.progress.stage),
        }
    }

    /// How many pages to map at once.
    fn window_pfns(&self, account: &Account) -> usize {
        match (&self.put_off, self.readers) {
            (Some(_), _) => BATCHES_IN_WINDOW * self.batch_pfns(account),
            (None, 0 | 1) => WINDOW_PFNS,
            (None, readers) => WINDOW_PFNS_PER_READER * readers,
        }
    }

    /// How many pages to read at once.
    fn batch_pfns(&self, account: &Account) -> usize {
        self.put_off.as_ref().map_or(MAX_BATCH_PFNS, |put_off| {
            // Pages, not bytes: those of zeroes take none.
            put_off.batch_pfns(account.progress.done_pages, account.started.elapsed())
        })
    }
}

fn liveness_in(stage: Stage) -> Liveness {
    match stage {
        Stage::PreCopy { .. } => Liveness::Running,
        Stage::StopAndCopy | Stage::Verify | Stage::Receiving => Liveness::Suspended,
    }
}

/// A page that was looked at is neither unsent nor owed any more, for the receiver has it or will; one
/// that the batch calls owed is owed, from now. One that was put off stays what it was.
fn settle(
    unsent: &mut PfnSet,
    owed: &mut PfnSet,
    put_off: Option<&PfnSet>,
    window: &[Pfn],
    done: &Done,
    account: &mut Account,
) {
    for &pfn in &window[done.pages.clone()] {
        if put_off.is_some_and(|put_off| put_off.contains(pfn)) {
            account.report.put_off_pages += 1;
            continue;
        }
        unsent.remove(pfn);
        owed.remove(pfn);
    }
    for &pfn in &done.owed {
        owed.insert(pfn);
    }
    account.report.data_pages += done.data_pages;
    account.report.zero_pages += done.zero_pages;
    account.report.empty_pages += done.empty_pages;
    account.report.owed_pages += done.owed.len() as u64;
    account.report.read_pages += done.read_pages;
    account.progress.done_pages += done.pages.len() as u64;
    account.progress.data_pages += done.data_pages;
    account.busy += done.reading;
}
