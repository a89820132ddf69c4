//! Whatever fails, and whenever: the source guest runs on, untracked, with nothing left over.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::time::Duration;

use xend_rs::hypervisor::sim::{Faults, Operation, SimMemory, SimSource};
use xend_rs::migration::rate::Rate;
use xend_rs::migration::{
    Cancel, Phase, SaveError, SaveFailure, SaveOptions, Sink, Tracking, save,
};

use crate::harness::{BrokenSink, SimToolstack, options, save_to_vec, source_of, tracked};

const PFNS: u64 = 3000;

fn assert_untouched(memory: &SimMemory) {
    assert!(!memory.is_suspended(), "the guest runs");
    assert!(!memory.is_tracked(), "its writes are not tracked any more");
}

#[test]
fn any_hypervisor_call_may_fail_at_any_time() {
    for tracking in Tracking::ALL {
        for operation in Operation::SOURCE {
            // Deep enough that the failure comes in every phase the operation is used in.
            for successes in 0..12 {
                let memory = SimMemory::filled(PFNS);
                let mut toolstack = SimToolstack::new(&memory);
                let source = SimSource::new(memory.clone(), Faults::after(operation, successes));
                match save_to_vec(source, &mut toolstack, &tracked(tracking)) {
                    Ok(_) => assert!(memory.is_suspended()),
                    Err(SaveError { cause: SaveFailure::Hypervisor(_), .. }) => {
                        assert_untouched(&memory);
                    }
                    Err(other) => panic!("{operation:?} after {successes}: {other:?}"),
                }
                assert!(!memory.is_tracked());
            }
        }
    }
}

#[test]
fn a_peer_may_vanish_at_any_byte() {
    let whole = {
        let memory = SimMemory::filled(PFNS);
        let source = source_of(&memory);
        save_to_vec(source, &mut SimToolstack::new(&memory), &options(true)).unwrap().0.len()
    };
    // Every byte of the preamble and of the end, and a spread in between.
    let limits = (0..600).chain((600..whole - 600).step_by(97_001)).chain(whole - 600..whole);
    for limit in limits {
        let memory = SimMemory::filled(PFNS);
        let mut toolstack = SimToolstack::new(&memory);
        let mut source = source_of(&memory);
        let mut sink = BrokenSink { left: limit };
        let error =
            save(&mut source, &mut toolstack, &mut sink, &options(true), &Cancel::default())
                .expect_err("the peer took less than all");
        let SaveFailure::Send { sent_bytes, .. } = error.cause else { panic!("{error:?}") };
        assert_eq!(sent_bytes, limit as u64);
        assert_untouched(&memory);
    }
}

/// A sink with a fault of its own: panics where a broken one fails.
struct PanickingSink(BrokenSink);

impl Write for PanickingSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.write(bytes).expect("on purpose"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for PanickingSink {
    fn wait_until_taken(&mut self, _within: Duration) -> io::Result<()> {
        Ok(())
    }
    fn set_rate(&mut self, _limit: Option<Rate>) {}
}

#[test]
fn a_writer_that_panics_does_not_leave_the_guest_suspended() {
    let memory = SimMemory::filled(PFNS);
    let whole = {
        let source = source_of(&memory);
        save_to_vec(source, &mut SimToolstack::new(&memory), &options(true)).unwrap().0.len()
    };
    // In the first round, and with the last record.
    for (left, resumes) in [(1000, 0), (whole - 10, 1)] {
        let memory = SimMemory::filled(PFNS);
        let mut toolstack = SimToolstack::new(&memory);
        let mut sink = PanickingSink(BrokenSink { left });
        let cancel = Cancel::default();
        let error =
            save(&mut source_of(&memory), &mut toolstack, &mut sink, &options(true), &cancel)
                .expect_err("it panics");
        assert!(matches!(error.cause, SaveFailure::Send { .. }), "{error:?}");
        assert_eq!(toolstack.resumes, resumes);
        assert_untouched(&memory);
    }
}

#[test]
fn a_guest_that_will_not_suspend_runs_on() {
    let memory = SimMemory::filled(PFNS);
    let mut toolstack = SimToolstack::new(&memory);
    toolstack.refuse_suspend = true;
    let source = source_of(&memory);
    let error = save_to_vec(source, &mut toolstack, &options(true)).unwrap_err();
    assert!(matches!(error, SaveError { phase: Phase::Suspend, cause: SaveFailure::Toolstack(_) }));
    assert_untouched(&memory);
    // It may have been about to: the toolstack is told to take the request back.
    assert_eq!(toolstack.resumes, 1);
}

#[test]
fn a_suspend_that_did_not_happen_is_noticed() {
    let memory = SimMemory::filled(PFNS);
    let mut toolstack = SimToolstack::new(&memory);
    toolstack.lie_about_suspend = true;
    let source = source_of(&memory);
    let error = save_to_vec(source, &mut toolstack, &options(true)).unwrap_err();
    assert!(matches!(error.cause, SaveFailure::NotSuspended { .. }));
    assert_untouched(&memory);
}

#[test]
fn a_cancellation_is_obeyed_in_every_round() {
    // In the first pass, and with digests in a later one, where several threads read.
    let runs = [
        (0, options(true)),
        (0, options(false)),
        (8, SaveOptions { readers: NonZeroUsize::new(3).unwrap(), ..tracked(Tracking::Digest) }),
    ];
    for (wanted_calls, options) in runs {
        let memory = SimMemory::filled(PFNS);
        let cancel = Cancel::default();
        let mut calls = 0;
        let mut toolstack = SimToolstack::doing(&memory, |_| {
            calls += 1;
            if calls > wanted_calls {
                cancel.cancel();
            }
        });
        let mut source = source_of(&memory);
        let error =
            save(&mut source, &mut toolstack, &mut Vec::new(), &options, &cancel).unwrap_err();
        assert!(matches!(error.cause, SaveFailure::Cancelled));
        assert_untouched(&memory);
    }
}
