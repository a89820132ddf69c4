//! How much of the link the guest's processes get.
//!
//! Half of what the link carries, and less where the guest writes more than that all the same, as Xen notes
//! it: the agent may measure too little, and the kernel writes, too.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::hypervisor::types::PAGE_SIZE;
use crate::migration::Tracking;
use crate::migration::progress::{Progress, Stage};

/// How often it is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// With so many other pages found for each that is sent it is not the link that takes the time: to find one
/// takes a small part of what it takes to send one.
const MOST_OTHERS: u64 = 4;
/// A change by less is not worth telling.
const WORTHWHILE: f64 = 0.25;
/// The processes' part of what the link carries: with half of it each round leaves half of the last.
const PART: f64 = 0.5;
/// What they get at least, in bytes a second, so that a stalled link does not stop the guest.
const LEAST: f64 = 256.0 * 1024.0;
/// The least part of that which is left of it where the guest writes too much.
const LEAST_TOLD: f64 = 0.1;
/// A shorter round says little of how fast the guest writes.
const LEAST_ROUND: Duration = Duration::from_millis(300);
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
    /// The round that is sent, and since when.
    round: Option<(Stage, Instant)>,
    /// Whether a round sends what the guest wrote during the last one. Otherwise it looks at all there is.
    writes_are_noted: bool,
    /// The part of the share that is not told, for the guest writes more than its share.
    cut: f64,
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
    /// The guest's writes are found in this way. Until that is known they are taken not to be noted.
    pub fn tracked_by(&mut self, tracking: Tracking) {
        self.writes_are_noted = tracking == Tracking::LogDirty;
    }

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
        let is_cut = self.begin_round(now, progress);
        let is_measured = self.measure(now, Done { taken: taken_bytes, sent, other });
        if is_cut || is_measured { self.news() } else { None }
    }

    /// If this is another round: what there is to send in it is what the guest has written during the
    /// last one.
    fn begin_round(&mut self, now: Instant, progress: &Progress) -> bool {
        let Some((stage, since)) = self.round else {
            self.round = Some((progress.stage, now));
            return false;
        };
        if stage == progress.stage {
            return false;
        }
        self.round = Some((progress.stage, now));
        let elapsed = now.saturating_duration_since(since);
        let Some(link) = self.middle_rate() else { return false };
        if elapsed < LEAST_ROUND || !self.writes_are_noted {
            return false;
        }
        let written = (progress.total_pages * PAGE_SIZE as u64) as f64 / elapsed.as_secs_f64();
        let part = (1.0 - self.cut) * link * PART / written.max(1.0);
        self.cut = 1.0 - part.clamp(LEAST_TOLD, 1.0);
        true
    }

    /// Looks at the link, if that is due.
    fn measure(&mut self, now: Instant, done: Done) -> bool {
        let Some((since, before)) = self.last else {
            self.last = Some((now, done));
            return false;
        };
        let elapsed = now.saturating_duration_since(since);
        if elapsed < PERIOD {
            return false;
        }
        self.last = Some((now, done));
        let sent = done.sent.saturating_sub(before.sent);
        if done.other.saturating_sub(before.other) > sent * MOST_OTHERS {
            return false;
        }
        self.rates.push_back(done.since(&before) as f64 / elapsed.as_secs_f64());
        if self.rates.len() > KEPT {
            self.rates.pop_front();
        }
        true
    }

    fn news(&mut self) -> Option<u64> {
        let share = (self.middle_rate()? * PART * (1.0 - self.cut)).max(LEAST);
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

    const MIB: u64 = 1 << 20;

    fn round(round: u32, done_pages: u64, data_pages: u64) -> Progress {
        let stage = Stage::PreCopy { round };
        Progress { stage, done_pages, data_pages, total_pages: 0, sent_bytes: 0 }
    }

    /// What is told of so many bytes sent by these times.
    fn told(share: &mut LinkShare, sent: impl IntoIterator<Item = (Duration, u64)>) -> Vec<u64> {
        let start = Instant::now();
        let tell = |(after, sent)| {
            let is_measured = share.measure(start + after, Done { taken: None, sent, other: 0 });
            is_measured.then(|| share.news()).flatten()
        };
        sent.into_iter().filter_map(tell).collect()
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
        assert_eq!(at(2, 53_000, 612), None, "nor a few pages among them");
        assert_eq!(at(3, 55_400, 1124), Some(MIB), "pages among zeroes are");
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
        let mut sent = 0;
        let looks = [0, 4, 4, 9, 4, 0, 4, 3, 12, 4].into_iter().enumerate().map(|(second, mib)| {
            sent += mib * MIB;
            (Duration::from_secs(second as u64), sent)
        });
        assert_eq!(told(&mut LinkShare::default(), looks), [2 * MIB]);
    }

    #[test]
    fn half_of_what_the_link_carries() {
        let mut share = LinkShare::default();
        let looks = |looks: &[(u64, u64)]| -> Vec<_> {
            looks.iter().map(|&(ms, mib)| (Duration::from_millis(ms), mib * MIB)).collect()
        };
        assert!(told(&mut share, looks(&[(0, 0), (500, 5)])).is_empty(), "too soon");
        let mut share = LinkShare::default();
        let nearly_the_same = looks(&[(0, 0), (1000, 10), (2000, 21)]);
        assert_eq!(told(&mut share, nearly_the_same), [5 * MIB]);
        let mut share = LinkShare::default();
        let stalls = looks(&[(0, 0), (1000, 10), (2000, 20), (3000, 20), (4000, 20), (5000, 20)]);
        assert_eq!(told(&mut share, stalls), [5 * MIB, LEAST as u64]);
    }

    #[test]
    fn who_writes_too_much_gets_less() {
        let start = Instant::now();
        let at = |share: &mut LinkShare, second, number, total_mib| {
            let total_pages = total_mib * MIB / PAGE_SIZE as u64;
            let progress = Progress { total_pages, ..round(number, 0, 0) };
            let now = start + Duration::from_secs(second);
            share.progress(now, &progress, Some(second * 4 * MIB))
        };
        let mut share = LinkShare::default();
        share.tracked_by(Tracking::LogDirty);
        assert_eq!(at(&mut share, 0, 0, 16), None);
        assert_eq!(at(&mut share, 1, 0, 16), Some(2 * MIB));
        assert_eq!(at(&mut share, 2, 1, 4), None, "2 MiB a second, as was told");
        assert_eq!(at(&mut share, 3, 2, 4), Some(MIB), "twice as much");
        assert_eq!(at(&mut share, 4, 3, 1), Some(2 * MIB), "half as much");
        share = LinkShare::default();
        share.tracked_by(Tracking::Digest);
        let told = [0, 1, 2, 3].map(|round| at(&mut share, u64::from(round), round, 16));
        assert_eq!(told, [None, Some(2 * MIB), None, None], "all of it is looked at each time");
    }
}
