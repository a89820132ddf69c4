//! A policy's wish to slow the guest down reaches the toolstack, and what came of it the policy. Before
//! live copying ends for nothing the toolstack is asked whether it can hold who writes.

use std::sync::Mutex;

use xend_rs::hypervisor::sim::SimMemory;
use xend_rs::migration::SaveOptions;
use xend_rs::migration::policy::{CpuShare, Decision, History, Next, Policy, Why};

use crate::harness::{SimToolstack, options, save_to_vec, source_of};

const PFNS: u64 = 100;

/// Wants these shares, round by round, and notes those that there were.
struct Shares {
    wanted: &'static [u8],
    seen: Mutex<Vec<u8>>,
}

impl Policy for Shares {
    fn decide(&self, history: &History<'_>) -> Decision {
        let seen = history.rounds.iter().map(|round| round.cpu_share.as_percent()).collect();
        *self.seen.lock().unwrap() = seen;
        match self.wanted.get(history.rounds.len() - 1) {
            Some(&percent) => Decision::Continue(Next {
                cpu_share: CpuShare::percent(percent),
                ..Next::default()
            }),
            None => Decision::StopAndCopy(Why::EnoughRounds),
        }
    }
}

fn save_with_shares(wanted: &'static [u8], refuse_stun: bool) -> (Vec<u8>, Vec<u8>) {
    let memory = SimMemory::filled(PFNS);
    let mut toolstack = SimToolstack { refuse_stun, ..SimToolstack::new(&memory) };
    let policy = Shares { wanted, seen: Mutex::default() };
    let options = SaveOptions { policy: &policy, ..options(true) };
    save_to_vec(source_of(&memory), &mut toolstack, &options).unwrap();
    let set = toolstack.cpu_shares.iter().map(|share| share.as_percent()).collect();
    (set, policy.seen.into_inner().unwrap())
}

#[test]
fn it_is_told_of_changes_only_and_rounds_say_what_they_had() {
    let (set, seen) = save_with_shares(&[100, 50, 50, 20, 100], false);
    assert_eq!(set, [50, 20, 100]);
    assert_eq!(seen, [100, 100, 50, 50, 20, 100]);
}

#[test]
fn where_it_cannot_be_slowed_down_the_migration_goes_on() {
    let (set, seen) = save_with_shares(&[50, 20], true);
    assert!(set.is_empty());
    assert_eq!(seen, [100, 100, 100]);
}

/// Never gets any further.
struct Hopeless;

impl Policy for Hopeless {
    fn decide(&self, _: &History<'_>) -> Decision {
        Decision::StopAndCopy(Why::NoProgress)
    }
}

/// Live rounds, and how often it was asked for somebody to be held.
fn without_progress(policy: &dyn Policy, holds_writers: bool) -> (u32, u32) {
    let memory = SimMemory::filled(PFNS);
    let mut toolstack = SimToolstack { holds_writers, ..SimToolstack::new(&memory) };
    save_to_vec(source_of(&memory), &mut toolstack, &SaveOptions { policy, ..options(true) })
        .unwrap();
    (toolstack.rounds_seen, toolstack.holds)
}

#[test]
fn who_writes_is_held_once_before_live_copying_is_given_up() {
    assert_eq!(without_progress(&Hopeless, true), (2, 1));
    // Where nobody is, another round would be as the last.
    assert_eq!(without_progress(&Hopeless, false), (1, 1));
    let content = Shares { wanted: &[], seen: Mutex::default() };
    assert_eq!(without_progress(&content, true), (1, 0));
}
