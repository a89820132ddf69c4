//! A whole migration: what a policy makes of a trace, and what became of each other stop.

use std::time::Duration;

use xend_rs::migration::policy::{Decision, History, Policy, Round};

use crate::engine::{Engine, Mechanics};
use crate::trace::Trace;

/// Rounds that hindsight looks at.
const MOST_ROUNDS: usize = 40;
/// And no more pages than so many times the guest's.
const MOST_PAGES: u64 = 10;

/// A migration that ended after some round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    /// Live rounds before it.
    pub rounds: usize,
    /// Pages sent in all, the last pass included.
    pub pages: u64,
    /// Pages of the last pass.
    pub last_pass_pages: u64,
    /// How long the guest stood still.
    pub downtime: Duration,
    /// From the start of round 0 to the end of the last pass.
    pub total: Duration,
}

/// What a policy did, and what it could have done.
#[derive(Clone, Debug)]
pub struct Voyage {
    /// Where the policy stopped. `None` if it gave up, or never came to an end.
    pub stopped: Option<Stop>,
    /// Every stop there was: after round 0, after round 1 and so on, past the policy's.
    pub stops: Vec<Stop>,
    /// The rounds that led to them.
    pub rounds: Vec<Round>,
}

/// Plays `policy` over `trace`, after a probe of so many windows. With `hindsight` rounds go on after
/// its stop, as the last of its rounds was made, for what later stops would have come to.
pub fn play(
    trace: &Trace,
    mechanics: Mechanics,
    policy: &dyn Policy,
    probe_windows: usize,
    hindsight: bool,
) -> Voyage {
    let probe = (probe_windows > 0).then(|| trace.probe(probe_windows));
    let mut engine = Engine::new(trace, mechanics, trace.time_of(probe_windows));
    let mut voyage = Voyage { stopped: None, stops: Vec::new(), rounds: Vec::new() };
    let mut next = policy.first();
    let mut decided = false;
    while voyage.rounds.len() < MOST_ROUNDS
        && engine.sent_pages() < MOST_PAGES * u64::from(trace.pages)
    {
        voyage.rounds.push(engine.round(&next));
        let last_pass_pages = engine.last_pass_pages(next.cpu_share.as_percent());
        let downtime = engine.downtime(last_pass_pages, policy.last_pass_limit());
        let stop = Stop {
            rounds: voyage.rounds.len(),
            pages: engine.sent_pages() + last_pass_pages,
            last_pass_pages,
            downtime,
            total: engine.elapsed() + downtime,
        };
        voyage.stops.push(stop);
        if !decided {
            let history = History {
                rounds: &voyage.rounds,
                elapsed: engine.elapsed(),
                probe: probe.as_ref(),
            };
            match policy.decide(&history) {
                Decision::Continue(wanted) => next = wanted,
                Decision::StopAndCopy(_) => (decided, voyage.stopped) = (true, Some(stop)),
                Decision::Abort(_) => decided = true,
            }
        }
        if decided && !hindsight {
            break;
        }
    }
    voyage
}
