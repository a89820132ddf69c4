//! One monitor for a guest, and one process that waits for it to suspend late.

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

use super::MonitorError;
use crate::hypervisor::types::Domid;

const FOLDER: &str = "/run/xend";

/// What a process watches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The end of the guest.
    End,
    /// That it suspends late.
    Late,
}

impl Role {
    fn file(self, domid: Domid) -> String {
        match self {
            Self::End => format!("monitor-{}.lock", domid.0),
            Self::Late => format!("late-suspend-{}.lock", domid.0),
        }
    }
}

/// Held by a process that watches over a guest.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

impl Lock {
    /// Takes it, if nobody has it.
    pub(super) fn take(domid: Domid, role: Role) -> Result<Self, MonitorError> {
        let path = PathBuf::from(FOLDER).join(role.file(domid));
        let failed = |operation| {
            let path = path.display().to_string();
            move |source| MonitorError::File { operation, path, source }
        };
        fs::create_dir_all(FOLDER).map_err(failed("make the folder of"))?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { path, _file: file }),
            Err((_, nix::Error::EWOULDBLOCK)) => Err(MonitorError::Watched { domid }),
            Err((_, errno)) => Err(failed("lock")(errno.into())),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
