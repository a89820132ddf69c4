//! Whether another round pays.
//!
//! It does if it leaves at least a tenth less than there ever was. Whether it will is predicted from
//! how the guest wrote so far, and since a prediction may be wrong, and one bad round may be one
//! burst of writing, a policy has some patience: as many bytes as are a small part of what the
//! migration costs anyhow. So it waits for long where waiting is cheap, which is where the guest
//! writes little, and not at all where every attempt sends half of memory again.

use super::super::{CpuShare, Round};
use super::estimate::Estimate;
use crate::migration::rate::Rate;

/// A round pays if it leaves this share, or less.
const NOTICEABLY_LESS: f64 = 0.9;
/// Rounds that did not pay may have sent this share of all that was sent.
const PATIENCE: f64 = 0.08;
/// And there may be so many of them in a row.
const MOST_IN_VAIN: u32 = 6;

/// What came of the rounds so far.
pub(super) struct Progress {
    /// The fewest pages that there were left, by tenths.
    least: f64,
    /// Pages sent since then, which did not help.
    wasted_pages: f64,
    /// Rounds since then.
    rounds_in_vain: u32,
    sent_pages: f64,
}

impl Progress {
    pub(super) fn of<'a>(residues: impl Iterator<Item = (&'a Round, f64)>) -> Self {
        let mut progress =
            Self { least: f64::INFINITY, wasted_pages: 0.0, rounds_in_vain: 0, sent_pages: 0.0 };
        for (round, unsent) in residues {
            progress.sent_pages += round.sent_pages as f64;
            if unsent <= NOTICEABLY_LESS * progress.least {
                (progress.least, progress.wasted_pages, progress.rounds_in_vain) = (unsent, 0.0, 0);
            } else {
                progress.wasted_pages += round.sent_pages as f64;
                progress.rounds_in_vain += 1;
            }
        }
        progress
    }

    /// Whether the last round left no less than there was before it.
    pub(super) fn in_vain(&self) -> bool {
        self.rounds_in_vain > 0
    }

    /// Whether there should be another round, sent at no more than `limit`, with the guest left with
    /// `cpu_share`.
    pub(super) fn pays(
        &self,
        estimate: &Estimate<'_>,
        unsent: f64,
        probed: bool,
        limit: Option<Rate>,
        cpu_share: CpuShare,
    ) -> bool {
        if !estimate.knows_the_guest(probed) {
            return true;
        }
        let after = estimate.unsent_after_another(unsent, limit, cpu_share);
        let promised = after <= NOTICEABLY_LESS * self.least;
        if promised && self.rounds_in_vain == 0 {
            return true;
        }
        let wasted = self.wasted_pages + estimate.next_sent_pages(unsent);
        wasted <= PATIENCE * (self.sent_pages + unsent) && self.rounds_in_vain < MOST_IN_VAIN
    }
}
