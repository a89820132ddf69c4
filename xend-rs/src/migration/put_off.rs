//! Pages that the guest has written again before their turn has come.
//!
//! Such a page has to travel again whatever is done: Xen has noted the write. So it is put off to the
//! next pass, as in Clark et al. Xen can be asked what it has noted so far, but stops the guest while
//! it copies the bitmap; how often it is asked is a matter of a budget.

use std::time::{Duration, Instant};

use crate::hypervisor::{PfnSet, Sieve, SourceGuest};
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

/// What is known to have been written since the pass began, and when to look again. Lives from pass to
/// pass, for the budget does.
pub(super) struct PutOff {
    budget: PauseBudget,
    written: PfnSet,
    next_look: Instant,
    failed: bool,
}

impl PutOff {
    pub(super) fn new(pfn_count: u64, budget: PauseBudget) -> Self {
        let next_look = Instant::now();
        Self { budget, written: PfnSet::empty(pfn_count), next_look, failed: false }
    }

    /// A pass begins: Xen has just been asked, and has forgotten what it has told.
    pub(super) fn begin_pass(&mut self) {
        self.written.clear();
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
        self.next_look = Instant::now() + self.budget.pause_after(started.elapsed());
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
