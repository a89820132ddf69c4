//! The lab's temporary folder: consoles while it runs, gone at its end.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use crate::error::{LabError, Result};

const PREFIX: &str = "xend-rs-lab.";
const LOCK: &str = "lock";
const MIB: usize = 1 << 20;
/// Makes numbers that follow each other differ in most of their bits.
const SPREAD: usize = 0x9e37_79b9_7f4a_7c15;

/// The folders of this process's labs, for the end by a signal, when nothing is dropped.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A temporary folder with a lock on it. The lock goes with the process, so that a later lab can
/// tell a folder that is in use from one whose lab was killed.
#[derive(Debug)]
pub(crate) struct WorkDir {
    folder: TempDir,
    _lock: Flock<File>,
}

impl WorkDir {
    /// Makes a new folder, and removes those that killed labs left behind.
    pub(crate) fn create() -> Result<Self> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&parent)
            .map_err(LabError::file("create a folder in", &parent))?;
        let path = folder.path().join(LOCK);
        let lock = File::create(&path).map_err(LabError::file("create", &path))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| LabError::file("lock", &path)(error.into()))?;
        folders().push(folder.path().to_path_buf());
        Ok(Self { folder, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a file to be a disk: one MiB of zeroes, then something in every word, so that a page
    /// cache of it is not empty. Without an extension it is not kept among the logs.
    pub(crate) fn create_disk(&self, bytes: usize) -> Result<PathBuf> {
        let path = self.path().join("shared-disk");
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&[0; MIB])?;
            for mib in 1..bytes / MIB {
                let word = |index: usize| (mib * MIB + index).wrapping_mul(SPREAD).to_le_bytes();
                let content: Vec<u8> = (0..MIB / 8).flat_map(word).collect();
                file.write_all(&content)?;
            }
            Ok(())
        });
        written.map_err(LabError::file("create", &path))?;
        Ok(path)
    }

    /// Adds a log of its own.
    pub(crate) fn add(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path().join(name);
        fs::write(&path, content).map_err(LabError::file("write", path))
    }

    /// Copies every log to a new folder under the workspace's target folder.
    pub(crate) fn keep_logs(&self) -> Result<PathBuf> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let target = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../target/lab-logs")
            .join(since.as_secs().to_string());
        fs::create_dir_all(&target).map_err(LabError::file("create", &target))?;
        let entries =
            fs::read_dir(self.path()).map_err(LabError::file("list", self.path()))?.flatten();
        for path in entries.map(|entry| entry.path()) {
            if let Some(name) = path.file_name().filter(|_| path.extension().is_some()) {
                fs::copy(&path, target.join(name)).map_err(LabError::file("copy", &path))?;
            }
        }
        target.canonicalize().map_err(LabError::file("find", target))
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        folders().retain(|folder| folder != self.folder.path());
    }
}

/// Removes the folders of this process's labs, just before the process ends by a signal.
pub(crate) fn remove_all() {
    for folder in folders().drain(..) {
        let _ = fs::remove_dir_all(folder);
    }
}

fn folders() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    FOLDERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Removes what labs left that did not end by themselves: folders whose lock nobody holds.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if !ours {
            continue;
        }
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        if Flock::lock(lock, FlockArg::LockExclusiveNonblock).is_ok() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}
