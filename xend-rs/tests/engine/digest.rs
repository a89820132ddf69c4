//! Tracking by digest: nothing tells the engine what was written, and still nothing is lost.

use std::num::NonZeroUsize;

use proptest::prelude::*;
use xend_rs::hypervisor::sim::{SimMemory, SimSource, SimWriter};
use xend_rs::hypervisor::types::Pfn;
use xend_rs::hypervisor::{HypervisorError, Liveness, PfnSet, Result, Sieve};
use xend_rs::migration::tracker::{Digest, Tracker};
use xend_rs::migration::{
    Cancel, Phase, SaveFailure, SaveOptions, SaveReport, Tracking, save_with,
};
use xend_rs::stream::libxc::PageEntry;

use crate::harness::{
    Journey, RoundsExactly, SimToolstack, first_difference, idle, migrate, require_arrival,
    restore_from, save_to_vec, source_of, tracked,
};

const PFNS: u64 = 3000;

fn digest() -> SaveOptions<'static> {
    tracked(Tracking::Digest)
}

#[test]
fn an_unchanged_guest_is_sent_once_and_read_to_the_end() {
    let memory = SimMemory::filled(PFNS);
    (0..1000).for_each(|n| memory.balloon_out(Pfn(n)));
    let Journey { saved: report, received, .. } = migrate(&memory, &digest(), idle);
    assert_eq!(report.data_pages(), PFNS - 1000);
    // One scan finds that nothing has changed, and the last one that nothing has since.
    assert_eq!(report.rounds.len(), 2);
    assert_eq!(report.last_pass.read_pages, PFNS - 1000);
    assert_eq!(received.data_pages, PFNS - 1000);
}

#[test]
fn it_is_chosen_where_there_is_no_log_dirty_and_only_there() {
    for (source_can, wanted, digests) in [
        (false, Tracking::Auto, true),
        (true, Tracking::Auto, false),
        (true, Tracking::Digest, true),
    ] {
        let memory = SimMemory::filled(PFNS);
        let mut source = source_of(&memory);
        if !source_can {
            source = source.without_log_dirty();
        }
        let mut toolstack = SimToolstack::new(&memory);
        let (image, report) = save_to_vec(source, &mut toolstack, &tracked(wanted)).unwrap();
        assert_eq!(report.last_pass.read_pages > 0, digests, "{wanted} {source_can}");
        let used = if digests { Tracking::Digest } else { Tracking::LogDirty };
        assert_eq!(report.tracking, used, "{wanted} {source_can}");
        assert_eq!(report.stop_plan.is_some(), digests, "{wanted} {source_can}");
        require_arrival(&memory, &image);
    }
}

#[test]
fn log_dirty_is_refused_before_the_first_byte_where_there_is_none() {
    let memory = SimMemory::filled(PFNS);
    let source = source_of(&memory).without_log_dirty();
    let mut toolstack = SimToolstack::new(&memory);
    let error = save_to_vec(source, &mut toolstack, &tracked(Tracking::LogDirty)).unwrap_err();
    assert_eq!(error.phase, Phase::Tracking);
    assert!(matches!(error.cause, SaveFailure::Hypervisor(HypervisorError::NoTracking { .. })));
    assert!(!memory.is_suspended() && toolstack.rounds_seen == 0);
}

#[test]
fn a_guest_with_a_device_of_its_own_is_refused() {
    let memory = SimMemory::filled(PFNS);
    let source = source_of(&memory).without_log_dirty().with_passed_through_device();
    let mut toolstack = SimToolstack::new(&memory);
    let error = save_to_vec(source, &mut toolstack, &tracked(Tracking::Auto)).unwrap_err();
    assert_eq!(error.phase, Phase::Tracking);
    assert!(matches!(error.cause, SaveFailure::Hypervisor(HypervisorError::Unsupported { .. })));
}

#[test]
fn without_tracking_the_guest_is_suspended_first() {
    let memory = SimMemory::filled(PFNS);
    let source = source_of(&memory).without_log_dirty();
    let mut toolstack = SimToolstack::new(&memory);
    let (image, report) = save_to_vec(source, &mut toolstack, &tracked(Tracking::None)).unwrap();
    assert_eq!((report.rounds.len(), report.last_pass.data_pages), (0, PFNS));
    require_arrival(&memory, &image);
}

#[test]
fn a_page_table_whose_target_moved_travels_though_no_byte_of_it_changed() {
    let memory = SimMemory::filled(PFNS);
    memory.make_table(Pfn(9), &[Pfn(20), Pfn(2999)]);
    migrate(&memory, &digest(), |progress| {
        // At the very end of the first scan; page 9 was read long before.
        if progress.done_pages == progress.total_pages {
            memory.exchange_frames(Pfn(20), Pfn(21));
        }
    });
}

#[test]
fn a_coarse_scan_leaves_out_what_is_stable_and_the_last_one_nothing() {
    let memory = SimMemory::filled(PFNS);
    let options = SaveOptions { policy: &RoundsExactly(10), ..digest() };
    let mut writes = 0u64;
    let report = migrate(&memory, &options, |_| {
        writes += 1;
        memory.write(Pfn(writes % 8), 8, &writes.to_le_bytes());
    })
    .saved;
    let read: Vec<u64> = report.rounds.iter().map(|round| round.read_pages).collect();
    assert_eq!(&read[..3], [PFNS; 3], "all of them, and then two full scans");
    assert!(read[3..6].iter().all(|&pages| pages <= 8), "{read:?}");
    assert_eq!(read[6], PFNS, "a full one again");
    assert_eq!(report.last_pass.read_pages, PFNS);
}

/// A tracker that does not see any more what differs once the guest stands still.
struct WithoutLastScan {
    digest: Digest,
    is_over: bool,
}

struct NothingTravels;

impl Sieve for NothingTravels {
    fn lets_through(&self, _: PageEntry, _: &[u8]) -> bool {
        false
    }
}

impl Tracker<SimSource> for WithoutLastScan {
    fn tracking(&self) -> Tracking {
        Tracking::Digest
    }

    fn start(&mut self, guest: &mut SimSource) -> Result<()> {
        self.digest.start(guest)
    }

    fn is_live(&self) -> bool {
        true
    }

    fn needs_device_model_log(&self) -> bool {
        false
    }

    fn reads_everything(&self) -> bool {
        true
    }

    fn readers(&self) -> usize {
        1
    }

    fn next_set(
        &mut self,
        guest: &mut SimSource,
        into: &mut PfnSet,
        liveness: Liveness,
    ) -> Result<Option<u64>> {
        self.is_over = liveness == Liveness::Suspended;
        self.digest.next_set(guest, into, liveness)
    }

    fn sieve(&self) -> &dyn Sieve {
        if self.is_over { &NothingTravels } else { Tracker::<SimSource>::sieve(&self.digest) }
    }

    fn stop(&mut self, guest: &mut SimSource) -> Result<()> {
        self.digest.stop(guest)
    }
}

/// Saves a guest that writes until it is suspended, with the tracker that `wrap` makes of a digest.
fn journey_of_a_writer(
    wrap: impl FnOnce(Digest) -> Box<dyn Tracker<SimSource>>,
) -> (Option<Pfn>, SaveReport) {
    let memory = SimMemory::filled(PFNS);
    let writer = SimWriter::start(memory.clone(), 100..400);
    // The thread may get no turn after the last live round has read a page; this write comes then.
    let mut writes = 0u64;
    let mut toolstack = SimToolstack::doing(&memory, |_| {
        writes += 1;
        memory.write(Pfn(100 + writes % 300), 64, &writes.to_le_bytes());
    });
    let mut source = source_of(&memory);
    let mut image = Vec::new();
    let report =
        save_with(&mut source, &mut toolstack, &mut image, &digest(), &Cancel::default(), |_| {
            Ok(wrap(Digest::new(PFNS, 1)))
        })
        .unwrap();
    drop(writer);
    let (arrived, _) = restore_from(&image, PFNS).unwrap();
    (first_difference(&memory, &arrived), report)
}

#[test]
fn the_last_scan_is_what_makes_it_whole() {
    let (difference, _) = journey_of_a_writer(|digest| Box::new(digest));
    assert_eq!(difference, None);
    let blind = |digest| WithoutLastScan { digest, is_over: false };
    let (difference, report) = journey_of_a_writer(|digest| Box::new(blind(digest)));
    let lost = difference.expect("without the last scan what was written late is lost");
    assert!((100..400).contains(&lost.0), "{lost}");
    assert_eq!(report.last_pass.data_pages, 0);
}

/// What a guest does to its memory.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write(u64, u8),
    BalloonOut(u64),
    BalloonIn(u64),
    MakeTable(u64, [u64; 3]),
    MakePlain(u64),
    Exchange(u64, u64),
}

impl Act {
    fn on(self, guest: &SimMemory) {
        match self {
            Self::Write(n, value) => {
                guest.write(Pfn(n), 100, &[value, 1, 2, 3]);
            }
            Self::BalloonOut(n) => guest.balloon_out(Pfn(n)),
            Self::BalloonIn(n) => guest.balloon_in(Pfn(n)),
            Self::MakeTable(n, targets) => guest.make_table(Pfn(n), &targets.map(Pfn)),
            Self::MakePlain(n) => guest.make_plain(Pfn(n)),
            Self::Exchange(a, b) => guest.exchange_frames(Pfn(a), Pfn(b)),
        }
    }
}

/// Few enough pages that acts meet each other, spread over all batches.
fn page() -> impl Strategy<Value = u64> {
    (0u64..60).prop_map(|n| n * 50)
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (page(), any::<u8>()).prop_map(|(n, value)| Act::Write(n, value)),
        1 => page().prop_map(Act::BalloonOut),
        1 => page().prop_map(Act::BalloonIn),
        1 => (page(), [page(), page(), page()]).prop_map(|(n, to)| Act::MakeTable(n, to)),
        1 => page().prop_map(Act::MakePlain),
        1 => (page(), page()).prop_map(|(a, b)| Act::Exchange(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Writes, ballooning, page tables that come and go and frames that move, at any point between
    /// two batches, in full and coarse scans, with one reader and several: no page is lost.
    #[test]
    fn no_interleaving_of_writes_and_scans_loses_a_page(
        script in prop::collection::vec(act(), 0..300),
        per_batch in 1usize..20,
        readers in 1usize..4,
    ) {
        let memory = SimMemory::filled(PFNS);
        let readers = NonZeroUsize::new(readers).unwrap();
        let options = SaveOptions { policy: &RoundsExactly(10), readers, ..digest() };
        let mut script = script.into_iter();
        migrate(&memory, &options, |_| {
            script.by_ref().take(per_batch).for_each(|act| act.on(&memory));
        });
    }
}
