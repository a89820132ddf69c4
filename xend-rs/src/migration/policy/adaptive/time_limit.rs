//! What happens when the time for live copying is over.

use std::time::Duration;

use super::super::{CpuShare, Decision, History, Round, Why};
use super::estimate::Estimate;
use super::progress::Progress;
use super::{Adaptive, OnTimeout, TimeLimit, rate_law};

/// Rounds that a guest at its floor is given when its time is over.
const STUNNED_ROUNDS: usize = 8;
/// And they must begin within this part of its time.
const OVERTIME: u32 = 2;

/// `None` while there is time.
pub(super) fn decide(
    policy: &Adaptive,
    estimate: &Estimate<'_>,
    history: &History<'_>,
) -> Option<Decision> {
    let limit = policy.settings.time_limit.filter(|limit| history.elapsed >= limit.after)?;
    Some(match limit.then {
        OnTimeout::Cancel => Decision::Abort(Why::TimeOver),
        OnTimeout::Stop => Decision::StopAndCopy(Why::TimeOver),
        OnTimeout::Stun => {
            stun(policy, estimate, history, &limit).unwrap_or(Decision::StopAndCopy(Why::TimeOver))
        }
    })
}

/// Another round at the floor, while that helps and does not take too long.
fn stun(
    policy: &Adaptive,
    estimate: &Estimate<'_>,
    history: &History<'_>,
    limit: &TimeLimit,
) -> Option<Decision> {
    let floor = policy.settings.stun.floor();
    let rounds_since = rounds_since(limit.after, history);
    let overtime = (limit.after / OVERTIME).max(Duration::from_secs(1));
    let latest = limit.after.saturating_add(overtime);
    let tired = floor == CpuShare::FULL
        || rounds_since >= STUNNED_ROUNDS
        || (rounds_since > 0 && history.elapsed >= latest)
        || (rounds_since > 1 && Progress::of(estimate.residues(), estimate.goal_pages()).in_vain());
    let rate = rate_law::next(&policy.settings, estimate.last, estimate.dirtied_pages());
    (!tired).then(|| Decision::Continue(policy.next(estimate, rate, floor)))
}

/// Rounds that began after `time`.
fn rounds_since(time: Duration, history: &History<'_>) -> usize {
    let mut began = history.elapsed;
    let after = |round: &&Round| {
        began = began.saturating_sub(round.duration);
        began >= time
    };
    history.rounds.iter().rev().take_while(after).count()
}
