//! A toolstack, sinks that fail, and a whole migration in one call.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::time::Duration;

use xend_rs::hypervisor::sim::{Faults, Page, SimDestination, SimMemory, SimSource};
use xend_rs::hypervisor::types::Pfn;
use xend_rs::hypervisor::{MissingPolicies, SourceGuest};
use xend_rs::migration::policy::{CpuShare, Decision, History, Next, Policy, Why};
use xend_rs::migration::progress::{Progress, Stage};
use xend_rs::migration::rate::Rate;
use xend_rs::migration::toolstack::{DestinationToolstack, SourceToolstack, ToolstackError};
use xend_rs::migration::{
    Cancel, RestoreError, RestoreReport, SaveError, SaveOptions, SaveReport, Sink, Tracking,
    restore, save,
};
use xend_rs::stream::libxc::Record;
use xend_rs::stream::{Checks, Source, libxc};

/// What a test wants to happen when the engine reports progress.
pub(crate) type OnProgress<'a> = Box<dyn FnMut(&Progress) + 'a>;

/// Copies so many rounds, whatever is measured.
pub(crate) struct RoundsExactly(pub(crate) usize);

impl Policy for RoundsExactly {
    fn decide(&self, history: &History<'_>) -> Decision {
        if history.rounds.len() < self.0 {
            Decision::Continue(Next::default())
        } else {
            Decision::StopAndCopy(Why::EnoughRounds)
        }
    }
}

/// The toolstack of a simulated guest.
pub(crate) struct SimToolstack<'a> {
    pub(crate) memory: SimMemory,
    pub(crate) refuse_suspend: bool,
    /// Says that it has suspended the guest, and has not.
    pub(crate) lie_about_suspend: bool,
    pub(crate) on_progress: Option<OnProgress<'a>>,
    pub(crate) resumes: u32,
    pub(crate) rounds_seen: u32,
    /// What the guest's vCPUs were left with, one after the other.
    pub(crate) cpu_shares: Vec<CpuShare>,
    /// Nobody can slow it down.
    pub(crate) refuse_stun: bool,
    /// Whether there is somebody to hold, and how often that was asked for.
    pub(crate) holds_writers: bool,
    pub(crate) holds: u32,
}

impl<'a> SimToolstack<'a> {
    /// One that does this at each progress.
    pub(crate) fn doing(memory: &SimMemory, on_progress: impl FnMut(&Progress) + 'a) -> Self {
        Self { on_progress: Some(Box::new(on_progress)), ..Self::new(memory) }
    }

    pub(crate) fn new(memory: &SimMemory) -> Self {
        Self {
            memory: memory.clone(),
            refuse_suspend: false,
            lie_about_suspend: false,
            on_progress: None,
            resumes: 0,
            rounds_seen: 0,
            cpu_shares: Vec::new(),
            refuse_stun: false,
            holds_writers: false,
            holds: 0,
        }
    }
}

impl SourceToolstack for SimToolstack<'_> {
    fn suspend(&mut self) -> Result<(), ToolstackError> {
        if self.refuse_suspend {
            return Err(ToolstackError::Refused { request: "suspend the guest" });
        }
        if !self.lie_about_suspend {
            self.memory.suspend();
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), ToolstackError> {
        self.resumes += 1;
        self.memory.resume();
        Ok(())
    }

    fn set_device_model_log_dirty(&mut self, _: bool) -> Result<(), ToolstackError> {
        Ok(())
    }

    fn set_cpu_share(&mut self, share: CpuShare) -> Result<(), ToolstackError> {
        if self.refuse_stun {
            return Err(ToolstackError::Refused { request: "slow the guest down" });
        }
        self.cpu_shares.push(share);
        Ok(())
    }

    fn hold_writers(&mut self) -> bool {
        self.holds += 1;
        self.holds_writers
    }

    fn progress(&mut self, progress: &Progress) {
        if let (Stage::PreCopy { round }, 0) = (progress.stage, progress.done_pages) {
            self.rounds_seen = round + 1;
        }
        if let Some(on_progress) = &mut self.on_progress {
            on_progress(progress);
        }
    }
}

/// The toolstack at the other end.
#[derive(Default)]
pub(crate) struct ReceivingToolstack {
    pub(crate) missing: Option<MissingPolicies>,
}

impl DestinationToolstack for ReceivingToolstack {
    fn static_data_done(&mut self, missing: MissingPolicies) -> Result<(), ToolstackError> {
        assert!(self.missing.is_none(), "told once");
        self.missing = Some(missing);
        Ok(())
    }

    fn progress(&mut self, _: &Progress) {}
}

/// One reader, so that what a test does on progress happens between two batches.
pub(crate) fn options(live: bool) -> SaveOptions<'static> {
    SaveOptions { readers: NonZeroUsize::MIN, ..SaveOptions::stock(live) }
}

/// The ways to track a guest that runs.
pub(crate) const LIVE_TRACKING: [Tracking; 2] = [Tracking::LogDirty, Tracking::Digest];

/// A live save with this tracker.
pub(crate) fn tracked(tracking: Tracking) -> SaveOptions<'static> {
    SaveOptions { tracking, ..options(true) }
}

/// A guest that nothing fails with.
pub(crate) fn source_of(memory: &SimMemory) -> SimSource {
    SimSource::new(memory.clone(), Faults::none())
}

/// A migration that came to its end.
pub(crate) struct Journey {
    pub(crate) image: Vec<u8>,
    pub(crate) saved: SaveReport,
    pub(crate) received: RestoreReport,
    pub(crate) arrived: SimMemory,
}

/// Migrates a guest, which does this at each progress meanwhile. Every page has to arrive.
pub(crate) fn migrate(
    memory: &SimMemory,
    options: &SaveOptions<'_>,
    meanwhile: impl FnMut(&Progress),
) -> Journey {
    let mut toolstack = SimToolstack::doing(memory, meanwhile);
    let (image, saved) = save_to_vec(source_of(memory), &mut toolstack, options).unwrap();
    let (arrived, received) = require_arrival(memory, &image);
    Journey { image, saved, received, arrived }
}

/// Restores an image, in which each page has to be as the guest left it.
pub(crate) fn require_arrival(memory: &SimMemory, image: &[u8]) -> (SimMemory, RestoreReport) {
    let (arrived, report) = restore_from(image, source_of(memory).pfn_count()).unwrap();
    assert_eq!(first_difference(memory, &arrived), None);
    (arrived, report)
}

/// Does nothing, for [`migrate`].
pub(crate) fn idle(_: &Progress) {}

/// Saves `source` into memory.
pub(crate) fn save_to_vec(
    mut source: SimSource,
    toolstack: &mut SimToolstack<'_>,
    options: &SaveOptions<'_>,
) -> Result<(Vec<u8>, SaveReport), SaveError> {
    let mut image = Vec::new();
    let report = save(&mut source, toolstack, &mut image, options, &Cancel::default())?;
    assert_eq!(report.sent_bytes, image.len() as u64);
    Ok((image, report))
}

/// Restores an image that [`save_to_vec`] made into a guest of `bound_pfns`.
pub(crate) fn restore_from(
    image: &[u8],
    bound_pfns: u64,
) -> Result<(SimMemory, RestoreReport), RestoreError> {
    let memory = SimMemory::empty(bound_pfns);
    let mut destination = SimDestination::new(memory.clone(), Faults::none());
    let mut toolstack = ReceivingToolstack::default();
    let mut rest = image;
    let (frames, report) = restore(&mut destination, &mut toolstack, &mut rest)?;
    assert!(destination.is_finished());
    assert_eq!((frames.store.0, frames.console.0), (7, 8), "the rings that were saved");
    assert_eq!(toolstack.missing, Some(MissingPolicies::default()));
    assert_eq!(report.received_bytes, (image.len() - rest.len()) as u64);
    Ok((memory, report))
}

/// The first page in which two guests differ. A page that the sender has no memory for may be
/// populated at the receiver, where it was sent before it was given back.
pub(crate) fn first_difference(source: &SimMemory, destination: &SimMemory) -> Option<Pfn> {
    let theirs = destination.contents();
    let differs = |pfn: &Pfn, (is_table, page): &(bool, Page)| {
        theirs.get(pfn) != Some(page) || destination.is_table(*pfn) != *is_table
    };
    source.as_it_travels().iter().find(|(pfn, page)| differs(pfn, page)).map(|(pfn, _)| *pfn)
}

/// A sink that takes `limit` bytes and then fails, as a pipe does whose reader has died.
pub(crate) struct BrokenSink {
    pub(crate) left: usize,
}

impl Write for BrokenSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for BrokenSink {
    fn wait_until_taken(&mut self, _within: Duration) -> io::Result<()> {
        Ok(())
    }
    fn set_rate(&mut self, _limit: Option<Rate>) {}
}

/// The records of an image, in their order; of PAGE_DATA the entries.
pub(crate) fn records(image: &[u8]) -> Vec<Record> {
    let mut reader = libxc::Reader::open(Source::new(image), Checks::RESTORE).unwrap();
    let mut records = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        if matches!(record, Record::PageData(_)) {
            reader.skip_pages().unwrap();
        }
        records.push(record);
    }
    records
}
