//! All of a guest's memory, read once, or a sample of it: how much of it there is to send.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::hypervisor::types::Pfn;
use crate::hypervisor::{
    HypervisorError, Liveness, MAX_BATCH_PFNS, PageBatch, Sieve, SourceGuest, is_zero,
};
use crate::migration::Cancel;
use crate::stream::libxc::PageEntry;

/// Pfns that are mapped at a time for each reader, as in a migration.
const WINDOW_PFNS_PER_READER: usize = 8 * MAX_BATCH_PFNS;

/// What there is of a guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Pages that have memory and contents.
    pub populated_pages: u64,
    /// Those of them that hold nothing but zeroes.
    pub zero_pages: u64,
    /// How long it took to read what was read for it: all of them, or a sample.
    pub duration: Duration,
}

impl Census {
    /// Pages with something in them.
    pub fn nonzero_pages(&self) -> u64 {
        self.populated_pages - self.zero_pages
    }
}

/// Counts the pages of a running guest. `None` if it was cancelled.
///
/// # Errors
/// Xen's.
pub fn census<G: SourceGuest>(
    guest: &mut G,
    readers: usize,
    cancel: &Cancel,
) -> Result<Option<Census>, HypervisorError> {
    let started = Instant::now();
    let counter = Counter::default();
    let is_whole = Scan { guest, readers, cancel }.run(&counter)?;
    Ok(is_whole.then(|| counter.census(1.0, started)))
}

/// Counts the pages of a running guest as [`census`] does, by a look at one pfn of each `every` on one
/// thread, and so in that part of the time. Of n pages that were looked at and have memory, the count of
/// those that are zero is off by at most 1 / (2 √n) of all of them in two cases of three. `None` if it
/// was cancelled.
///
/// # Errors
/// Xen's.
pub fn sample<G: SourceGuest>(
    guest: &mut G,
    every: u64,
    cancel: &Cancel,
) -> Result<Option<Census>, HypervisorError> {
    let started = Instant::now();
    let (counter, every, pfns) = (Counter::default(), every.max(1), guest.pfn_count());
    let looks = pfns.div_ceil(every);
    let is_whole =
        Scan { guest, readers: 1, cancel }.look_at(one_of_each(every, pfns), &counter)?;
    let scale = pfns as f64 / looks.max(1) as f64;
    Ok(is_whole.then(|| counter.census(scale, started)))
}

/// One pfn of each `every` that follow one another, below `bound_pfns`.
///
/// The place among them is another each time, by steps of the golden ratio, which is in time with no
/// pattern that a guest's memory may have. Runs of pfns would be no cheaper to map, for Xen is told each
/// page of a batch, and would say less: what is next to a page of zeroes mostly is one, too.
fn one_of_each(every: u64, bound_pfns: u64) -> impl Iterator<Item = Pfn> {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    (0..bound_pfns.div_ceil(every)).map(move |n| {
        let first = n * every;
        let among = every.min(bound_pfns - first);
        let place = (u128::from(n.wrapping_mul(GOLDEN)) * u128::from(among)) >> 64;
        Pfn(first + place as u64)
    })
}

/// Counts, and lets nothing through.
#[derive(Default)]
struct Counter {
    populated_pages: AtomicU64,
    zero_pages: AtomicU64,
}

impl Counter {
    /// What it comes to if each page stands for `scale`.
    fn census(mut self, scale: f64, started: Instant) -> Census {
        let scaled = |count: &mut AtomicU64| (*count.get_mut() as f64 * scale).round() as u64;
        Census {
            populated_pages: scaled(&mut self.populated_pages),
            zero_pages: scaled(&mut self.zero_pages),
            duration: started.elapsed(),
        }
    }
}

impl Sieve for Counter {
    fn lets_through(&self, entry: PageEntry, page: &[u8]) -> bool {
        if entry.page_type.has_data() {
            self.populated_pages.fetch_add(1, Ordering::Relaxed);
            self.zero_pages.fetch_add(u64::from(is_zero(page)), Ordering::Relaxed);
        }
        false
    }
}

/// A look at the pages of a running guest.
pub(super) struct Scan<'a, G> {
    pub(super) guest: &'a mut G,
    pub(super) readers: usize,
    pub(super) cancel: &'a Cancel,
}

impl<G: SourceGuest> Scan<'_, G> {
    /// Shows each page that can be read to `sieve`. `false` if it was cancelled before the end.
    pub(super) fn run(&mut self, sieve: &dyn Sieve) -> Result<bool, HypervisorError> {
        let everything = (0..self.guest.pfn_count()).map(Pfn);
        self.look_at(everything, sieve)
    }

    /// Shows each of `pfns` that can be read to `sieve`. `false` if it was cancelled before the end.
    fn look_at(
        &mut self,
        mut pfns: impl Iterator<Item = Pfn>,
        sieve: &dyn Sieve,
    ) -> Result<bool, HypervisorError> {
        let mut window: Vec<Pfn> = Vec::new();
        loop {
            window.clear();
            window.extend(pfns.by_ref().take(WINDOW_PFNS_PER_READER * self.readers.max(1)));
            if window.is_empty() {
                return Ok(true);
            }
            if self.cancel.is_cancelled() {
                return Ok(false);
            }
            self.guest.map_window(&window)?;
            self.read_window(window.len(), sieve)?;
        }
    }

    fn read_window(&self, pages: usize, sieve: &dyn Sieve) -> Result<(), HypervisorError> {
        let (guest, next) = (&*self.guest, AtomicUsize::new(0));
        let read = || {
            let mut batch = PageBatch::new();
            loop {
                let start = next.fetch_add(MAX_BATCH_PFNS, Ordering::Relaxed);
                if start >= pages {
                    return Ok(());
                }
                let end = pages.min(start + MAX_BATCH_PFNS);
                batch.clear();
                guest.read_batch(start..end, Liveness::Running, sieve, &mut batch)?;
            }
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..self.readers).map(|_| scope.spawn(read)).collect();
            let mut result = read();
            for other in others {
                result = result.and(other.join().expect("a reader does not panic"));
            }
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_one_of_each_stretch_and_no_rhythm() {
        for (every, bound) in [(1, 5), (7, 100), (64, 10_000), (1 << 40, 3), (10, 0)] {
            let pfns: Vec<u64> = one_of_each(every, bound).map(|pfn| pfn.0).collect();
            assert_eq!(pfns.len() as u64, bound.div_ceil(every));
            for (n, pfn) in (0..).zip(&pfns) {
                assert!((n * every..bound.min((n + 1) * every)).contains(pfn), "{pfn} of {every}");
            }
        }
        // Where each second page, or each 64th, is of another kind, the sample has as many of them.
        for period in [2, 3, 64, 1024] {
            let pfns: Vec<Pfn> = one_of_each(64, 1 << 20).collect();
            let such = pfns.iter().filter(|pfn| pfn.0 % period == 0).count() as f64;
            let expected = pfns.len() as f64 / period as f64;
            assert!((such - expected).abs() <= 0.25 * expected, "{such} of {expected}, {period}");
        }
    }
}
