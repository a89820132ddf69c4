//! How far a guest that writes faster than the link takes is slowed down.
//!
//! The share that its processors are left with is found in a closed loop: that a writer writes in
//! proportion to its share (true where the processor is what limits it) is only the first guess. Each
//! round is seen as its share of the time, so a guest that writes more than in proportion looks like
//! a faster one in the next estimate, and is given less.
//!
//! The aim is the smallest throttle that converges in time: so that what is left shrinks, round by
//! round, by the factor that brings it to the goal in the rounds that stunning is given. A share is
//! lowered as soon as a round fell short of that, and raised in steps, and only when much more would
//! do: so it does not swing.

use super::super::{CpuShare, Round};
use super::estimate::{Estimate, share};
use crate::migration::rate::Rate;

/// Rounds in which a stunned guest should get done.
const ROUNDS: i32 = 5;
/// What a plan leaves for a link that is slower, and a guest that is busier, than it was.
const MARGIN: f64 = 0.7;
/// A round must leave no more than the second of these, and need not leave less than the first.
const SHRINKING: (f64, f64) = (0.15, 0.75);
/// A share is raised to this multiple at most in one round, and only if the estimate allows for more.
const RAISE: f64 = 1.5;
/// Nobody would notice a throttle above this: then there is none.
const NEARLY_FULL: u8 = 90;

/// The share for the next round: of `unsent` pages, at no more than `limit`. At least `floor`.
pub(super) fn next_share(
    estimate: &Estimate<'_>,
    unsent: f64,
    limit: Option<Rate>,
    floor: CpuShare,
) -> CpuShare {
    let wanted = unsent * shrinking(estimate.rounds, unsent, estimate.goal_pages());
    let does = |percent: &u8| {
        let share = CpuShare::percent(*percent);
        estimate.unsent_after_another(unsent, limit, share) <= wanted
    };
    let floor = floor.as_percent();
    let enough = (floor..=100).rev().find(does).unwrap_or(floor);
    let now = estimate.last.cpu_share.as_percent().max(floor);
    CpuShare::percent(steady(now, enough).max(floor))
}

/// From `now` towards `enough`: down at once, up by no more than a step at a time.
fn steady(now: u8, enough: u8) -> u8 {
    if enough <= now || enough >= NEARLY_FULL {
        return if enough >= NEARLY_FULL { 100 } else { enough };
    }
    let step = f64::from(now) * RAISE;
    if f64::from(enough) < step { now } else { (step as u8).min(enough) }
}

/// What a round should leave of what there is, for the goal to be reached in time.
fn shrinking(rounds: &[Round], unsent: f64, goal: f64) -> f64 {
    let stunned = rounds.iter().filter(|round| share(round.cpu_share) < 1.0).count();
    let left = (ROUNDS - i32::try_from(stunned).unwrap_or(ROUNDS)).max(1);
    let factor = (MARGIN * goal.max(1.0) / unsent.max(1.0)).powf(1.0 / f64::from(left));
    factor.clamp(SHRINKING.0, SHRINKING.1)
}
