//! Pages that the guest has written again before their turn has come.
//!
//! Such a page has to travel again whatever is done: Xen has noted the write. So it is put off to the
//! next pass, as in Clark et al. Xen can be asked what it has noted so far, but stops the guest while
//! it copies the bitmap; how often it is asked is a matter of a budget.
//!
//! How long the guest is stopped nobody tells. A look takes longer than that where Dom0 has to wait for
//! a processor, and in that time the guest runs: so it is the shortest of the last looks that counts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::report::PassReport;
use crate::hypervisor::{MAX_BATCH_PFNS, PfnSet, Sieve, SourceGuest};
use crate::stream::libxc::PageEntry;

/// How much a guest may be stopped to find out what it has written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PauseBudget {
    /// Of its time at most this share, from 0 to 1.
    pub share: f64,
    /// And not more often than this.
    pub interval: Duration,
}

impl Default for PauseBudget {
    /// One percent, and not more than 20 times a second.
    fn default() -> Self {
        Self { share: 0.01, interval: Duration::from_millis(50) }
    }
}

/// A batch is what leaves in this time: what has been read and waits cannot be put off any more.
const BATCH_TIME: Duration = Duration::from_millis(50);
/// And at least so many pages.
const MIN_BATCH_PFNS: usize = 64;
/// In a pass that is younger than this, what the one before it sent in a second tells more of the link than
/// what this one did: queues are being filled.
const YOUNG: Duration = Duration::from_secs(1);

/// Looks that the cost of the next is judged by.
const REMEMBERED: usize = 8;

/// What is known to have been written since the pass began, and when to look again. Lives from pass to
/// pass, for the budget does.
pub(super) struct PutOff {
    budget: PauseBudget,
    written: PfnSet,
    next_look: Instant,
    /// How long the last looks took.
    took: VecDeque<Duration>,
    /// How often Xen was asked in this pass.
    looks: u32,
    /// Pages that the last pass sent in a second.
    last_pages_per_s: f64,
    failed: bool,
}

impl PutOff {
    pub(super) fn new(pfn_count: u64, budget: PauseBudget) -> Self {
        Self {
            budget,
            written: PfnSet::empty(pfn_count),
            next_look: Instant::now(),
            took: VecDeque::with_capacity(REMEMBERED),
            looks: 0,
            last_pages_per_s: 0.0,
            failed: false,
        }
    }

    /// A pass begins: Xen has just been asked, and has forgotten what it has told.
    pub(super) fn begin_pass(&mut self) {
        self.written.clear();
        self.looks = 0;
        self.next_look = self.next_look.max(Instant::now() + self.budget.interval);
    }

    /// Looks what was written, if it is time to.
    pub(super) fn look(&mut self, guest: &mut impl SourceGuest) {
        let started = Instant::now();
        if self.failed || started < self.next_look {
            return;
        }
        if let Err(error) = guest.peek_dirty(&mut self.written) {
            // Nothing is lost by that but the bytes that would have been saved.
            log::warn!("{}: no page is put off any more: {error}", guest.domid());
            self.failed = true;
        }
        self.looks += 1;
        let cost = self.cost(started.elapsed());
        self.next_look = Instant::now() + self.budget.pause_after(cost);
    }

    /// What a look costs the guest at most, now that one took so long.
    fn cost(&mut self, took: Duration) -> Duration {
        if self.took.len() == REMEMBERED {
            self.took.pop_front();
        }
        self.took.push_back(took);
        self.took.iter().copied().min().unwrap_or(took)
    }

    /// How many pages a batch has in a pass that has done so many pages in so much time.
    pub(super) fn batch_pfns(&self, done_pages: u64, elapsed: Duration) -> usize {
        let young = YOUNG.as_secs_f64();
        let pages_per_s =
            (done_pages as f64 + self.last_pages_per_s * young) / (elapsed.as_secs_f64() + young);
        let pfns = (pages_per_s * BATCH_TIME.as_secs_f64()) as usize;
        pfns.clamp(MIN_BATCH_PFNS, MAX_BATCH_PFNS)
    }

    /// A pass is over. How often Xen was asked in it.
    pub(super) fn end_pass(&mut self, pass: &PassReport) -> u32 {
        let seconds = pass.duration.as_secs_f64().max(1e-6);
        self.last_pages_per_s = pass.data_pages as f64 / seconds;
        self.looks
    }

    /// The pages that have to travel in a later pass anyway.
    pub(super) fn written(&self) -> &PfnSet {
        &self.written
    }
}

impl PauseBudget {
    /// How long not to stop the guest again that was stopped for no more than `cost`.
    fn pause_after(&self, cost: Duration) -> Duration {
        let share = self.share.clamp(1e-6, 1.0);
        cost.mul_f64((1.0 - share) / share).max(self.interval)
    }
}

/// Lets through what another sieve does, but no page that is put off.
pub(super) struct InTime<'a> {
    pub(super) sieve: &'a dyn Sieve,
    pub(super) put_off: &'a PfnSet,
}

impl Sieve for InTime<'_> {
    /// What does not travel now is not shown to the other: it would take it for sent.
    fn lets_through(&self, entry: PageEntry, page: &[u8]) -> bool {
        !self.put_off.contains(entry.pfn) && self.sieve.lets_through(entry, page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_what_leaves_in_their_time_also_while_queues_are_being_filled() {
        let ms = Duration::from_millis;
        let mut put_off = PutOff::new(1000, PauseBudget::default());
        // A link of 2000 pages/s that took 1000 at once.
        let at = |put_off: &PutOff, elapsed_ms: u64| {
            put_off.batch_pfns(1000 + 2 * elapsed_ms, ms(elapsed_ms))
        };
        assert_eq!(put_off.batch_pfns(0, ms(0)), MIN_BATCH_PFNS);
        assert!(at(&put_off, 10) < 100 && at(&put_off, 10_000).abs_diff(100) < 10);
        put_off.end_pass(&PassReport {
            data_pages: 20_000,
            duration: ms(10_000),
            ..PassReport::default()
        });
        assert!(at(&put_off, 1) >= 100 && at(&put_off, 1) < 160);
        assert_eq!(put_off.batch_pfns(10_000_000, ms(2000)), MAX_BATCH_PFNS);
    }

    #[test]
    fn a_look_costs_what_the_shortest_of_the_last_took() {
        let ms = Duration::from_millis;
        let mut put_off = PutOff::new(1000, PauseBudget::default());
        assert_eq!([9, 2, 70].map(|took| put_off.cost(ms(took))), [ms(9), ms(2), ms(2)]);
        // One that is cheap no more.
        let costs: Vec<_> = (0..REMEMBERED).map(|_| put_off.cost(ms(30))).collect();
        assert_eq!((costs[0], costs[REMEMBERED - 1]), (ms(2), ms(30)));
    }

    #[test]
    fn a_dear_look_is_not_taken_often() {
        let ms = Duration::from_millis;
        let budget = PauseBudget::default();
        assert_eq!(budget.pause_after(Duration::from_micros(100)), ms(50));
        // 2 ms of 200.
        assert_eq!(budget.pause_after(ms(2)), ms(198));
        let always = PauseBudget { share: 1.0, interval: Duration::ZERO };
        assert_eq!(always.pause_after(ms(7)), Duration::ZERO);
        assert!(PauseBudget { share: 0.0, ..always }.pause_after(ms(1)) > ms(900_000));
    }
}
