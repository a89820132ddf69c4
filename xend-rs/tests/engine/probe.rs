//! A probe sees how a guest writes, and leaves it as it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use xend_rs::hypervisor::sim::{Faults, Operation, SimMemory, SimSource};
use xend_rs::hypervisor::types::Pfn;
use xend_rs::hypervisor::{Liveness, PfnSet};
use xend_rs::migration::probe::{Probe, ProbeError, ProbeOptions, census, probe, sample, watch};
use xend_rs::migration::{Cancel, Tracking, save_with, tracker};

use crate::harness::{SimToolstack, options, require_arrival, source_of};

const PFNS: u64 = 2000;
const HOT_PFNS: u64 = 400;
const WRITES_PER_S: f64 = 1500.0;

/// A guest at work: it writes to the first pages, to all of them alike, at a steady rate.
struct Writer {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(memory: &SimMemory) -> Self {
        let (began, mut written, mut random) = (Instant::now(), 0_u64, 1_u64);
        Self::doing(memory, move |memory| {
            let due = (began.elapsed().as_secs_f64() * WRITES_PER_S) as u64;
            for _ in written..due {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                memory.write(Pfn((random >> 33) % HOT_PFNS), 8, &random.to_le_bytes());
            }
            written = due;
        })
    }

    /// Another one, which does this every half of a millisecond.
    fn doing(memory: &SimMemory, mut turn: impl FnMut(&SimMemory) + Send + 'static) -> Self {
        let (end, memory) = (Arc::new(AtomicBool::new(false)), memory.clone());
        let ended = Arc::clone(&end);
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                turn(&memory);
                thread::sleep(Duration::from_micros(500));
            }
        });
        Self { end, thread: Some(thread) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn source_with(memory: &SimMemory, log_dirty: bool) -> SimSource {
    let guest = source_of(memory);
    if log_dirty { guest } else { guest.without_log_dirty() }
}

fn short(ms: u64) -> ProbeOptions {
    let window = Duration::from_millis(25);
    ProbeOptions { window, length: Duration::from_millis(ms), ..ProbeOptions::default() }
}

/// Distinct pages that the writer writes in so long.
fn expected(time: Duration) -> f64 {
    let hot = HOT_PFNS as f64;
    hot * (1.0 - (-WRITES_PER_S * time.as_secs_f64() / hot).exp())
}

fn require_the_writers_curve(seen: &Probe) {
    assert!(!seen.cut_short && seen.windows > 3, "{seen:?}");
    // The longer windows are few, and the last but one may be half of what there is.
    for point in seen.curve.points().iter().take(3).chain(seen.curve.points().last()) {
        let expected = expected(point.window);
        assert!((point.pages / expected - 1.0).abs() < 0.25, "{point:?}, expected {expected}");
    }
    assert!(seen.written_pages() <= HOT_PFNS);
    let working_set = seen.working_set_pages().expect("it bends");
    assert!((working_set / HOT_PFNS as f64 - 1.0).abs() < 0.25, "{working_set}");
}

/// The trace has the windows that the figures are made of.
fn require_each_window(seen: &Probe) {
    let trace = seen.trace.as_ref().expect("it was asked for");
    assert!(!trace.is_cut_off);
    assert_eq!(trace.windows.len(), seen.windows as usize);
    assert_eq!(trace.windows.iter().map(|window| window.length).sum::<Duration>(), seen.length);
    let (mut written, mut pages) = (PfnSet::empty(PFNS), 0);
    for window in &trace.windows {
        let mut at = 0;
        for run in window.runs.chunks(2) {
            (at + run[0]..at + run[0] + run[1]).for_each(|pfn| written.insert(Pfn(pfn)));
            at += run[0] + run[1];
            pages += run[1];
        }
    }
    assert_eq!(written, seen.written);
    let mean = pages as f64 / f64::from(seen.windows);
    assert!((mean - seen.curve.points()[0].pages).abs() < 1e-6, "{mean}: {:?}", seen.curve);
}

#[test]
fn a_known_writer_is_seen_as_it_is() {
    for has_log_dirty in [true, false] {
        let memory = SimMemory::filled(PFNS);
        let mut guest = source_with(&memory, has_log_dirty);
        let _writer = Writer::start(&memory);
        let options = ProbeOptions { trace: true, ..short(1500) };
        let seen = probe(&mut guest, &options, &Cancel::default()).unwrap();
        let tracking = if has_log_dirty { Tracking::LogDirty } else { Tracking::Digest };
        assert_eq!(seen.tracking, tracking);
        require_the_writers_curve(&seen);
        require_each_window(&seen);
        assert!(!memory.is_tracked());
    }
}

#[test]
fn a_page_that_is_written_all_the_time_is_hot_and_named() {
    let memory = SimMemory::filled(PFNS);
    let mut n = 0_u64;
    let _writer = Writer::doing(&memory, move |memory| {
        n += 1;
        memory.write(Pfn(1234), 0, &n.to_le_bytes());
    });
    let seen = probe(&mut source_of(&memory), &short(300), &Cancel::default()).unwrap();
    assert_eq!((seen.written_pages(), seen.hot_pages), (1, 1));
    assert!(seen.written.contains(Pfn(1234)));
    assert_eq!(seen.hottest[0].pfn, Pfn(1234));
    assert!(seen.hottest[0].share > 0.8, "{seen:?}");
}

#[test]
fn whatever_fails_tracking_is_off_afterwards() {
    let faults = [(Operation::EnableLogDirty, 0)]
        .into_iter()
        .chain((0..5).map(|successes| (Operation::TakeDirty, successes)));
    for (operation, successes) in faults {
        let memory = SimMemory::filled(PFNS);
        let mut guest = SimSource::new(memory.clone(), Faults::after(operation, successes));
        let error = probe(&mut guest, &short(400), &Cancel::default()).unwrap_err();
        assert!(matches!(error, ProbeError::Hypervisor(_)), "{error}");
        assert!(!memory.is_tracked(), "{operation:?} after {successes}");
    }
}

#[test]
fn without_a_log_a_failure_is_told_as_well() {
    for operation in [Operation::MapWindow, Operation::ReadBatch] {
        for successes in 0..3 {
            let memory = SimMemory::filled(PFNS);
            let faults = Faults::after(operation, successes);
            let mut guest = SimSource::new(memory, faults).without_log_dirty();
            probe(&mut guest, &short(400), &Cancel::default()).unwrap_err();
        }
    }
}

#[test]
fn cancelled_it_tells_what_it_has_seen() {
    for has_log_dirty in [true, false] {
        let memory = SimMemory::filled(PFNS);
        let mut guest = source_with(&memory, has_log_dirty);
        let _writer = Writer::start(&memory);
        let cancel = Cancel::default();
        let canceller = cancel.clone();
        let began = Instant::now();
        let waiter = thread::spawn(move || {
            thread::sleep(Duration::from_millis(400));
            canceller.cancel();
        });
        let seen = probe(&mut guest, &short(60_000), &cancel).unwrap();
        waiter.join().unwrap();
        assert!(began.elapsed() < Duration::from_secs(10));
        assert!(seen.cut_short && seen.windows > 0 && seen.written_pages() > 0, "{seen:?}");
        assert!(!memory.is_tracked());
    }
}

#[test]
fn somebody_elses_log_is_left_alone() {
    let memory = SimMemory::filled(PFNS);
    let mut other = source_of(&memory);
    let tracker = tracker::start(&mut other, Tracking::LogDirty, 1).unwrap();
    let mut guest = source_of(&memory);
    let error = probe(&mut guest, &short(100), &Cancel::default()).unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
    assert!(memory.is_tracked());
    drop(tracker);
}

/// What the probe takes out of the log is still to be sent: all pages are.
#[test]
fn a_migration_that_begins_with_a_probe_loses_nothing() {
    let memory = SimMemory::filled(PFNS);
    let mut guest = source_of(&memory);
    let writer = Writer::start(&memory);
    let mut toolstack = SimToolstack::new(&memory);
    let (mut image, mut seen) = (Vec::new(), None);
    let start = |guest: &mut SimSource| {
        let tracker = tracker::start(guest, Tracking::LogDirty, 1)?;
        seen = Some(watch(guest, &short(200), &Cancel::default())?);
        assert!(memory.is_tracked(), "the migration needs it on");
        Ok(tracker)
    };
    save_with(&mut guest, &mut toolstack, &mut image, &options(true), &Cancel::default(), start)
        .unwrap();
    drop(writer);
    assert!(seen.unwrap().written_pages() > 0);
    require_arrival(&memory, &image);
    assert!(!memory.is_tracked());
}

#[test]
fn pages_with_nothing_in_them_are_counted_apart() {
    let memory = SimMemory::empty(PFNS);
    for pfn in 0..700 {
        memory.balloon_in(Pfn(pfn));
    }
    for pfn in 0..300 {
        memory.write(Pfn(pfn), 4095, &[1]);
    }
    for readers in [1, 3] {
        let mut guest = source_of(&memory);
        let counted = census(&mut guest, readers, &Cancel::default()).unwrap().unwrap();
        assert_eq!((counted.populated_pages, counted.zero_pages), (700, 400));
        assert_eq!(counted.nonzero_pages(), 300);
    }
    let cancel = Cancel::default();
    cancel.cancel();
    let mut guest = source_of(&memory);
    assert_eq!(census(&mut guest, 1, &cancel).unwrap(), None);
}

/// The first two thirds of memory are there; a quarter of that is zero, and each third page of the rest.
fn partly_zero(pfns: u64) -> SimMemory {
    let memory = SimMemory::empty(pfns);
    for pfn in 0..pfns * 2 / 3 {
        memory.balloon_in(Pfn(pfn));
        if pfn > pfns / 6 && pfn % 3 != 0 {
            memory.write(Pfn(pfn), 4000, &[1]);
        }
    }
    memory
}

#[test]
fn a_sample_says_nearly_what_a_census_does_and_takes_nothing_out_of_the_log() {
    let memory = partly_zero(9000);
    let mut guest = source_of(&memory);
    let mut tracker = tracker::start(&mut guest, Tracking::LogDirty, 1).unwrap();
    memory.write(Pfn(5000), 0, &[1]);
    let counted = census(&mut guest, 1, &Cancel::default()).unwrap().unwrap();
    for (every, tolerance) in [(1, 0.0), (8, 0.02), (16, 0.03), (64, 0.08)] {
        let sampled = sample(&mut guest, every, &Cancel::default()).unwrap().unwrap();
        for (sampled, counted) in [
            (sampled.populated_pages, counted.populated_pages),
            (sampled.zero_pages, counted.zero_pages),
            (sampled.nonzero_pages(), counted.nonzero_pages()),
        ] {
            let off = sampled.abs_diff(counted) as f64 / counted as f64;
            assert!(off <= tolerance, "one of {every}: {sampled}, truly {counted}");
        }
    }
    let mut written = PfnSet::empty(9000);
    tracker.next_set(&mut guest, &mut written, Liveness::Running).unwrap();
    assert!(written.contains(Pfn(5000)));
    tracker.stop(&mut guest).unwrap();
}

#[test]
fn a_sample_takes_less_than_a_twentieth_of_the_time() {
    let mut guest = source_of(&partly_zero(9000));
    let counted = census(&mut guest, 1, &Cancel::default()).unwrap().unwrap();
    let mut quickest = Duration::MAX;
    // This machine may be busy with something else.
    for _ in 0..10 {
        let sampled = sample(&mut guest, 64, &Cancel::default()).unwrap().unwrap();
        quickest = quickest.min(sampled.duration);
    }
    assert!(quickest * 20 < counted.duration, "{quickest:?} of {:?}", counted.duration);
    let cancel = Cancel::default();
    cancel.cancel();
    assert_eq!(sample(&mut guest, 64, &cancel).unwrap(), None);
    let mut nothing = source_of(&SimMemory::empty(0));
    let none = sample(&mut nothing, 64, &Cancel::default()).unwrap().unwrap();
    assert_eq!((none.populated_pages, none.zero_pages), (0, 0));
}
