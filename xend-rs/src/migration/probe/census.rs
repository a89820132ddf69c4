//! All of a guest's memory, read once: how much of it there is to send.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::hypervisor::types::Pfn;
use crate::hypervisor::{
    HypervisorError, Liveness, MAX_BATCH_PFNS, PageBatch, PfnSet, Sieve, SourceGuest,
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
    /// How long it took to read them.
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
    let mut counter = Counter::default();
    if !(Scan { guest, readers, cancel }.run(&counter)?) {
        return Ok(None);
    }
    Ok(Some(Census {
        populated_pages: *counter.populated_pages.get_mut(),
        zero_pages: *counter.zero_pages.get_mut(),
        duration: started.elapsed(),
    }))
}

/// Counts, and lets nothing through.
#[derive(Default)]
struct Counter {
    populated_pages: AtomicU64,
    zero_pages: AtomicU64,
}

impl Sieve for Counter {
    fn lets_through(&self, entry: PageEntry, page: &[u8]) -> bool {
        if entry.page_type.has_data() {
            self.populated_pages.fetch_add(1, Ordering::Relaxed);
            let words = page.as_chunks::<8>().0;
            let is_zero = words.iter().all(|word| u64::from_ne_bytes(*word) == 0);
            self.zero_pages.fetch_add(u64::from(is_zero), Ordering::Relaxed);
        }
        false
    }
}

/// A look at every page of a running guest.
pub(super) struct Scan<'a, G> {
    pub(super) guest: &'a mut G,
    pub(super) readers: usize,
    pub(super) cancel: &'a Cancel,
}

impl<G: SourceGuest> Scan<'_, G> {
    /// Shows each page that can be read to `sieve`. `false` if it was cancelled before the end.
    pub(super) fn run(&mut self, sieve: &dyn Sieve) -> Result<bool, HypervisorError> {
        let everything = PfnSet::full(self.guest.pfn_count());
        let mut pfns = everything.iter();
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
