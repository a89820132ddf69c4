//! Stopping one process, and letting it go.

use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{self, Process};

/// Where processes and cgroups are.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/proc`
    pub proc: PathBuf,
    /// Where the cgroup (version 2) tree is mounted, if it is.
    pub cgroups: Option<PathBuf>,
}

impl Places {
    /// As this system has them.
    #[must_use]
    pub fn find() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let cgroup2 = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let (place, kind) = (words.nth(1)?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(place))
        });
        Self { proc: "/proc".into(), cgroups: cgroup2 }
    }

    /// The cgroup that has this process in it and nothing else, if there is one.
    fn own_cgroup(&self, process: Process) -> Option<PathBuf> {
        let text = fs::read_to_string(self.proc.join(format!("{}/cgroup", process.pid))).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let is_plain = |c: char| c.is_ascii_graphic();
        if path.is_empty() || path.contains("..") || !path.chars().all(is_plain) {
            return None;
        }
        let cgroup = self.cgroups.as_ref()?.join(path);
        let members = fs::read_to_string(cgroup.join("cgroup.procs")).ok()?;
        let is_alone = members.trim() == process.pid.to_string();
        let is_leaf = !fs::read_dir(&cgroup).ok()?.flatten().any(|entry| entry.path().is_dir());
        let runs = fs::read_to_string(cgroup.join("cgroup.freeze")).ok()?.trim() == "0";
        (is_alone && is_leaf && runs).then_some(cgroup)
    }
}

/// A hold on a process. Does nothing by itself when dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grip {
    /// Which.
    pub process: Process,
    /// Frozen there; otherwise stopped by a signal.
    pub cgroup: Option<PathBuf>,
}

impl Grip {
    /// The gentlest way to hold it.
    #[must_use]
    pub fn choose(places: &Places, process: Process) -> Self {
        Self { process, cgroup: places.own_cgroup(process) }
    }

    /// Lets it not run.
    ///
    /// # Errors
    /// When it is not there any more, or the kernel refuses.
    pub fn stop(&self, places: &Places) -> io::Result<()> {
        match &self.cgroup {
            Some(cgroup) => freeze(cgroup, true),
            None => signal(places, self.process, Signal::SIGSTOP),
        }
    }

    /// Lets it run.
    ///
    /// # Errors
    /// The same.
    pub fn go(&self, places: &Places) -> io::Result<()> {
        match &self.cgroup {
            Some(cgroup) => freeze(cgroup, false),
            None => signal(places, self.process, Signal::SIGCONT),
        }
    }
}

/// Freezes or thaws a cgroup.
///
/// # Errors
/// When the kernel refuses.
pub fn freeze(cgroup: &Path, on: bool) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.freeze"), if on { "1" } else { "0" })
}

/// Signals a process, if it still is that one.
///
/// # Errors
/// When it is not.
pub fn signal(places: &Places, process: Process, signal: Signal) -> io::Result<()> {
    process::require(&places.proc, process)?;
    Ok(kill(Pid::from_raw(process.pid), signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `/proc` and a cgroup tree of plain files.
    fn places(folder: &Path) -> Places {
        let places = Places { proc: folder.join("proc"), cgroups: Some(folder.join("cgroup")) };
        let cgroup = folder.join("cgroup/system.slice/rogue.service");
        fs::create_dir_all(&cgroup).unwrap();
        fs::create_dir_all(places.proc.join("42")).unwrap();
        fs::write(places.proc.join("42/cgroup"), "0::/system.slice/rogue.service\n").unwrap();
        fs::write(cgroup.join("cgroup.procs"), "42\n").unwrap();
        fs::write(cgroup.join("cgroup.freeze"), "0\n").unwrap();
        places
    }

    const ROGUE: Process = Process { pid: 42, start: 7 };

    #[test]
    fn one_that_is_alone_in_its_cgroup_is_frozen() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let grip = Grip::choose(&places, ROGUE);
        let cgroup = folder.path().join("cgroup/system.slice/rogue.service");
        assert_eq!(grip.cgroup.as_deref(), Some(cgroup.as_path()));
        grip.stop(&places).unwrap();
        assert_eq!(fs::read_to_string(cgroup.join("cgroup.freeze")).unwrap(), "1");
        grip.go(&places).unwrap();
        assert_eq!(fs::read_to_string(cgroup.join("cgroup.freeze")).unwrap(), "0");
    }

    #[test]
    fn nobody_else_is_frozen_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let cgroup = folder.path().join("cgroup/system.slice/rogue.service");
        let chosen = || Grip::choose(&places, ROGUE).cgroup;
        fs::write(cgroup.join("cgroup.procs"), "42\n43\n").unwrap();
        assert_eq!(chosen(), None, "it has company");
        fs::write(cgroup.join("cgroup.procs"), "42\n").unwrap();
        fs::write(cgroup.join("cgroup.freeze"), "1\n").unwrap();
        assert_eq!(chosen(), None, "somebody else has frozen it");
        fs::write(cgroup.join("cgroup.freeze"), "0\n").unwrap();
        fs::create_dir(cgroup.join("below")).unwrap();
        assert_eq!(chosen(), None, "there are cgroups below");
        fs::write(places.proc.join("42/cgroup"), "0::/\n").unwrap();
        assert_eq!(chosen(), None, "the root cannot be frozen");
        fs::write(places.proc.join("42/cgroup"), "0::/../../etc\n").unwrap();
        assert_eq!(chosen(), None, "outside of our namespace");
    }
}
