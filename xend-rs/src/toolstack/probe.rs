//! A guest of this host, looked at before it is moved: see [`crate::migration::probe`].
//!
//! Nobody moves it meanwhile, for the dirty log is only for one; and a log that a killed probe has left
//! on is turned off by the next one, or by [`recover`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::XenSource;
use crate::hypervisor::{HypervisorError, SourceGuest};
use crate::migration::Cancel;
use crate::migration::policy::CpuShare;
use crate::migration::probe::{Census, Probe, ProbeError, ProbeOptions, census, probe};
use crate::toolstack::Host;
use crate::toolstack::domid_files::domids_in;
use crate::toolstack::migrate::here::{Holder, Purpose, Turn};
use crate::toolstack::stun::{self, Stun, StunError};

const FOLDER: &str = "/run/xend";

/// What was seen of a guest.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// What there is of its memory. `None` if there was no time to count it.
    pub census: Option<Census>,
    /// How it writes.
    pub probe: Probe,
}

/// A guest cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SightError {
    /// Somebody else is at work on it.
    #[error("it {0}")]
    Busy(Holder),
    /// It stands still.
    #[error("it does not run")]
    Stopped,
    /// Xen's reason.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// It cannot be tracked.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// It cannot be slowed down.
    #[error(transparent)]
    Stun(#[from] StunError),
    /// Nobody can be told that it is looked at.
    #[error("cannot keep a note of it in {FOLDER}")]
    Note(#[from] io::Error),
}

/// Looks at a guest while its vCPUs are left with `share` of a processor, and leaves it as it was.
///
/// # Errors
/// If it cannot be looked at, or is being moved.
pub fn look(
    host: &Host,
    domid: Domid,
    options: &ProbeOptions,
    share: CpuShare,
    cancel: &Cancel,
) -> Result<Sight, SightError> {
    let _turn = Turn::take(domid, Purpose::Look)?.map_err(SightError::Busy)?;
    let info = host.xen.domain_info(domid)?;
    if info.shutdown_reason.is_some() {
        return Err(SightError::Stopped);
    }
    end_left(host, domid)?;
    let mut guest = XenSource::open(domid)?;
    let census = census(&mut guest, options.readers, cancel)?;
    let _stun = slow_down(host, domid, share)?;
    let note = Note::write(domid)?;
    let probe = probe(&mut guest, options, cancel);
    // Whatever happened: only then the note may go.
    guest.disable_log_dirty()?;
    note.remove()?;
    Ok(Sight { census, probe: probe? })
}

fn slow_down(host: &Host, domid: Domid, share: CpuShare) -> Result<Option<Stun<&Host>>, StunError> {
    if share == CpuShare::FULL {
        return Ok(None);
    }
    let mut stun = Stun::begin(host, domid)?;
    stun.set(share)?;
    Ok(Some(stun))
}

/// Turns logs off that killed probes have left on, and gives the domains. `hold` gives the turn of a
/// domain, unless a living process has it.
///
/// # Errors
/// If the notes cannot be read.
pub fn recover<H>(
    host: &Host,
    mut hold: impl FnMut(Domid) -> Option<H>,
) -> Result<Vec<Result<Domid, SightError>>, SightError> {
    let mut ended = Vec::new();
    for domid in Note::all()? {
        if let Some(_turn) = hold(domid) {
            let found = end_left(host, domid).map(|found| found.then_some(domid));
            ended.extend(found.transpose());
        }
    }
    Ok(ended)
}

/// Ends what a killed probe has left of itself. Whoever does this has the domain's turn.
fn end_left(host: &Host, domid: Domid) -> Result<bool, SightError> {
    stun::end_left(host, domid)?;
    let Some(note) = Note::find(domid) else { return Ok(false) };
    host.xen.end_write_tracking(domid)?;
    note.remove()?;
    Ok(true)
}

/// Says, for as long as it is there, that a domain's log may be a probe's.
struct Note(PathBuf);

impl Note {
    fn path(domid: Domid) -> PathBuf {
        PathBuf::from(format!("{FOLDER}/probe-{}", domid.0))
    }

    fn write(domid: Domid) -> io::Result<Self> {
        let path = Self::path(domid);
        fs::write(&path, "")?;
        Ok(Self(path))
    }

    fn find(domid: Domid) -> Option<Self> {
        Some(Self::path(domid)).filter(|path| path.exists()).map(Self)
    }

    fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.0)
    }

    /// The domains that there are notes of. They do not outlive the host.
    fn all() -> io::Result<Vec<Domid>> {
        domids_in(Path::new(FOLDER), "probe-", "")
    }
}
