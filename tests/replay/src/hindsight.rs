//! The best stop that hindsight allows, and how far a policy was from it.

use std::time::Duration;

use crate::voyage::{Stop, Voyage};

/// What a round must leave, to be worth it: nine tenths of the downtime.
pub const ROUND_PAYS: f64 = 0.9;
/// Stops whose cost differs by less than this hindsight itself cannot tell apart.
pub const TIE: f64 = 1.0 / ROUND_PAYS;

/// How far a stop is from the best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regret {
    /// Its pages, to those of the best.
    pub pages: f64,
    /// Its downtime, to that of the best.
    pub downtime: f64,
    /// The best that it was held against.
    pub best: Stop,
}

/// What a stop costs in the eyes of the rule.
pub fn cost(stop: &Stop, target: Duration) -> f64 {
    stop.downtime.max(target).as_secs_f64() / ROUND_PAYS.powi(stop.rounds as i32)
}

/// `None` where the policy did not stop.
pub fn regret(voyage: &Voyage, target: Duration) -> Option<Regret> {
    let stopped = voyage.stopped?;
    let least = voyage.stops.iter().map(|s| cost(s, target)).fold(f64::INFINITY, f64::min);
    let best = voyage.stops.iter().filter(|s| cost(s, target) <= TIE * least);
    let against = |best: &Stop| Regret {
        pages: stopped.pages as f64 / best.pages as f64,
        downtime: stopped.downtime.as_secs_f64() / best.downtime.max(target).as_secs_f64(),
        best: *best,
    };
    best.map(against).min_by(|a, b| a.worst().total_cmp(&b.worst()))
}

impl Regret {
    /// The larger of the two.
    pub fn worst(&self) -> f64 {
        self.pages.max(self.downtime)
    }
}
