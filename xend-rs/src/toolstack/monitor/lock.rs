//! One monitor for a guest.

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

use super::MonitorError;
use crate::hypervisor::types::Domid;

const FOLDER: &str = "/run/xend";

/// Held by the monitor of a guest.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

impl Lock {
    /// Takes it, if nobody has it.
    pub(super) fn take(domid: Domid) -> Result<Self, MonitorError> {
        let path = PathBuf::from(format!("{FOLDER}/monitor-{}.lock", domid.0));
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
