//! Pages of zeroes travel without contents to a receiver that makes them itself, and arrive as zeroes.

use proptest::prelude::*;
use xend_rs::hypervisor::sim::{Faults, Operation, SimDestination, SimMemory};
use xend_rs::hypervisor::types::{PAGE_SIZE, Pfn};
use xend_rs::migration::{PauseBudget, RestoreError, SaveOptions, Tracking, restore};
use xend_rs::stream::libxc::{PageRun, Record, write};

use crate::harness::{
    Journey, LIVE_TRACKING, ReceivingToolstack, RoundsExactly, idle, migrate, options, records,
    require_arrival, restore_from, tracked,
};

const PFNS: u64 = 9000;

fn telling(tracking: Tracking) -> SaveOptions<'static> {
    SaveOptions { zero_pages: true, ..tracked(tracking) }
}

/// A guest that has written to every `n`-th page, has memory in the others, too, and none at its end.
fn mostly_empty(n: usize) -> SimMemory {
    let memory = SimMemory::empty(PFNS * 4);
    (0..PFNS).for_each(|pfn| memory.balloon_in(Pfn(pfn)));
    (0..PFNS).step_by(n).for_each(|pfn| {
        memory.write(Pfn(pfn), 4000, b"written");
    });
    memory
}

#[test]
fn a_mostly_empty_guest_costs_hardly_more_than_what_it_has_written() {
    for (tracking, every) in [(Tracking::Digest, 100), (Tracking::Digest, 2), (Tracking::None, 9)] {
        let memory = mostly_empty(every);
        let Journey { image, saved: report, arrived, .. } =
            migrate(&memory, &telling(tracking), idle);
        let written = PFNS.div_ceil(every as u64);
        assert_eq!(report.data_pages(), written, "{tracking}");
        let zeroes = report.rounds.first().unwrap_or(&report.last_pass).zero_pages;
        assert_eq!(zeroes, PFNS - written);
        let ratio = image.len() as f64 / (written as usize * PAGE_SIZE) as f64;
        assert!(ratio < 1.05, "{tracking}, one page in {every}: {ratio:.3}");
        assert_eq!(arrived.contents().len() as u64, PFNS, "holes stay holes");
    }
}

#[test]
fn a_stock_receiver_gets_them_in_full() {
    for tracking in LIVE_TRACKING {
        let memory = mostly_empty(100);
        let Journey { image, saved: report, .. } = migrate(&memory, &tracked(tracking), idle);
        assert_eq!(report.data_pages(), PFNS);
        assert_eq!(report.rounds[0].zero_pages, 0);
        assert!(zero_records(&image).is_empty());
    }
}

/// The ZERO_PAGES records of an image, in runs.
fn zero_records(image: &[u8]) -> Vec<usize> {
    let runs = |record| match record {
        Record::ZeroPages(runs) => Some(runs.len()),
        _ => None,
    };
    records(image).into_iter().filter_map(runs).collect()
}

#[test]
fn pages_of_zeroes_wait_for_the_data_that_follow() {
    // Small batches: of 64 pages at first, for nothing is known of the link.
    let options =
        SaveOptions { put_off: Some(PauseBudget::default()), ..telling(Tracking::LogDirty) };
    let journey = migrate(&mostly_empty(PFNS as usize), &options, idle);
    let records = zero_records(&journey.image);
    assert!(records.len() <= 4, "{} records for {PFNS} pages", records.len());
    assert_eq!(journey.received.zero_pages, PFNS - 1);
}

#[test]
fn as_many_wait_as_fit_into_a_record_though_none_has_a_neighbour() {
    for put_off in [None, Some(PauseBudget::default())] {
        let memory = SimMemory::empty(PFNS * 2);
        (0..PFNS).for_each(|pfn| memory.balloon_in(Pfn(pfn * 2)));
        let options = SaveOptions { put_off, ..telling(Tracking::LogDirty) };
        let journey = migrate(&memory, &options, idle);
        assert_eq!(journey.received.zero_pages, PFNS);
        assert_eq!(zero_records(&journey.image).iter().sum::<usize>() as u64, PFNS);
    }
}

#[test]
fn pages_that_become_zero_or_something_arrive_as_they_are_in_the_end() {
    for tracking in LIVE_TRACKING {
        let memory = mostly_empty(2);
        let options = SaveOptions { policy: &RoundsExactly(4), ..telling(tracking) };
        let mut pass = 0u8;
        let Journey { saved: report, received, .. } = migrate(&memory, &options, |progress| {
            if progress.done_pages == 0 {
                pass += 1;
                for pfn in (0..PFNS).step_by(7) {
                    // To and fro, so that each is sent as both.
                    let value = if (u64::from(pass) + pfn).is_multiple_of(2) { 0 } else { pass };
                    memory.write(Pfn(pfn), 0, &[value; PAGE_SIZE]);
                }
            }
        });
        assert!(report.rounds.iter().all(|round| round.zero_pages > 500), "{report:?}");
        assert!(received.zero_pages > PFNS / 2);
    }
}

#[test]
fn a_page_table_of_zeroes_travels_as_one() {
    for tracking in LIVE_TRACKING {
        let memory = mostly_empty(100);
        memory.make_table(Pfn(5), &[]);
        let arrived = migrate(&memory, &telling(tracking), idle).arrived;
        assert!(arrived.is_table(Pfn(5)));
    }
}

#[test]
fn a_page_that_was_a_table_and_is_zero_now_is_none_any_more() {
    let memory = mostly_empty(100);
    memory.make_table(Pfn(8), &[]);
    let journey = migrate(&memory, &telling(Tracking::LogDirty), |progress| {
        if progress.done_pages == progress.total_pages {
            memory.make_plain(Pfn(8));
        }
    });
    assert!(!journey.arrived.is_table(Pfn(8)));
}

#[test]
fn the_verify_pass_compares_pages_of_zeroes_too() {
    for tracking in LIVE_TRACKING {
        let memory = mostly_empty(3);
        let verify = SaveOptions { verify: true, ..telling(tracking) };
        let received = migrate(&memory, &verify, idle).received;
        assert_eq!(received.differing_pages, 0);
        assert_eq!(received.data_pages, PFNS.div_ceil(3) + PFNS);
    }
}

#[test]
fn a_guest_of_nothing_but_zeroes_arrives() {
    let memory = SimMemory::empty(5000);
    (0..4000).for_each(|pfn| memory.balloon_in(Pfn(pfn)));
    let options = SaveOptions { zero_pages: true, ..options(false) };
    let Journey { image, saved: report, received, .. } = migrate(&memory, &options, idle);
    assert!(image.len() < PAGE_SIZE, "{} bytes", image.len());
    assert_eq!((report.data_pages(), report.last_pass.zero_pages), (0, 4000));
    assert_eq!((received.data_pages, received.zero_pages), (0, 4000));
}

#[test]
fn a_sender_that_tells_of_the_same_pages_without_end_has_them_made_once() {
    const TIMES: usize = 20_000;
    let memory = SimMemory::empty(64);
    (0..64).for_each(|pfn| memory.balloon_in(Pfn(pfn)));
    let options = SaveOptions { zero_pages: true, ..options(false) };
    let image = migrate(&memory, &options, idle).image;
    let mut record = Vec::new();
    write::zero_pages(&mut record, &PageRun::all_of((0..64).map(Pfn))).unwrap();
    let at = image.windows(record.len()).position(|bytes| bytes == record).unwrap();
    let long = [&image[..at], &record.repeat(TIMES)[..], &image[at..]].concat();
    let (_, report) = require_arrival(&memory, &long);
    assert_eq!(report.zero_pages, 64);
}

#[test]
fn a_destination_that_cannot_make_them_and_one_that_is_too_small_say_so() {
    let memory = SimMemory::empty(64);
    (0..64).for_each(|pfn| memory.balloon_in(Pfn(pfn)));
    let options = SaveOptions { zero_pages: true, ..options(true) };
    let image = migrate(&memory, &options, idle).image;
    for (pfns, faults) in [(64, Faults::after(Operation::ClearPages, 0)), (63, Faults::none())] {
        let mut destination = SimDestination::new(SimMemory::empty(pfns), faults);
        let mut toolstack = ReceivingToolstack::default();
        let error = restore(&mut destination, &mut toolstack, &image[..]).unwrap_err();
        assert!(matches!(error, RestoreError::Hypervisor { .. }), "{error}");
        assert!(!destination.is_finished());
    }
    // Cut anywhere, it is refused.
    for cut in 0..image.len() {
        restore_from(&image[..cut], 64).unwrap_err();
    }
    restore_from(&image, 64).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Pages that become zero and something, come and go at any point: none is lost, and none keeps
    /// what it had.
    #[test]
    fn no_interleaving_of_zeroes_loses_a_page(
        script in prop::collection::vec((0u64..3000, 0u8..8), 0..400),
        per_batch in 1usize..40,
        by_digest: bool,
    ) {
        let memory = SimMemory::filled(3000);
        (0..3000).step_by(2).for_each(|n| { memory.write(Pfn(n), 0, &[0; PAGE_SIZE]); });
        let tracking = if by_digest { Tracking::Digest } else { Tracking::LogDirty };
        let options = SaveOptions { policy: &RoundsExactly(10), ..telling(tracking) };
        let mut script = script.into_iter();
        migrate(&memory, &options, |_| {
            for (n, action) in script.by_ref().take(per_batch) {
                match action {
                    0 => memory.balloon_out(Pfn(n)),
                    // What fresh memory contains is nobody's business until it is written.
                    1 => {
                        memory.balloon_in(Pfn(n));
                        memory.write(Pfn(n), 0, &[0; PAGE_SIZE]);
                    }
                    2..5 => { memory.write(Pfn(n), 0, &[0; PAGE_SIZE]); }
                    _ => { memory.write(Pfn(n), 100, &[action, 1, 2, 3]); }
                }
            }
        });
    }
}
