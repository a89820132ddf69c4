//! One outgoing migration of a guest at a time, and who carries it out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;

use crate::hypervisor::types::Domid;

const FOLDER: &str = "/run/xend";

/// Held by the process that moves a guest away.
#[derive(Debug)]
pub struct Turn {
    path: PathBuf,
    _file: Flock<File>,
}

impl Turn {
    /// Takes it; `None` if another process has it.
    ///
    /// # Errors
    /// If its file cannot be made.
    pub fn take(domid: Domid) -> io::Result<Option<Self>> {
        fs::create_dir_all(FOLDER)?;
        let path = path(domid);
        loop {
            match Flock::lock(open(&path)?, FlockArg::LockExclusiveNonblock) {
                // Who had it before may have removed the file under us.
                Ok(file) if !is_at(&file, &path) => {}
                Ok(mut file) => {
                    file.set_len(0)?;
                    file.write_all(std::process::id().to_string().as_bytes())?;
                    return Ok(Some(Self { path, _file: file }));
                }
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, errno)) => return Err(errno.into()),
            }
        }
    }

    /// The process that has it.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn holder(domid: Domid) -> io::Result<Option<Pid>> {
        let path = path(domid);
        if !path.exists() {
            return Ok(None);
        }
        match Flock::lock(open(&path)?, FlockArg::LockSharedNonblock) {
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                Ok(text.trim().parse().ok().map(Pid::from_raw))
            }
            Ok(_) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether `file` is the one that is found at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(found)) => ours.ino() == found.ino(),
        _ => false,
    }
}

fn path(domid: Domid) -> PathBuf {
    PathBuf::from(format!("{FOLDER}/migrate-{}.lock", domid.0))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}
