//! Pages are sent in a good order, put off and held back, and none is lost by that.

use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;
use xend_rs::hypervisor::sim::{Faults, Operation, SimMemory, SimSource};
use xend_rs::hypervisor::types::{PAGE_SIZE, Pfn};
use xend_rs::hypervisor::{Liveness, PfnSet, Result, Sieve, SourceGuest};
use xend_rs::migration::policy::{Decision, History, Next, Policy, Round, Why};
use xend_rs::migration::tracker::{LogDirty, Tracker};
use xend_rs::migration::{Cancel, PauseBudget, SaveOptions, Tracking, save_with};
use xend_rs::stream::libxc::Record;

use crate::harness::{
    Journey, LIVE_TRACKING, SimToolstack, migrate, options, records, require_arrival, save_to_vec,
    source_of, tracked,
};

const PFNS: u64 = 5000;

/// Looks before each batch.
const ALWAYS: Option<PauseBudget> = Some(PauseBudget { share: 1.0, interval: Duration::ZERO });

/// Copies so many rounds and holds back so many pages from the first on; remembers what it was told.
struct HoldBack {
    rounds: usize,
    pages: u64,
    seen: Mutex<Vec<Round>>,
}

impl HoldBack {
    fn new(rounds: usize, pages: u64) -> Self {
        Self { rounds, pages, seen: Mutex::default() }
    }

    fn next(&self) -> Next {
        Next { hold_back_pages: self.pages, ..Next::default() }
    }
}

impl Policy for HoldBack {
    fn first(&self) -> Next {
        self.next()
    }

    fn decide(&self, history: &History<'_>) -> Decision {
        *self.seen.lock().unwrap() = history.rounds.to_vec();
        match history.rounds.len() < self.rounds {
            true => Decision::Continue(self.next()),
            false => Decision::StopAndCopy(Why::EnoughRounds),
        }
    }
}

/// The pfns of each PAGE_DATA record of an image, in their order.
fn batches(image: &[u8]) -> Vec<Vec<u64>> {
    let pfns = |record| match record {
        Record::PageData(head) => Some(head.entries.iter().map(|entry| entry.pfn.0).collect()),
        _ => None,
    };
    records(image).into_iter().filter_map(pfns).collect()
}

#[test]
fn what_is_written_before_its_turn_is_put_off_and_arrives() {
    let memory = SimMemory::filled(PFNS);
    let policy = HoldBack::new(2, 0);
    let options = SaveOptions { policy: &policy, put_off: ALWAYS, ..options(true) };
    let mut batches_done = 0u64;
    let report = migrate(&memory, &options, |progress| {
        batches_done += 1;
        // In round 0, while the first pages are read: some of those that come last.
        if (1..4).contains(&batches_done) && progress.done_pages > 0 {
            (4800..4900).for_each(|n| {
                memory.write(Pfn(n), 8, &batches_done.to_le_bytes());
            });
        }
    })
    .saved;
    assert_eq!(report.rounds[0].put_off_pages, 100);
    assert_eq!(report.rounds[0].data_pages, PFNS - 100);
    assert_eq!((report.rounds[1].data_pages, report.last_pass.data_pages), (100, 0));
    assert_eq!(report.data_pages(), PFNS, "each page once");
    let rounds = policy.seen.into_inner().unwrap();
    assert_eq!((rounds[0].unsent_pages, rounds[0].dirtied_pages), (100, Some(100)));
    assert_eq!(rounds[1].unsent_pages, 0);
}

/// Log-dirty that never tells what was written.
struct Forgetful(LogDirty);

impl Tracker<SimSource> for Forgetful {
    fn tracking(&self) -> Tracking {
        Tracking::LogDirty
    }

    fn start(&mut self, guest: &mut SimSource) -> Result<()> {
        self.0.start(guest)
    }

    fn is_live(&self) -> bool {
        true
    }

    fn needs_device_model_log(&self) -> bool {
        false
    }

    fn reads_everything(&self) -> bool {
        false
    }

    fn readers(&self) -> usize {
        1
    }

    fn next_set(
        &mut self,
        guest: &mut SimSource,
        _: &mut PfnSet,
        liveness: Liveness,
    ) -> Result<Option<u64>> {
        guest.take_dirty(&mut PfnSet::empty(guest.pfn_count()), liveness)?;
        Ok(Some(0))
    }

    fn can_peek(&self) -> bool {
        true
    }

    fn sieve(&self) -> &dyn Sieve {
        Tracker::<SimSource>::sieve(&self.0)
    }

    fn stop(&mut self, guest: &mut SimSource) -> Result<()> {
        self.0.stop(guest)
    }
}

#[test]
fn what_is_put_off_stays_unsent_though_nobody_tells_of_it_again() {
    let memory = SimMemory::filled(PFNS);
    let mut toolstack = SimToolstack::doing(&memory, |progress| {
        if progress.done_pages == 0 {
            memory.write(Pfn(4999), 8, b"before its turn");
        }
    });
    let mut source = source_of(&memory);
    let mut image = Vec::new();
    let policy = HoldBack::new(1, 0);
    let options = SaveOptions { policy: &policy, put_off: ALWAYS, ..options(true) };
    let cancel = Cancel::default();
    let report = save_with(&mut source, &mut toolstack, &mut image, &options, &cancel, |guest| {
        let mut tracker = Forgetful(LogDirty);
        tracker.start(guest)?;
        Ok(Box::new(tracker))
    })
    .unwrap();
    assert_eq!((report.rounds[0].put_off_pages, report.last_pass.data_pages), (1, 1));
    assert_eq!(policy.seen.into_inner().unwrap()[0].unsent_pages, 1);
    require_arrival(&memory, &image);
}

#[test]
fn the_coldest_go_first_and_the_hottest_wait_for_the_last_pass() {
    let memory = SimMemory::filled(PFNS);
    let policy = HoldBack::new(4, 20);
    let options =
        SaveOptions { policy: &policy, put_off: PauseBudget::default().into(), ..options(true) };
    let mut pass = 0u64;
    let Journey { image, saved: report, .. } = migrate(&memory, &options, |progress| {
        // At the end of a pass, when nothing can be put off any more.
        if progress.done_pages == progress.total_pages {
            pass += 1;
            // 0..20 in each, 20..40 in each second one, and in the second one some more.
            let more = if pass == 2 { 1000..3000 } else { 0..0 };
            let second = if pass.is_multiple_of(2) { 20..40 } else { 0..0 };
            for n in (0..20).chain(second).chain(more) {
                memory.write(Pfn(n), 16, &pass.to_le_bytes());
            }
        }
    });
    let held: Vec<_> = report.rounds.iter().map(|round| round.held_back_pages).collect();
    assert_eq!(held, [0, 20, 20, 20], "{report:?}");
    let sent: Vec<_> = report.rounds.iter().map(|round| round.data_pages).collect();
    assert_eq!(sent, [PFNS, 0, 2020, 0]);
    assert_eq!(report.last_pass.data_pages, 40);
    let unsent: Vec<_> =
        policy.seen.into_inner().unwrap().iter().map(|round| round.unsent_pages).collect();
    assert_eq!(unsent, [20, 2040, 20, 40]);
    let sent: Vec<u64> = batches(&image).concat();
    assert!(sent[PFNS as usize..PFNS as usize + 2020].iter().all(|&pfn| pfn >= 20));
}

#[test]
fn what_is_written_in_every_round_waits_for_the_last_pass_unasked() {
    let memory = SimMemory::filled(PFNS);
    let policy = HoldBack::new(7, 0);
    let options =
        SaveOptions { policy: &policy, put_off: PauseBudget::default().into(), ..options(true) };
    let mut pass = 0u64;
    let report = migrate(&memory, &options, |progress| {
        if progress.done_pages == progress.total_pages {
            pass += 1;
            // 0..20 in each, but the last of them no more from the sixth on.
            let written = if pass < 6 { 0..20 } else { 0..19 };
            written.for_each(|n| {
                memory.write(Pfn(n), 16, &pass.to_le_bytes());
            });
        }
    })
    .saved;
    let sent: Vec<_> = report.rounds.iter().map(|round| round.data_pages).collect();
    assert_eq!(sent, [PFNS, 20, 20, 20, 0, 0, 1], "{report:?}");
    let held: Vec<_> = report.rounds.iter().map(|round| round.held_back_pages).collect();
    assert_eq!(held, [0, 0, 0, 0, 20, 20, 19]);
    assert_eq!(report.last_pass.data_pages, 19);
}

#[test]
fn a_warm_page_goes_behind_the_cold_ones() {
    let memory = SimMemory::filled(PFNS);
    let policy = HoldBack::new(3, 0);
    let options =
        SaveOptions { policy: &policy, put_off: PauseBudget::default().into(), ..options(true) };
    let mut pass = 0u64;
    let journey = migrate(&memory, &options, |progress| {
        if progress.done_pages == progress.total_pages {
            pass += 1;
            let written = if pass == 1 { 100..200 } else { 0..4000 };
            written.for_each(|n| {
                memory.write(Pfn(n), 16, &pass.to_le_bytes());
            });
        }
    });
    let sent: Vec<u64> = batches(&journey.image).concat();
    let third = &sent[PFNS as usize + 100..][..4000];
    assert!(third[3900..].iter().all(|pfn| (100..200).contains(pfn)), "{:?}", &third[3800..]);
}

#[test]
fn by_digest_hot_pages_are_held_back_and_nothing_is_put_off() {
    let memory = SimMemory::filled(PFNS);
    let policy = HoldBack::new(5, 30);
    let options = SaveOptions { policy: &policy, put_off: ALWAYS, ..tracked(Tracking::Digest) };
    let mut writes = 0u64;
    let report = migrate(&memory, &options, |_| {
        writes += 1;
        (0..30).for_each(|n| {
            memory.write(Pfn(n), 16, &writes.to_le_bytes());
        });
    })
    .saved;
    let held: Vec<_> = report.rounds.iter().map(|round| round.held_back_pages).collect();
    assert_eq!(held, [0, 0, 30, 30, 30], "known after the second scan");
    let sent: Vec<_> = report.rounds.iter().map(|round| round.data_pages).collect();
    assert_eq!(sent, [PFNS, 30, 0, 0, 0]);
    assert_eq!(report.last_pass.data_pages, 30);
    assert!(report.rounds.iter().all(|round| round.put_off_pages == 0));
    let rounds = policy.seen.into_inner().unwrap();
    assert_eq!((rounds[1].unsent_pages, rounds[4].unsent_pages), (0, 30));
}

#[test]
fn a_look_that_fails_costs_nothing_but_bytes() {
    for successes in 0..4 {
        let memory = SimMemory::filled(PFNS);
        let mut writes = 0u64;
        let mut toolstack = SimToolstack::doing(&memory, |_| {
            writes += 1;
            memory.write(Pfn(4000 + writes % 900), 16, &writes.to_le_bytes());
        });
        let faults = Faults::after(Operation::PeekDirty, successes);
        let source = SimSource::new(memory.clone(), faults);
        let options = SaveOptions { put_off: ALWAYS, ..options(true) };
        let (image, _) = save_to_vec(source, &mut toolstack, &options).unwrap();
        require_arrival(&memory, &image);
    }
}

#[test]
fn the_stock_rule_puts_nothing_off_and_sends_in_order() {
    for tracking in LIVE_TRACKING {
        let memory = SimMemory::filled(PFNS);
        let mut writes = 0u64;
        let Journey { image, saved: report, .. } = migrate(&memory, &tracked(tracking), |_| {
            writes += 1;
            (0..400).for_each(|n| {
                memory.write(Pfn((n * 7 + writes) % PFNS), 16, &writes.to_le_bytes());
            });
        });
        let left_out =
            |round: &xend_rs::migration::PassReport| round.put_off_pages + round.held_back_pages;
        assert_eq!(report.rounds.iter().map(left_out).sum::<u64>(), 0);
        assert!(batches(&image).iter().all(|batch| batch.is_sorted()));
    }
}

/// What a guest does to its memory between two batches.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write(u64, u8),
    Zero(u64),
    BalloonOut(u64),
    BalloonIn(u64),
}

fn act() -> impl Strategy<Value = Act> {
    // Few pages that are hot, and all others.
    let page = || prop_oneof![(0u64..40).prop_map(|n| n * 70), 0u64..3000];
    prop_oneof![
        6 => (page(), any::<u8>()).prop_map(|(n, value)| Act::Write(n, value)),
        2 => page().prop_map(Act::Zero),
        1 => page().prop_map(Act::BalloonOut),
        1 => page().prop_map(Act::BalloonIn),
    ]
}

impl Act {
    fn on(self, guest: &SimMemory) {
        match self {
            Self::Write(n, value) => {
                guest.write(Pfn(n), 100, &[value, 1, 2, 3]);
            }
            Self::Zero(n) => {
                guest.write(Pfn(n), 0, &[0; PAGE_SIZE]);
            }
            Self::BalloonOut(n) => guest.balloon_out(Pfn(n)),
            // What fresh memory contains is nobody's business until it is written.
            Self::BalloonIn(n) => {
                guest.balloon_in(Pfn(n));
                guest.write(Pfn(n), 0, &[n as u8; PAGE_SIZE]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Writes, pages that become zero and ballooning at any point between two batches, with pages held
    /// back, put off and told to be zero, by log-dirty and by digest: no page is lost.
    #[test]
    fn no_order_loses_a_page(
        script in prop::collection::vec(act(), 0..500),
        per_batch in 1usize..60,
        hold_back in prop_oneof![Just(0u64), 1u64..60, Just(u64::MAX)],
        put_off: bool,
        zero_pages: bool,
        by_digest: bool,
    ) {
        let memory = SimMemory::filled(3000);
        (0..3000).step_by(3).for_each(|n| { memory.write(Pfn(n), 0, &[0; PAGE_SIZE]); });
        let tracking = if by_digest { Tracking::Digest } else { Tracking::LogDirty };
        let policy = HoldBack::new(8, hold_back);
        let options = SaveOptions {
            policy: &policy,
            put_off: if put_off { ALWAYS } else { None },
            zero_pages,
            ..tracked(tracking)
        };
        let mut script = script.into_iter();
        migrate(&memory, &options, |_| {
            script.by_ref().take(per_batch).for_each(|act| act.on(&memory));
        });
    }
}
