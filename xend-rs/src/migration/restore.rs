//! The destination of a migration, or a restore from a file: one record after the other into an
//! empty domain.
//!
//! ```text
//! headers → static data ─STATIC_DATA_END→ memory ─(PAGE_DATA)*→ state ─END→ finished
//!                                            └─VERIFY→ comparing ─(PAGE_DATA)*┘
//! ```
//!
//! A xend may send pages of zeroes without contents, wherever PAGE_DATA may come (ZERO_PAGES).
//!
//! The order itself is checked by [`Reader`]; what is done here is to carry it out.

use std::io::Read;
use std::time::Instant;

use super::error::RestoreError;
use super::known_zero::KnownZero;
use super::progress::{Progress, Stage};
use super::report::RestoreReport;
use super::toolstack::DestinationToolstack;
use crate::hypervisor::types::{PAGE_SIZE, Pfn};
use crate::hypervisor::{DestinationGuest, HypervisorError, RingFrames};
use crate::stream::libxc::{PageEntry, PageRun, Reader, Record};

/// Pages of zeroes that are kept to be made at once.
const MAX_ZEROES: usize = 1 << 16;

/// Fills `guest` from the libxc image that `stream` is at, up to and including the END record. Not
/// a byte more is read.
///
/// # Errors
/// Whatever failed first, with the record and the offset. The domain is then only good for being
/// destroyed, by its toolstack.
pub fn restore<G, T, R>(
    guest: &mut G,
    toolstack: &mut T,
    stream: R,
) -> Result<(RingFrames, RestoreReport), RestoreError>
where
    G: DestinationGuest,
    T: DestinationToolstack,
    R: Read,
{
    let started = Instant::now();
    let reader = Reader::new(stream)?;
    let mut restore = Restore {
        guest,
        toolstack,
        reader,
        static_data_done: false,
        comparing: false,
        zeroes: Vec::new(),
        known_zero: KnownZero::default(),
        report: RestoreReport::default(),
    };
    let frames = restore.run()?;
    restore.report.received_bytes = restore.reader.offset();
    restore.report.total = started.elapsed();
    Ok((frames, restore.report))
}

/// A restore under way.
struct Restore<'a, G, T, R> {
    guest: &'a mut G,
    toolstack: &'a mut T,
    reader: Reader<R>,
    /// The toolstack has been told that the static data is complete.
    static_data_done: bool,
    /// Pages that come now are compared, not taken in.
    comparing: bool,
    /// Pages of zeroes that have been announced and not been made yet.
    zeroes: Vec<Pfn>,
    /// These, and those that have been made and not been sent since.
    known_zero: KnownZero,
    report: RestoreReport,
}

impl<G: DestinationGuest, T: DestinationToolstack, R: Read> Restore<'_, G, T, R> {
    fn run(&mut self) -> Result<RingFrames, RestoreError> {
        let guest_type = self.reader.domain_header().guest_type;
        self.guest.accept(guest_type).map_err(|e| self.at(e))?;
        loop {
            // A stream that ends without END is an error of the reader's.
            let Some(record) = self.reader.next_record()? else {
                unreachable!("the loop ends at END, and the reader gives nothing only after it")
            };
            if self.reader.order().static_data_ended() && !self.static_data_done {
                self.end_static_data()?;
            }
            if !matches!(record, Record::PageData(_) | Record::ZeroPages(_)) {
                self.clear_pages(&[])?;
            }
            match record {
                Record::End => return self.finish(),
                Record::PageData(head) if self.comparing => self.compare(&head.entries)?,
                Record::PageData(head) => self.take_in(&head.entries)?,
                Record::ZeroPages(runs) => self.keep_zeroes(&runs)?,
                Record::Verify => self.comparing = true,
                // Told of above.
                Record::StaticDataEnd => {}
                Record::Optional { number, .. } => {
                    log::debug!("{}: skipped optional record {number:#x}", self.guest.domid());
                }
                state => self.guest.apply(state).map_err(|e| self.at(e))?,
            }
        }
    }

    /// An image of version 2 has no STATIC_DATA_END: its first other record implies it.
    fn end_static_data(&mut self) -> Result<(), RestoreError> {
        self.static_data_done = true;
        let missing = self.guest.static_data_end().map_err(|e| self.at(e))?;
        Ok(self.toolstack.static_data_done(missing)?)
    }

    /// Reads a batch of pages straight to where they belong.
    fn take_in(&mut self, entries: &[PageEntry]) -> Result<(), RestoreError> {
        self.check_pfns(entries.iter().map(|entry| entry.pfn))?;
        self.clear_pages(entries)?;
        entries.iter().for_each(|entry| self.known_zero.remove(entry.pfn));
        match self.guest.open_window(entries) {
            Ok(window) => self.reader.page_bytes(window)?,
            Err(error) => return Err(self.at(error)),
        }
        self.guest.close_window().map_err(|e| self.at(e))?;
        self.count(entries);
        Ok(())
    }

    fn compare(&mut self, entries: &[PageEntry]) -> Result<(), RestoreError> {
        self.check_pfns(entries.iter().map(|entry| entry.pfn))?;
        let data_pages = entries.iter().filter(|e| e.page_type.has_data()).count();
        let mut expected = vec![0; data_pages * PAGE_SIZE];
        self.reader.page_bytes(&mut expected)?;
        let differing = self.guest.differing_pages(entries, &expected).map_err(|e| self.at(e))?;
        for pfn in &differing {
            log::error!("{}: {pfn} differs from what the sender has", self.guest.domid());
        }
        self.report.differing_pages += differing.len() as u64;
        self.count(entries);
        Ok(())
    }

    /// Notes pages of zeroes. They are made with the pages that come next, if any do: a sender tells
    /// of both kinds batch by batch, and together they may make up large pages. What is known to be zero
    /// is left as it is.
    fn keep_zeroes(&mut self, runs: &[PageRun]) -> Result<(), RestoreError> {
        let before = self.zeroes.len();
        runs.iter().for_each(|&run| self.known_zero.add(run, &mut self.zeroes));
        self.check_pfns(self.zeroes[before..].iter().copied())?;
        if self.zeroes.len() >= MAX_ZEROES { self.clear_pages(&[]) } else { Ok(()) }
    }

    /// Makes the pages of zeroes that were announced. `coming` are those that come next.
    fn clear_pages(&mut self, coming: &[PageEntry]) -> Result<(), RestoreError> {
        if self.zeroes.is_empty() {
            return Ok(());
        }
        let mut zeroes = std::mem::take(&mut self.zeroes);
        // Each is there once, or it would have been known.
        zeroes.sort_unstable();
        self.guest.clear_pages(&zeroes, coming).map_err(|e| self.at(e))?;
        self.report.zero_pages += zeroes.len() as u64;
        zeroes.clear();
        self.zeroes = zeroes;
        Ok(())
    }

    fn check_pfns(&self, mut pfns: impl Iterator<Item = Pfn>) -> Result<(), RestoreError> {
        match pfns.find(|&pfn| !self.guest.pfn_is_valid(pfn)) {
            None => Ok(()),
            Some(pfn) => Err(self.at(HypervisorError::BadState {
                domid: self.guest.domid(),
                what: format!("{pfn} is beyond the guest's memory"),
            })),
        }
    }

    fn count(&mut self, entries: &[PageEntry]) {
        let data_pages = entries.iter().filter(|e| e.page_type.has_data()).count() as u64;
        self.report.data_pages += data_pages;
        self.toolstack.progress(&Progress {
            stage: Stage::Receiving,
            done_pages: self.report.data_pages,
            data_pages: self.report.data_pages,
            // How many will come is not known on this side.
            total_pages: 0,
            sent_bytes: self.report.data_pages * PAGE_SIZE as u64,
        });
    }

    fn finish(&mut self) -> Result<RingFrames, RestoreError> {
        let started = Instant::now();
        let frames = self.guest.finish().map_err(|e| self.at(e))?;
        self.report.finish = started.elapsed();
        Ok(frames)
    }

    /// Adds the place in the stream to what the hypervisor says.
    fn at(&self, source: HypervisorError) -> RestoreError {
        let at = match self.reader.head() {
            Some(head) => format!(
                "libxc record {} ({}) at byte {}",
                head.index, head.record_type, head.offset
            ),
            None => "libxc domain header".to_owned(),
        };
        RestoreError::Hypervisor { at, source }
    }
}
