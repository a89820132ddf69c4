//! How a guest writes, looked at before it is moved.
//!
//! Clark et al. (NSDI 2005, section 3) read and cleared the dirty log every 50 ms and asked how many
//! distinct pages lie in windows of growing length: the *writable working set*. Here it is done the
//! same way, on any guest that an engine can save. A window is the time between two looks; what a
//! window of twice the length holds is the union of two neighbours. From the curve follows what a
//! migration over a given link will take: [`policy::prediction`](super::policy::prediction).
//!
//! Where Xen keeps no log, windows are told by digest: all memory is read again and again, and what
//! differs was written. Such a window cannot be shorter than it takes to read all memory.

mod census;
mod trace;
mod windows;

use std::thread;
use std::time::{Duration, Instant};

pub use census::{Census, census, sample};
pub use trace::{Trace, TracedWindow};
pub use windows::HotPage;

use self::census::Scan;
use self::windows::Windows;
use super::cancel::Cancel;
use super::dirty_curve::DirtyCurve;
use super::tracker::{DigestTable, NoLogDirty, Outlook, Tracking};
use crate::hypervisor::{HypervisorError, Liveness, PfnSet, SourceGuest};

/// A page counts as hot if it is written in at least this share of all windows.
pub const HOT_SHARE: f64 = 0.25;
/// As many of the hottest pages are told by name.
const HOTTEST: usize = 10;
/// No wait is longer before cancellation is looked at.
const NAP: Duration = Duration::from_millis(20);

/// How to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    /// How long a window is to be. By digest it may be longer.
    pub window: Duration,
    /// How long to look.
    pub length: Duration,
    /// How to learn what the guest writes. Not [`Tracking::None`].
    pub tracking: Tracking,
    /// Threads that read memory, where it must be read.
    pub readers: usize,
    /// Keep which pages were written in each window.
    pub trace: bool,
}

impl Default for ProbeOptions {
    /// Five seconds in windows of 50 ms, the paper's.
    fn default() -> Self {
        Self {
            window: Duration::from_millis(50),
            length: Duration::from_secs(5),
            tracking: Tracking::Auto,
            readers: 1,
            trace: false,
        }
    }
}

/// What was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// How it was learnt. Never [`Tracking::Auto`].
    pub tracking: Tracking,
    /// How long was looked.
    pub length: Duration,
    /// In so many windows.
    pub windows: u32,
    /// What the guest stood still for on average while a window was read, at most; by digest it did not.
    pub pause: Duration,
    /// Distinct pages by the length of a window.
    pub curve: DirtyCurve,
    /// The pages that were written at all.
    pub written: PfnSet,
    /// Pages that were written in at least [`HOT_SHARE`] of the windows.
    pub hot_pages: u64,
    /// Some of them, the hottest first.
    pub hottest: Vec<HotPage>,
    /// It was cancelled before its time was over.
    pub cut_short: bool,
    /// Each window, if that was asked for.
    pub trace: Option<Trace>,
}

impl Probe {
    /// The length of a window as it came out, on average.
    pub fn window(&self) -> Duration {
        self.length / self.windows.max(1)
    }

    /// How many pages were written at all.
    pub fn written_pages(&self) -> u64 {
        self.written.len_pfns()
    }

    /// Distinct pages per second, in the shortest windows.
    pub fn pages_per_s(&self) -> f64 {
        let first = self.curve.points().first();
        first.map_or(0.0, |point| point.pages / point.window.as_secs_f64())
    }

    /// Pages that the guest would write if it were watched for ever, if the curve has bent far enough
    /// to tell.
    pub fn working_set_pages(&self) -> Option<f64> {
        self.curve.working_set()
    }
}

/// A guest could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Xen's reason.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// Log-dirty was asked for where there is none.
    #[error(transparent)]
    NoLogDirty(#[from] NoLogDirty),
    /// It was to be looked at without looking.
    #[error("without tracking there is nothing to be seen of what it writes")]
    Nothing,
}

/// Looks at a guest that nobody tracks, and leaves it untracked, whatever happens. A cancelled probe is
/// no error: it has what was seen until then.
///
/// # Errors
/// If it cannot be tracked, or is tracked already: the log belongs to whoever reads it.
pub fn probe<G: SourceGuest>(
    guest: &mut G,
    options: &ProbeOptions,
    cancel: &Cancel,
) -> Result<Probe, ProbeError> {
    let support = guest.log_dirty_support()?;
    match Outlook::new(options.tracking, support)?.tracking {
        Tracking::Digest => Ok(by_digest(guest, options, cancel)?),
        Tracking::None => Err(ProbeError::Nothing),
        Tracking::LogDirty | Tracking::Auto => {
            guest.enable_log_dirty_unless_on()?;
            let seen = watch(guest, options, cancel);
            let stopped = guest.disable_log_dirty();
            let seen = seen?;
            stopped?;
            Ok(seen)
        }
    }
}

/// Looks at a guest that is tracked by log-dirty already, and leaves that on. The pages that it takes
/// out of the log are told to nobody: only for a guest of which every page is still to be sent.
///
/// # Errors
/// Xen's.
pub fn watch<G: SourceGuest>(
    guest: &mut G,
    options: &ProbeOptions,
    cancel: &Cancel,
) -> Result<Probe, HypervisorError> {
    let mut windows = Windows::new(guest.pfn_count(), options.trace);
    let mut reading = Duration::ZERO;
    let mut set = PfnSet::empty(guest.pfn_count());
    // What happened before the first window: a guest whose tracking has just begun faults on each of
    // its pages, which is not how it writes.
    guest.take_dirty(&mut set, Liveness::Running)?;
    let began = Instant::now();
    let mut from = began;
    while began.elapsed() < options.length && !cancel.is_cancelled() {
        if !sleep_until(from + options.window, cancel) {
            break;
        }
        set.clear();
        let asked = Instant::now();
        guest.take_dirty(&mut set, Liveness::Running)?;
        // The bits are of the moment when the guest stood still, which is some time in between.
        let now = Instant::now();
        reading += now - asked;
        windows.add(&set, now - from);
        from = now;
    }
    Ok(windows.finish(Tracking::LogDirty, reading, cancel.is_cancelled()))
}

/// Looks by reading all memory again and again.
fn by_digest<G: SourceGuest>(
    guest: &mut G,
    options: &ProbeOptions,
    cancel: &Cancel,
) -> Result<Probe, HypervisorError> {
    let mut windows = Windows::new(guest.pfn_count(), options.trace);
    let mut sets = DigestTable::new(guest.pfn_count());
    let mut scan = Scan { guest, readers: options.readers, cancel };
    let mut from = None::<Instant>;
    let began = Instant::now();
    // A window has two ends, however long it takes to read memory.
    while windows.len() == 0 || began.elapsed() < options.length {
        let started = Instant::now();
        if !scan.run(&sets)? {
            break;
        }
        let changed = sets.take_changed();
        if let Some(from) = from {
            // Each page is looked at as long after its last look as the scans are apart.
            windows.add(&changed, started - from);
        }
        from = Some(started);
        if !sleep_until(started + options.window, cancel) {
            break;
        }
    }
    Ok(windows.finish(Tracking::Digest, Duration::ZERO, cancel.is_cancelled()))
}

/// Sleeps; `false` if it was cancelled meanwhile.
fn sleep_until(then: Instant, cancel: &Cancel) -> bool {
    loop {
        if cancel.is_cancelled() {
            return false;
        }
        let left = then.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(NAP));
    }
}
