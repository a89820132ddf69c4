//! How much of the link the guest's processes get.

use std::time::{Duration, Instant};

use crate::hypervisor::types::PAGE_SIZE;
use crate::migration::progress::Progress;

/// How often it is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// A change by less is not worth telling.
const WORTHWHILE: f64 = 0.25;
/// The processes' part of what the link carries: with half of it each round leaves half of the last.
const PART: f64 = 0.5;
/// What they get at least, in bytes a second, so that a stalled link does not stop the guest.
const LEAST: f64 = 256.0 * 1024.0;

/// Finds the link's rate from what has been sent.
#[derive(Debug, Default)]
pub struct LinkShare {
    last: Option<(Instant, Done)>,
    told: Option<f64>,
    data: Sum,
    other: Sum,
}

/// Bytes of all rounds.
#[derive(Clone, Copy, Debug)]
struct Done {
    sent: u64,
    /// Of pages that had not to travel: zeroes, or written again before their turn.
    other: u64,
}

/// Pages of all rounds.
#[derive(Debug, Default)]
struct Sum {
    /// Of the rounds before.
    earlier_pages: u64,
    round_pages: u64,
}

impl Sum {
    /// A count that begins anew is another round's.
    fn set(&mut self, round_pages: u64) {
        if round_pages < self.round_pages {
            self.earlier_pages += self.round_pages;
        }
        self.round_pages = round_pages;
    }

    fn bytes(&self) -> u64 {
        (self.earlier_pages + self.round_pages) * PAGE_SIZE as u64
    }
}

impl LinkShare {
    /// The rounds are so far by `now`. What the guest's processes may write together, in bytes a second,
    /// if it is to be told.
    pub fn progress(&mut self, now: Instant, progress: &Progress) -> Option<u64> {
        self.data.set(progress.data_pages);
        self.other.set(progress.done_pages.saturating_sub(progress.data_pages));
        self.done(now, Done { sent: self.data.bytes(), other: self.other.bytes() })
    }

    fn done(&mut self, now: Instant, done: Done) -> Option<u64> {
        let Some((since, before)) = self.last else {
            self.last = Some((now, done));
            return None;
        };
        let elapsed = now.saturating_duration_since(since);
        if elapsed < PERIOD {
            return None;
        }
        self.last = Some((now, done));
        let sent_bytes = done.sent.saturating_sub(before.sent);
        if sent_bytes < done.other.saturating_sub(before.other) {
            // It was not the link that took the time.
            return None;
        }
        let link = sent_bytes as f64 / elapsed.as_secs_f64();
        let share = (link * PART).max(LEAST);
        let is_news = self.told.is_none_or(|told| (share - told).abs() > told * WORTHWHILE);
        is_news.then(|| {
            self.told = Some(share);
            share as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::migration::progress::Stage;

    const MIB: u64 = 1 << 20;

    #[test]
    fn rounds_add_up() {
        let start = Instant::now();
        let mut share = LinkShare::default();
        let mut at = |second, round, done_pages| {
            let stage = Stage::PreCopy { round };
            let data_pages = done_pages;
            let progress =
                Progress { stage, done_pages, data_pages, total_pages: 5000, sent_bytes: 0 };
            share.progress(start + Duration::from_secs(second), &progress)
        };
        assert_eq!(at(0, 0, 0), None);
        assert_eq!(at(1, 0, 1024), Some(2 * MIB));
        assert_eq!(at(2, 0, 2048), None);
        assert_eq!(at(2, 1, 0), None);
        assert_eq!(at(3, 1, 512), Some(MIB));
    }

    #[test]
    fn what_need_not_travel_says_nothing_of_the_link() {
        let start = Instant::now();
        let mut share = LinkShare::default();
        let mut at = |second, done_pages, data_pages| {
            let stage = Stage::PreCopy { round: 0 };
            let progress =
                Progress { stage, done_pages, data_pages, total_pages: 90_000, sent_bytes: 0 };
            share.progress(start + Duration::from_secs(second), &progress)
        };
        assert_eq!(at(0, 0, 0), None);
        assert_eq!(at(1, 50_000, 100), None, "zeroes are no measure");
        assert_eq!(at(2, 51_200, 612), None, "nor a few pages among them");
        assert_eq!(at(3, 51_912, 1124), Some(MIB), "some zeroes among pages are");
        assert_eq!(at(4, 52_424, 1636), None, "as before");
        assert_eq!(at(5, 52_424, 1636), Some(LEAST as u64), "a link that stalls");
    }

    #[test]
    fn half_of_what_the_link_carries() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut share = LinkShare::default();
        let mut sent = |now, sent| share.done(now, Done { sent, other: 0 });
        assert_eq!(sent(at(0), 0), None);
        assert_eq!(sent(at(500), 5 * MIB), None, "too soon");
        assert_eq!(sent(at(1000), 10 * MIB), Some(5 * MIB));
        assert_eq!(sent(at(2000), 21 * MIB), None, "nearly the same");
        assert_eq!(sent(at(3000), 25 * MIB), Some(2 * MIB));
        assert_eq!(sent(at(4000), 25 * MIB), Some(LEAST as u64), "a link that stalls");
        assert_eq!(sent(at(5000), 0), None, "a count that begins anew");
    }
}
