//! Slowing a guest down that writes faster than the link takes it: by its scheduler's cap, from Dom0.
//!
//! An administrator's cap is remembered on disk before the first change, and given back at the end:
//! when a [`Stun`] is dropped, and if its process is killed, by the next [`recover`], or by the next
//! that moves the guest ([`end_left`]). A cap that somebody sets meanwhile stays.

mod caps;
mod record;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;

pub use caps::{Caps, Seen};

use self::caps::cap_for;
use self::record::{Record, Records};
use crate::error_line::error_line;
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::migration::policy::CpuShare;
use crate::toolstack::Host;
use crate::toolstack::config::Uuid;

/// A guest cannot be slowed down, or let go.
#[derive(Debug, thiserror::Error)]
pub enum StunError {
    /// It is not there.
    #[error("{0} does not exist")]
    Gone(Domid),
    /// Nothing limits its processor time.
    #[error("the scheduler of {0} knows no caps: only credit and credit2 do")]
    NoCaps(Domid),
    /// Xen refused.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// What must be remembered cannot be.
    #[error("cannot keep {}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A guest that may be slowed down. Dropping it lets the guest go.
#[derive(Debug)]
pub struct Stun<C: Caps> {
    caps: C,
    records: Records,
    record: Record,
    /// It is on disk, for a cap of ours has been set, or is about to be.
    is_recorded: bool,
}

impl<'h> Stun<&'h Host> {
    /// A guest of this host, at its full speed. Whoever does this has its turn: see
    /// [`Turn`](crate::toolstack::migrate::here::Turn).
    ///
    /// # Errors
    /// If it cannot be slowed down.
    pub fn begin(host: &'h Host, domid: Domid) -> Result<Self, StunError> {
        Self::begin_with(host, Records::here(), domid)
    }
}

impl<C: Caps> Stun<C> {
    fn begin_with(caps: C, records: Records, domid: Domid) -> Result<Self, StunError> {
        end_left_in(&caps, &records, domid)?;
        let seen = caps.look(domid)?.ok_or(StunError::Gone(domid))?;
        let cap = seen.cap.ok_or(StunError::NoCaps(domid))?;
        let record = Record { domid: domid.0, uuid: seen.uuid.to_string(), cap, ours: Vec::new() };
        Ok(Self { caps, records, record, is_recorded: false })
    }

    /// Leaves each of its vCPUs with this share of a processor. [`CpuShare::FULL`] is what the
    /// administrator leaves it, and nothing is more.
    ///
    /// # Errors
    /// If it cannot be set.
    pub fn set(&mut self, share: CpuShare) -> Result<(), StunError> {
        let domid = self.record.domid();
        let (online_vcpus, now) = self.look()?;
        let mut record = self.record.clone();
        // Not ours: somebody has set it since.
        record.cap = record.wanted(now);
        let cap = cap_for(share, online_vcpus, record.cap);
        if cap == now {
            return Ok(());
        }
        if share != CpuShare::FULL && !record.ours.contains(&cap) {
            record.ours.push(cap);
        }
        self.remember(record)?;
        self.caps.set_cap(domid, cap)?;
        log::info!("{domid}: its cap is {cap}, which leaves its vCPUs {}%", share.as_percent());
        Ok(())
    }

    /// Lets it go, and forgets it.
    ///
    /// # Errors
    /// If that cannot be done; dropping it tries again.
    pub fn release(&mut self) -> Result<(), StunError> {
        if !self.is_recorded {
            return Ok(());
        }
        end(&self.caps, &self.records, &self.record)?;
        self.record.ours.clear();
        self.is_recorded = false;
        Ok(())
    }

    fn look(&self) -> Result<(u32, u16), StunError> {
        let domid = self.record.domid();
        let seen = self.caps.look(domid)?.filter(|seen| self.record.is_of(seen.uuid));
        let seen = seen.ok_or(StunError::Gone(domid))?;
        Ok((seen.online_vcpus, seen.cap.ok_or(StunError::NoCaps(domid))?))
    }

    fn remember(&mut self, record: Record) -> Result<(), StunError> {
        if record == self.record {
            return Ok(());
        }
        // Even if it fails something may be there.
        self.is_recorded = true;
        let domid = record.domid();
        self.records.write(&record).map_err(record_error(&self.records, domid))?;
        self.record = record;
        Ok(())
    }
}

impl<C: Caps> Drop for Stun<C> {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            let domid = self.record.domid();
            log::error!(
                "{domid} may have a cap that is not its own, `xend recover` restores it: {}",
                error_line(&error)
            );
        }
    }
}

/// What became of a stun that nobody had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The domain has this cap again; 0 is none.
    Restored {
        /// The domain.
        domid: Domid,
        /// Its cap.
        cap: u16,
    },
    /// It is gone, or has got another cap since. There was nothing to do.
    Forgotten(Domid),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restored { domid, cap: 0 } => {
                write!(f, "{domid} was slowed down by a process that is gone: it has no cap again")
            }
            Self::Restored { domid, cap } => {
                write!(
                    f,
                    "{domid} was slowed down by a process that is gone: its cap is {cap} again"
                )
            }
            Self::Forgotten(domid) => {
                write!(f, "{domid} is not slowed down any more by a process that is gone")
            }
        }
    }
}

/// Ends what a process that is gone has left of a stun of this domain. Whoever does this has its turn.
///
/// # Errors
/// If that cannot be done.
pub fn end_left(host: &Host, domid: Domid) -> Result<Option<Ended>, StunError> {
    end_left_in(&host, &Records::here(), domid)
}

/// Ends all that processes that are gone have left, and says of each domain what came of it. `hold` gives
/// the turn of a domain, unless a living process has it.
///
/// # Errors
/// If what they have left cannot be found.
pub fn recover<H>(
    host: &Host,
    hold: impl FnMut(Domid) -> Option<H>,
) -> Result<Vec<Result<Ended, StunError>>, StunError> {
    recover_in(&host, &Records::here(), hold)
}

/// What the cap of a domain is in truth if it is `now`: an administrator's, whoever slows it down.
pub(super) fn administrators_cap(domid: Domid, uuid: Uuid, now: u16) -> u16 {
    match Records::here().read(domid) {
        Ok(Some(record)) if record.is_of(uuid) => record.wanted(now),
        _ => now,
    }
}

fn recover_in<H>(
    caps: &impl Caps,
    records: &Records,
    mut hold: impl FnMut(Domid) -> Option<H>,
) -> Result<Vec<Result<Ended, StunError>>, StunError> {
    let listed = records.list().map_err(record_error(records, Domid(0)))?;
    let mut ended = Vec::new();
    for domid in listed {
        if let Some(_turn) = hold(domid) {
            ended.extend(end_left_in(caps, records, domid).transpose());
        }
    }
    Ok(ended)
}

fn end_left_in(
    caps: &impl Caps,
    records: &Records,
    domid: Domid,
) -> Result<Option<Ended>, StunError> {
    match records.read(domid).map_err(record_error(records, domid))? {
        Some(record) => end(caps, records, &record).map(Some),
        None => Ok(None),
    }
}

/// Gives a domain its cap back, if it is still that domain and still that cap, and forgets it.
fn end(caps: &impl Caps, records: &Records, record: &Record) -> Result<Ended, StunError> {
    let domid = record.domid();
    let seen = caps.look(domid)?.filter(|seen| record.is_of(seen.uuid));
    let ours = seen.and_then(|seen| seen.cap).filter(|now| record.ours.contains(now));
    let mut ended = Ended::Forgotten(domid);
    if ours.is_some() {
        caps.set_cap(domid, record.cap)?;
        ended = Ended::Restored { domid, cap: record.cap };
    }
    records.remove(domid).map_err(record_error(records, domid))?;
    Ok(ended)
}

fn record_error(records: &Records, domid: Domid) -> impl FnOnce(io::Error) -> StunError {
    let path = records.path(domid);
    move |source| StunError::Record { path, source }
}
