//! How the engine learns which pages must travel again: the trackers, and the choice among them.
//!
//! Before each pass the engine asks its tracker which pages to look at, and while it reads them the
//! tracker's [`Sieve`] says which of them the receiver does not have yet. The two ends of that:
//!
//! - [`LogDirty`]: Xen notes each write. The set is what was written, and all of it travels. It
//!   costs the guest a fault per page, and a PV guest runs in shadow mode for it.
//! - [`Digest`]: nobody notes anything. The set is all memory, and what travels is what differs from
//!   what was sent. It costs the guest nothing and Dom0 a pass over memory, the last of them with
//!   the guest suspended.
//!
//! [`StopAndCopy`] is the third: nothing is copied before the guest is suspended.

mod digest;
mod digest_table;
mod log_dirty;
mod outlook;
mod stop_and_copy;

use std::fmt;
use std::str::FromStr;

pub use digest::Digest;
pub(super) use digest_table::DigestTable;
pub use log_dirty::LogDirty;
pub use outlook::{NoLogDirty, Outlook};
pub use stop_and_copy::StopAndCopy;

use crate::hypervisor::{
    HypervisorError, Liveness, LogDirtySupport, PfnSet, Result, Sieve, SourceGuest,
};

/// Knows which pages must travel.
pub trait Tracker<G: SourceGuest> {
    /// What it is called. Never [`Tracking::Auto`].
    fn tracking(&self) -> Tracking;

    /// Starts, with every page unsent. Nothing is left behind if it fails.
    ///
    /// # Errors
    /// Where this guest's pages cannot be tracked so.
    fn start(&mut self, guest: &mut G) -> Result<()>;

    /// Whether the guest may run while pages are copied.
    fn is_live(&self) -> bool;

    /// Whether a device model must keep a log of its own writes, because they are not seen here.
    fn needs_device_model_log(&self) -> bool;

    /// Whether each pass, and so the last one, reads memory to find out what has to travel.
    fn reads_everything(&self) -> bool;

    /// Threads that a pass is best read with.
    fn readers(&self) -> usize;

    /// Adds to `into` the pages that the next pass must look at. What is told here is told once:
    /// from then on it is the caller's debt. With [`Liveness::Suspended`] nothing may be missing.
    ///
    /// How many pages the guest has written since it was asked last, as far as that is known.
    ///
    /// # Errors
    /// Xen's.
    fn next_set(
        &mut self,
        guest: &mut G,
        into: &mut PfnSet,
        liveness: Liveness,
    ) -> Result<Option<u64>>;

    /// What the guest has written since the set of a pass was asked for last, page by page, where that
    /// is known. `told` is what [`next_set`](Self::next_set) has just told.
    fn written<'a>(&'a self, told: &'a PfnSet) -> Option<&'a PfnSet> {
        let _ = told;
        None
    }

    /// Whether Xen can be asked in between what was written, without forgetting it.
    fn can_peek(&self) -> bool {
        false
    }

    /// What says of the pages looked at which of them travel.
    fn sieve(&self) -> &dyn Sieve;

    /// Stops. Harmless where it has not started.
    ///
    /// # Errors
    /// Xen's.
    fn stop(&mut self, guest: &mut G) -> Result<()>;
}

/// Which tracker is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracking {
    /// Log-dirty where Xen has it, digests otherwise.
    #[default]
    Auto,
    /// Log-dirty or nothing.
    LogDirty,
    /// Digests, whatever Xen has.
    Digest,
    /// None: the guest is suspended first.
    None,
}

impl Tracking {
    /// Every choice there is.
    pub const ALL: [Self; 4] = [Self::Auto, Self::LogDirty, Self::Digest, Self::None];

    /// Its name, as a person gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::LogDirty => "log-dirty",
            Self::Digest => "digest",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Tracking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no tracker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no way to track writes: auto, log-dirty, digest or none")]
pub struct UnknownTracking(pub String);

impl FromStr for Tracking {
    type Err = UnknownTracking;

    fn from_str(name: &str) -> std::result::Result<Self, UnknownTracking> {
        let found = Self::ALL.into_iter().find(|tracking| tracking.name() == name);
        found.ok_or_else(|| UnknownTracking(name.to_owned()))
    }
}

/// Starts the tracker that is wanted for `guest` and says in one line of the log which, and why.
///
/// # Errors
/// Where the guest cannot be tracked as it was wanted.
pub fn start<G: SourceGuest>(
    guest: &mut G,
    wanted: Tracking,
    readers: usize,
) -> Result<Box<dyn Tracker<G>>> {
    let (mut tracker, why): (Box<dyn Tracker<G>>, String) = match wanted {
        Tracking::Auto => return start_best(guest, readers),
        Tracking::LogDirty => (Box::new(LogDirty), "by log-dirty, as asked for".to_owned()),
        Tracking::Digest => (
            Box::new(Digest::new(guest.pfn_count(), readers)),
            "by digest, as asked for".to_owned(),
        ),
        Tracking::None => (Box::new(StopAndCopy), "not at all: it is suspended first".into()),
    };
    tracker.start(guest)?;
    log::info!("{}: writes are tracked {why}", guest.domid());
    Ok(tracker)
}

/// Log-dirty if Xen says that it has it and then does, or else digests.
fn start_best<G: SourceGuest>(guest: &mut G, readers: usize) -> Result<Box<dyn Tracker<G>>> {
    let domid = guest.domid();
    let why_not = match guest.log_dirty_support()? {
        LogDirtySupport::Missing(why) => why,
        LogDirtySupport::Available => match LogDirty.start(guest) {
            Ok(()) => {
                log::info!("{domid}: writes are tracked by log-dirty, which this Xen has");
                return Ok(Box::new(LogDirty));
            }
            // Only where there is no such thing. Where Xen refuses for another reason (a device is
            // passed through, memory is short) that reason holds for the migration too.
            Err(HypervisorError::NoTracking { source, why, .. })
                if source.raw_os_error() == Some(nix::libc::EOPNOTSUPP) =>
            {
                why
            }
            Err(error) => return Err(error),
        },
    };
    let mut tracker = Digest::new(guest.pfn_count(), readers);
    tracker.start(guest)?;
    log::info!("{domid}: writes are tracked by digest ({readers} readers), for {why_not}");
    Ok(Box::new(tracker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_read_back_and_others_are_refused() {
        for tracking in Tracking::ALL {
            assert_eq!(tracking.to_string().parse(), Ok(tracking));
        }
        let error = "dirty".parse::<Tracking>().unwrap_err();
        assert!(error.to_string().contains("log-dirty"), "{error}");
    }
}
