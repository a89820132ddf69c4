//! How long a destination may take to finish, while the guest stands still.
//!
//! Signs of life do not count: what is left to do once everything has been taken is bounded. What is
//! still on its way is taken at whatever rate the link has, but not for ever.

use std::time::{Duration, Instant};

/// How many times a dead peer's limit it may take in all: also that of a peer which does not say how
/// far it is, and which sets up its devices last.
const IN_ALL: u32 = 10;
/// What a destination allows its devices is 10 s for their backends and 40 s for their scripts, which
/// may begin late: one that still gets there is not given up, for then no attempt would succeed.
const DEVICES: Duration = Duration::from_secs(60);
/// How many times a dead peer's limit that may be: who set a short one does not want to wait so long.
const FOR_DEVICES: u32 = 5;

/// The time left to a destination.
#[derive(Debug)]
pub(super) struct Finishing {
    started: Instant,
    limit: Duration,
    /// How long it may take once it takes nothing more.
    patience: Duration,
    /// What it has taken, as it said last, and when that had changed.
    taken_bytes: Option<u64>,
    taken_at: Instant,
}

impl Finishing {
    /// It has been sent everything just now.
    pub(super) fn start(limit: Duration) -> Self {
        let now = Instant::now();
        let patience = limit.max(DEVICES.min(limit * FOR_DEVICES));
        Self { started: now, limit, patience, taken_bytes: None, taken_at: now }
    }

    /// What is left at `now`, if it says that it has taken so much.
    pub(super) fn left(&mut self, now: Instant, taken_bytes: Option<u64>) -> Duration {
        if taken_bytes > self.taken_bytes {
            (self.taken_bytes, self.taken_at) = (taken_bytes, now);
        }
        let in_all = (self.started + self.limit * IN_ALL).saturating_duration_since(now);
        match taken_bytes {
            Some(_) => in_all.min((self.taken_at + self.patience).saturating_duration_since(now)),
            None => in_all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_peer_that_takes_more_gets_more_time_but_not_for_ever() {
        let mut finishing = Finishing::start(S * 30);
        let at = |seconds| finishing.started + S * seconds;
        let times = [at(0), at(20), at(40), at(50), at(290), at(299)];
        let mut left = |n: usize, taken| finishing.left(times[n], taken).as_secs();
        assert_eq!(left(0, Some(5)), 60);
        assert_eq!(left(1, Some(6)), 60, "it has taken something");
        assert_eq!(left(2, Some(6)), 40, "it has not");
        assert_eq!(left(3, Some(6)), 30);
        assert_eq!(left(4, Some(7)), 10, "in all");
        assert_eq!(left(5, Some(8)), 1);
    }

    #[test]
    fn devices_may_take_what_they_are_allowed() {
        for (limit_s, patience_s) in [(1, 5), (10, 50), (12, 60), (30, 60), (60, 60), (90, 90)] {
            let mut finishing = Finishing::start(S * limit_s);
            let started = finishing.started;
            assert_eq!(finishing.left(started, Some(1)).as_secs(), patience_s, "{limit_s}");
        }
    }

    #[test]
    fn one_that_does_not_say_what_it_takes_has_it_all_at_once() {
        let mut finishing = Finishing::start(S * 30);
        let (soon, late) = (finishing.started + S * 200, finishing.started + S * 300);
        assert_eq!(finishing.left(soon, None), S * 100);
        assert_eq!(finishing.left(late, None), Duration::ZERO);
    }
}
