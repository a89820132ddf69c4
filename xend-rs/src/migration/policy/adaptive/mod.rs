//! The policy of the paper, with a downtime target: rounds whose rate follows the guest, a stop as
//! soon as the pause would be short enough or no round shortens it any more, and, if that is allowed,
//! a guest that is slowed down until it converges.
//!
//! After Clark et al., *Live Migration of Virtual Machines*, NSDI 2005 (the rate law), and Akoush et
//! al., *Predicting the Performance of Virtual Machine Migration*, MASCOTS 2010 (rounds predicted
//! from what the guest dirties). Each concern has a file: the `rate_law`, what the rounds say of guest
//! and link (`estimate`), whether another pays (`progress`), the `stun` controller, the `time_limit`.

mod estimate;
mod progress;
mod rate_law;
mod settings;
mod stun;
#[cfg(test)]
mod tests;
mod time_limit;

use std::time::Duration;

pub use estimate::PAGE_BYTES;
pub use settings::{OnTimeout, Settings, Stun, TimeLimit, UnknownOnTimeout};

use self::estimate::Estimate;
use self::progress::Progress;
use super::{CpuShare, Decision, History, Next, Policy, Why};
use crate::migration::rate::Rate;

/// What of the pages that the target affords is held back from live rounds. The rest of them is for
/// pages that are written elsewhere meanwhile: with all of it held back the target would be met only
/// when nothing else is left.
const HELD_BACK: f64 = 0.5;

/// A round that is expected to leave more than this share has come to a standstill, whatever else was
/// estimated wrong: nobody is slowed down who would have got done, if slowly.
const STANDSTILL: f64 = 0.97;

/// Copies until the pause is as short as is wanted, or cannot be made shorter at a price that pays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Adaptive {
    settings: Settings,
}

impl Adaptive {
    /// A policy that keeps to `settings`.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// What it keeps to.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Decides where what is left is known.
    fn decide_on(&self, estimate: &Estimate<'_>, unsent: f64, history: &History<'_>) -> Decision {
        let downtime = estimate.downtime().unwrap_or_default();
        if downtime <= self.settings.downtime_target {
            return Decision::StopAndCopy(Why::DowntimeMet);
        }
        if unsent <= estimate.goal_pages() {
            return Decision::StopAndCopy(Why::NoProgress);
        }
        if let Some(decision) = time_limit::decide(self, estimate, history) {
            return decision;
        }
        let law = rate_law::next(&self.settings, estimate.last, estimate.dirtied_pages());
        let most = self.settings.bandwidth_max;
        let progress = Progress::of(estimate.residues(), estimate.goal_pages());
        let pays = |limit, share| progress.pays(estimate, unsent, limit, share);
        // A constant above a fast writer is hardly above it. Nobody is given up on below the maximum.
        let limit = if pays(law, estimate.last.cpu_share) { law } else { most };
        let stunned = estimate.last.cpu_share < CpuShare::FULL;
        let cpu_share = match self.settings.stun {
            Stun::Allowed { floor }
                if stunned
                    || !pays(limit, CpuShare::FULL)
                    || self.outruns(estimate, unsent, most) =>
            {
                stun::next_share(estimate, unsent, limit, floor)
            }
            Stun::Allowed { .. } | Stun::OnTimeout { .. } | Stun::Off => CpuShare::FULL,
        };
        if cpu_share < estimate.last.cpu_share || pays(limit, cpu_share) {
            Decision::Continue(self.next(estimate, limit, cpu_share))
        } else {
            Decision::StopAndCopy(Why::NoProgress)
        }
    }

    /// Whether the guest, with all of its processors, would bring live copying to a standstill before
    /// it comes to the goal.
    fn outruns(&self, estimate: &Estimate<'_>, unsent: f64, limit: Option<Rate>) -> bool {
        let mut left = unsent;
        while left > estimate.goal_pages().max(1.0) {
            let after = estimate.unsent_after_another(left, limit, CpuShare::FULL);
            if after > STANDSTILL * left {
                return true;
            }
            left = after;
        }
        false
    }

    fn next(&self, estimate: &Estimate<'_>, limit: Option<Rate>, cpu_share: CpuShare) -> Next {
        let hold_back_pages = (HELD_BACK * estimate.affordable_pages()) as u64;
        Next { limit, hold_back_pages, cpu_share }
    }
}

impl Policy for Adaptive {
    /// At the minimum, or at the maximum where there is no minimum. Nothing is held back: which pages
    /// are hot is not known yet.
    fn first(&self) -> Next {
        Next { limit: rate_law::first(&self.settings), ..Next::default() }
    }

    fn last_pass_limit(&self) -> Option<Rate> {
        self.settings.bandwidth_max
    }

    fn time_limit(&self) -> Option<Duration> {
        self.settings.time_limit.map(|limit| limit.after)
    }

    fn decide(&self, history: &History<'_>) -> Decision {
        let Some(estimate) = Estimate::new(&self.settings, history) else {
            return Decision::Continue(self.first());
        };
        match estimate.unsent_pages {
            Some(unsent) => self.decide_on(&estimate, unsent, history),
            None => time_limit::decide(self, &estimate, history).unwrap_or_else(|| {
                let limit = rate_law::next(&self.settings, estimate.last, 0);
                Decision::Continue(self.next(&estimate, limit, CpuShare::FULL))
            }),
        }
    }
}
