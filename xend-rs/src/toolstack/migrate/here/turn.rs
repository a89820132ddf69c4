//! Who is at work on a guest and must be alone at it: one process at a time, and what it does there.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;

use crate::hypervisor::types::Domid;

const FOLDER: &str = "/run/xend";

/// Held by the process that moves a guest away, or must know that nobody else does.
#[derive(Debug)]
pub struct Turn {
    path: PathBuf,
    _file: Flock<File>,
}

/// What a process is at with a guest that it is alone with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `xend migrate`.
    Migrate,
    /// `xend save`.
    Save,
    /// `xend dirty-rate`.
    Look,
    /// `xend agent --rehearse`.
    Rehearse,
    /// It saves memory for a stock `xl`, which is migrating or saving the guest.
    Help,
    /// It puts right what a process has left that is gone.
    Recover,
}

impl Purpose {
    const ALL: [Self; 6] =
        [Self::Migrate, Self::Save, Self::Look, Self::Rehearse, Self::Help, Self::Recover];

    /// How its file says it.
    fn word(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::Save => "save",
            Self::Look => "dirty-rate",
            Self::Rehearse => "rehearse",
            Self::Help => "help",
            Self::Recover => "recover",
        }
    }
}

/// What becomes of the guest meanwhile, as the end of a sentence about it.
impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Migrate => "is being migrated already",
            Self::Save => "is being saved",
            Self::Look => "is being looked at by `xend dirty-rate`",
            Self::Rehearse => "is rehearsing a migration (`xend agent`)",
            Self::Help => "is being migrated or saved by xl",
            Self::Recover => "is being recovered",
        })
    }
}

/// Who has a turn, as far as its file says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: Option<Pid>,
    /// What for.
    pub purpose: Option<Purpose>,
}

impl Holder {
    fn read(mut file: &File) -> io::Result<Self> {
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(Self::of(&text))
    }

    fn of(text: &str) -> Self {
        let mut words = text.split_whitespace();
        // Others would be signals to many processes.
        let pid = words.next().and_then(|word| word.parse().ok()).filter(|&pid| pid > 0);
        let pid = pid.map(Pid::from_raw);
        let purpose = words.next();
        let is_meant = |known: &Purpose| purpose == Some(known.word());
        Self { pid, purpose: Purpose::ALL.into_iter().find(is_meant) }
    }
}

/// What keeps others off the guest, as the end of a sentence about it.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.purpose {
            Some(purpose) => purpose.fmt(f)?,
            None => f.write_str("is in the hands of another process")?,
        }
        self.pid.map_or(Ok(()), |pid| write!(f, " (process {pid})"))
    }
}

impl Turn {
    /// Takes it, or says which other process has it.
    ///
    /// # Errors
    /// If its file cannot be made.
    pub fn take(domid: Domid, purpose: Purpose) -> io::Result<Result<Self, Holder>> {
        fs::create_dir_all(FOLDER)?;
        Self::take_at(path(domid), purpose)
    }

    fn take_at(path: PathBuf, purpose: Purpose) -> io::Result<Result<Self, Holder>> {
        loop {
            match Flock::lock(open(&path)?, FlockArg::LockExclusiveNonblock) {
                // Who had it before may have removed the file under us.
                Ok(file) if !is_at(&file, &path) => {}
                Ok(mut file) => {
                    file.set_len(0)?;
                    let line = format!("{} {}\n", std::process::id(), purpose.word());
                    file.write_all(line.as_bytes())?;
                    return Ok(Ok(Self { path, _file: file }));
                }
                Err((file, Errno::EWOULDBLOCK)) => return Ok(Err(Holder::read(&file)?)),
                Err((_, errno)) => return Err(errno.into()),
            }
        }
    }

    /// Who has it.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn holder(domid: Domid) -> io::Result<Option<Holder>> {
        Self::holder_at(&path(domid))
    }

    fn holder_at(path: &Path) -> io::Result<Option<Holder>> {
        if !path.exists() {
            return Ok(None);
        }
        match Flock::lock(open(path)?, FlockArg::LockSharedNonblock) {
            Err((file, Errno::EWOULDBLOCK)) => Holder::read(&file).map(Some),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_second_is_told_who_was_first_and_what_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert_eq!(Turn::holder_at(&path).unwrap(), None);
        for purpose in Purpose::ALL {
            let first = Turn::take_at(path.clone(), purpose).unwrap().unwrap();
            let holder = Holder { pid: Some(Pid::this()), purpose: Some(purpose) };
            assert_eq!(Turn::take_at(path.clone(), Purpose::Migrate).unwrap().unwrap_err(), holder);
            assert_eq!(Turn::holder_at(&path).unwrap(), Some(holder));
            let told = holder.to_string();
            assert!(told.contains(&purpose.to_string()), "{told}");
            assert!(told.ends_with(&format!(" (process {})", Pid::this())), "{told}");
            drop(first);
            assert_eq!(Turn::holder_at(&path).unwrap(), None);
        }
    }

    #[test]
    fn a_file_that_says_less_is_read_as_far_as_it_goes() {
        let pid = Some(Pid::from_raw(42));
        for (text, expected) in [
            ("", Holder::default()),
            ("-1 save", Holder { pid: None, purpose: Some(Purpose::Save) }),
            ("42", Holder { pid, purpose: None }),
            ("42 dance\n", Holder { pid, purpose: None }),
            ("42 save\n", Holder { pid, purpose: Some(Purpose::Save) }),
        ] {
            assert_eq!(Holder::of(text), expected, "{text:?}");
        }
        assert_eq!(Holder::default().to_string(), "is in the hands of another process");
    }
}
