//! How much of the link the guest's processes get.

use std::collections::VecDeque;
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

/// So many of the last looks are kept, of which the middle one counts: a buffer that fills shows a faster
/// link than there is, and the pause between two rounds a slower one.
const KEPT: usize = 5;

/// Finds the link's rate from what has been sent.
#[derive(Debug, Default)]
pub struct LinkShare {
    last: Option<(Instant, Done)>,
    /// In bytes a second.
    rates: VecDeque<f64>,
    told: Option<f64>,
    data: Sum,
    other: Sum,
}

/// Bytes of all rounds.
#[derive(Clone, Copy, Debug)]
struct Done {
    /// What the receiver has read, if it says that.
    taken: Option<u64>,
    sent: u64,
    /// Of pages that had not to travel: zeroes, or written again before their turn.
    other: u64,
}

impl Done {
    /// Bytes that went over the link since `before`.
    fn since(&self, before: &Self) -> u64 {
        match (before.taken, self.taken) {
            (Some(before), Some(taken)) => taken.saturating_sub(before),
            _ => self.sent.saturating_sub(before.sent),
        }
    }
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
    /// The rounds are so far by `now`, and the receiver has read so much, if it says that. What the
    /// guest's processes may write together, in bytes a second, if it is to be told.
    pub fn progress(
        &mut self,
        now: Instant,
        progress: &Progress,
        taken_bytes: Option<u64>,
    ) -> Option<u64> {
        self.data.set(progress.data_pages);
        self.other.set(progress.done_pages.saturating_sub(progress.data_pages));
        let (sent, other) = (self.data.bytes(), self.other.bytes());
        self.done(now, Done { taken: taken_bytes, sent, other })
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
        if done.sent.saturating_sub(before.sent) < done.other.saturating_sub(before.other) {
            // It was not the link that took the time.
            return None;
        }
        self.rates.push_back(done.since(&before) as f64 / elapsed.as_secs_f64());
        if self.rates.len() > KEPT {
            self.rates.pop_front();
        }
        let share = (self.middle_rate()? * PART).max(LEAST);
        let is_news = self.told.is_none_or(|told| (share - told).abs() > told * WORTHWHILE);
        is_news.then(|| {
            self.told = Some(share);
            share as u64
        })
    }

    fn middle_rate(&self) -> Option<f64> {
        let mut rates: Vec<f64> = self.rates.iter().copied().collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::migration::progress::Stage;

    const MIB: u64 = 1 << 20;

    fn round(round: u32, done_pages: u64, data_pages: u64) -> Progress {
        let stage = Stage::PreCopy { round };
        Progress { stage, done_pages, data_pages, total_pages: 90_000, sent_bytes: 0 }
    }

    #[test]
    fn rounds_add_up() {
        let start = Instant::now();
        let mut share = LinkShare::default();
        let mut at = |second, progress: Progress| {
            share.progress(start + Duration::from_secs(second), &progress, None)
        };
        assert_eq!(at(0, round(0, 0, 0)), None);
        assert_eq!(at(1, round(0, 1024, 1024)), Some(2 * MIB));
        assert_eq!(at(2, round(0, 2048, 2048)), None);
        assert_eq!(at(2, round(1, 0, 0)), None);
        assert_eq!(at(3, round(1, 512, 512)), None);
        assert_eq!(at(4, round(1, 1024, 1024)), None);
        assert_eq!(at(5, round(1, 1536, 1536)), Some(MIB), "three of five");
    }

    #[test]
    fn what_need_not_travel_says_nothing_of_the_link() {
        let start = Instant::now();
        let mut share = LinkShare::default();
        let mut at = |second, done_pages, data_pages| {
            let progress = round(0, done_pages, data_pages);
            share.progress(start + Duration::from_secs(second), &progress, None)
        };
        assert_eq!(at(0, 0, 0), None);
        assert_eq!(at(1, 50_000, 100), None, "zeroes are no measure");
        assert_eq!(at(2, 51_200, 612), None, "nor a few pages among them");
        assert_eq!(at(3, 51_912, 1124), Some(MIB), "some zeroes among pages are");
    }

    #[test]
    fn what_the_receiver_has_read_counts() {
        let start = Instant::now();
        let mut share = LinkShare::default();
        let mut at = |second, sent_pages, taken_mib: u64| {
            let progress = round(0, sent_pages, sent_pages);
            share.progress(start + Duration::from_secs(second), &progress, Some(taken_mib * MIB))
        };
        assert_eq!(at(0, 0, 0), None);
        assert_eq!(at(1, 9000, 4), Some(2 * MIB), "the rest is in a queue");
    }

    #[test]
    fn a_burst_or_a_pause_changes_nothing() {
        let start = Instant::now();
        let mut share = LinkShare::default();
        let mut sent = 0;
        let mut told = Vec::new();
        for (second, mib) in [0, 4, 4, 9, 4, 0, 4, 3, 12, 4].into_iter().enumerate() {
            sent += mib * MIB;
            let now = start + Duration::from_secs(second as u64);
            told.extend(share.done(now, Done { taken: None, sent, other: 0 }));
        }
        assert_eq!(told, [2 * MIB]);
    }

    #[test]
    fn half_of_what_the_link_carries() {
        let start = Instant::now();
        let mut share = LinkShare::default();
        let mut sent = |ms, sent| {
            share.done(start + Duration::from_millis(ms), Done { taken: None, sent, other: 0 })
        };
        assert_eq!(sent(0, 0), None);
        assert_eq!(sent(500, 5 * MIB), None, "too soon");
        assert_eq!(sent(1000, 10 * MIB), Some(5 * MIB));
        assert_eq!(sent(2000, 21 * MIB), None, "nearly the same");
        assert_eq!([3000, 4000].map(|ms| sent(ms, 21 * MIB)), [None, None]);
        assert_eq!(sent(5000, 21 * MIB), Some(LEAST as u64), "a link that stalls");
        assert_eq!(sent(6000, 0), None, "a count that begins anew");
    }
}
