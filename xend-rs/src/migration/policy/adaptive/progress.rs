//! Whether another round pays.
//!
//! It does if it leaves at least a tenth less. Several rounds pay together if they leave as much less
//! as so many tenths come to: so each stop has a cost, what is left then, and a tenth more for each
//! round that it took, and the best stop is the one of least cost.
//!
//! Whether the next will be better is predicted from how the guest wrote so far. A prediction may be
//! wrong, and one bad round may be one burst of writing, so a policy has some patience: as many bytes
//! as are a small part of what the migration costs anyhow. It waits for long where waiting is cheap,
//! which is where the guest writes little, and not at all where every attempt sends half of memory
//! again.

use super::super::{CpuShare, Round};
use super::estimate::Estimate;
use crate::migration::rate::Rate;

/// A round pays if it leaves this share, or less.
const NOTICEABLY_LESS: f64 = 0.9;
/// Rounds that did not pay may have sent this share of all that was sent.
const PATIENCE: f64 = 0.08;
/// And there may be so many of them in a row.
const MOST_IN_VAIN: usize = 6;

/// What came of the rounds so far.
pub(super) struct Progress {
    /// Below this many pages nothing is gained.
    goal_pages: f64,
    rounds: usize,
    /// The least cost of a stop.
    least_cost: f64,
    /// Rounds since that one.
    rounds_in_vain: usize,
    /// Pages that they sent.
    wasted_pages: f64,
    /// Pages that all rounds sent.
    sent_pages: f64,
}

impl Progress {
    /// Of rounds and what was left after each.
    pub(super) fn of<'a>(
        residues: impl Iterator<Item = (&'a Round, f64)>,
        goal_pages: f64,
    ) -> Self {
        let mut progress = Self {
            goal_pages,
            rounds: 0,
            least_cost: f64::INFINITY,
            rounds_in_vain: 0,
            wasted_pages: 0.0,
            sent_pages: 0.0,
        };
        for (round, unsent) in residues {
            progress.add(round.sent_pages as f64, unsent);
        }
        progress
    }

    fn add(&mut self, sent: f64, unsent: f64) {
        self.rounds += 1;
        self.sent_pages += sent;
        let cost = self.cost(unsent, self.rounds);
        if cost <= self.least_cost {
            (self.least_cost, self.wasted_pages, self.rounds_in_vain) = (cost, 0.0, 0);
        } else {
            self.wasted_pages += sent;
            self.rounds_in_vain += 1;
        }
    }

    fn cost(&self, unsent: f64, rounds: usize) -> f64 {
        unsent.max(self.goal_pages).max(1.0) / NOTICEABLY_LESS.powi(rounds.min(1_000) as i32)
    }

    /// Whether the last round did not pay.
    pub(super) fn in_vain(&self) -> bool {
        self.rounds_in_vain > 0
    }

    /// Whether there should be another round, of `unsent` pages, sent at no more than `limit`, with
    /// the guest left with `cpu_share`.
    pub(super) fn pays(
        &self,
        estimate: &Estimate<'_>,
        unsent: f64,
        limit: Option<Rate>,
        cpu_share: CpuShare,
    ) -> bool {
        let after = estimate.unsent_after_another(unsent, limit, cpu_share);
        let promised = self.cost(after, self.rounds + 1) <= self.least_cost;
        if promised && self.rounds_in_vain == 0 {
            return true;
        }
        let wasted = self.wasted_pages + estimate.next_sent_pages(unsent, limit, cpu_share);
        wasted <= PATIENCE * (self.sent_pages + unsent) && self.rounds_in_vain < MOST_IN_VAIN
    }
}
