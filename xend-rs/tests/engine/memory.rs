//! Whatever the guest does meanwhile, what arrives is what it had when it stopped.

use std::num::NonZeroUsize;

use proptest::prelude::*;
use xend_rs::hypervisor::sim::{SimMemory, SimWriter};
use xend_rs::hypervisor::types::Pfn;
use xend_rs::migration::SaveOptions;

use crate::harness::{
    Journey, LIVE_TRACKING, RoundsExactly, SimToolstack, idle, migrate, options, require_arrival,
    restore_from, save_to_vec, source_of, tracked,
};

const PFNS: u64 = 5000;

#[test]
fn a_guest_that_writes_all_the_while_arrives_whole() {
    for (tracking, readers) in LIVE_TRACKING.into_iter().flat_map(|t| [(t, 1), (t, 3)]) {
        let memory = SimMemory::filled(PFNS);
        let writer = SimWriter::start(memory.clone(), 100..400);
        let mut toolstack = SimToolstack::new(&memory);
        let readers = NonZeroUsize::new(readers).unwrap();
        let options = SaveOptions { readers, ..tracked(tracking) };
        let (image, report) = save_to_vec(source_of(&memory), &mut toolstack, &options).unwrap();
        assert!(writer.stop() > 0);

        require_arrival(&memory, &image);
        assert!(!memory.is_tracked() && toolstack.resumes == 0);
        assert_eq!(report.rounds[0].data_pages, PFNS);
        assert_eq!(report.rounds.len() as u32, toolstack.rounds_seen);
        assert!(report.rounds.len() <= 5);
    }
}

#[test]
fn an_idle_guest_needs_one_round() {
    let memory = SimMemory::filled(PFNS);
    let report = migrate(&memory, &options(true), idle).saved;
    assert_eq!((report.rounds.len(), report.last_pass.data_pages), (1, 0));
}

#[test]
fn a_save_that_is_not_live_suspends_first_and_tracks_nothing() {
    let memory = SimMemory::filled(PFNS);
    let writer = SimWriter::start(memory.clone(), 0..PFNS);
    let report = migrate(&memory, &options(false), idle).saved;
    drop(writer);
    assert_eq!((report.rounds.len(), report.last_pass.data_pages), (0, PFNS));
}

#[test]
fn pages_in_flux_are_owed_and_travel_in_the_last_pass() {
    for tracking in LIVE_TRACKING {
        let memory = SimMemory::filled(PFNS);
        let flux: Vec<_> = (10..80).map(Pfn).collect();
        let source = source_of(&memory).with_pages_in_flux(flux.iter().copied());
        let (image, report) =
            save_to_vec(source, &mut SimToolstack::new(&memory), &tracked(tracking)).unwrap();
        assert_eq!(report.rounds[0].owed_pages, flux.len() as u64);
        assert_eq!(report.last_pass.data_pages, flux.len() as u64);
        require_arrival(&memory, &image);
    }
}

#[test]
fn a_page_that_gets_memory_during_the_migration_is_not_forgotten() {
    for tracking in LIVE_TRACKING {
        // The dirty log does not tell of it, so the last pass must look at each page that had none.
        let memory = SimMemory::filled(PFNS);
        memory.balloon_out(Pfn(42));
        let journey = migrate(&memory, &tracked(tracking), |progress| {
            if progress.done_pages == progress.total_pages {
                memory.balloon_in(Pfn(42));
            }
        });
        assert!(journey.arrived.contents().contains_key(&Pfn(42)));
    }
}

#[test]
fn holes_stay_holes() {
    for tracking in LIVE_TRACKING {
        let memory = SimMemory::filled(PFNS);
        (100..1300).for_each(|n| memory.balloon_out(Pfn(n)));
        let Journey { arrived, received: report, .. } = migrate(&memory, &tracked(tracking), idle);
        assert_eq!(arrived.contents().len() as u64, PFNS - 1200);
        assert_eq!(report.data_pages, PFNS - 1200);
    }
}

#[test]
fn the_verify_pass_finds_nothing_on_a_good_day() {
    for tracking in LIVE_TRACKING {
        let memory = SimMemory::filled(PFNS);
        let verify = SaveOptions { verify: true, ..tracked(tracking) };
        let report = migrate(&memory, &verify, idle).received;
        assert_eq!((report.data_pages, report.differing_pages), (2 * PFNS, 0));
    }
}

#[test]
fn the_verify_pass_finds_a_page_that_was_sent_wrong() {
    // Spoils one page of the first pass, in the stream.
    let memory = SimMemory::filled(64);
    let verify = SaveOptions { verify: true, ..options(true) };
    let mut image = migrate(&memory, &verify, idle).image;
    let contents = &memory.contents()[&Pfn(7)][..];
    let at = image.windows(4096).position(|w| w == contents).unwrap();
    image[at + 2000] ^= 1;
    let (_, report) = restore_from(&image, 64).unwrap();
    assert_eq!(report.differing_pages, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Writes and ballooning at any point between two batches, any number of rounds: no page is
    /// lost.
    #[test]
    fn no_interleaving_loses_a_page(
        script in prop::collection::vec((0u64..3000, 0u8..8), 0..400),
        per_batch in 1usize..40,
    ) {
        let memory = SimMemory::filled(3000);
        // More rounds than the stock rule takes, so that the script is used up while it runs.
        let options = SaveOptions { policy: &RoundsExactly(10), ..options(true) };
        let mut script = script.into_iter();
        migrate(&memory, &options, |_| {
            for (n, action) in script.by_ref().take(per_batch) {
                match action {
                    0 => memory.balloon_out(Pfn(n)),
                    // What fresh memory contains is nobody's business until it is written.
                    1 => {
                        memory.balloon_in(Pfn(n));
                        memory.write(Pfn(n), 0, &[n as u8; 4096]);
                    }
                    _ => { memory.write(Pfn(n), 100, &[action, 1, 2, 3]); }
                }
            }
        });
    }
}
