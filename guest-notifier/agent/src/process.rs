//! What `/proc` says about processes, and which of them may be held.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::{fs, io};

use nix::libc::ESRCH;

/// `PF_KTHREAD` of the kernel's `sched.h`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// One process, and no other that gets its number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

/// A process, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Which.
    pub process: Process,
    /// Its name, as it says itself.
    pub name: String,
    /// The kernel's letter for what it does.
    pub state: char,
    /// Who started it.
    pub parent: i32,
    /// It is a part of the kernel.
    pub is_kernel: bool,
    /// Processor time that it has used, in clock ticks.
    pub ticks: u64,
}

/// All processes.
#[must_use]
pub fn all(proc: &Path) -> Vec<Look> {
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| look(proc, pid)).collect()
}

/// One process, if it is there.
#[must_use]
pub fn look(proc: &Path, pid: i32) -> Option<Look> {
    read(proc, pid).ok()
}

fn read(proc: &Path, pid: i32) -> io::Result<Look> {
    let stat = fs::read(proc.join(pid.to_string()).join("stat"))?;
    // A name need not be text: the kernel cuts it wherever its 15 bytes end.
    parse(pid, &String::from_utf8_lossy(&stat)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether what was to be done with a process could not be, for it is not there any more.
#[must_use]
pub fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// Makes sure that it is still that one.
///
/// # Errors
/// Of those that [`has_ended`] knows if it is not; others if that cannot be told.
pub fn require(proc: &Path, process: Process) -> io::Result<()> {
    match read(proc, process.pid)?.process == process {
        true => Ok(()),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

fn parse(pid: i32, stat: &str) -> Option<Look> {
    // The name may have anything in it, parentheses and line ends too.
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let name = stat.get(open + 1..close)?.to_owned();
    let fields: Vec<&str> = stat.get(close + 1..)?.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Look {
        process: Process { pid, start: number(19)? },
        name,
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        is_kernel: number(6)? & KERNEL_THREAD != 0,
        ticks: number(11)? + number(12)?,
    })
}

/// Those that may be held. Never: process 1, the kernel's, `me` with its ancestors and descendants,
/// those whose name is allowed to write, and those that somebody other than us has stopped.
#[must_use]
pub fn candidates(
    all: &[Look],
    me: i32,
    allowed: &BTreeSet<String>,
    held: &HashSet<Process>,
) -> Vec<Look> {
    let parents: HashMap<i32, i32> =
        all.iter().map(|look| (look.process.pid, look.parent)).collect();
    let ancestors_of = |pid: i32| {
        let step = |pid: &i32| parents.get(pid).copied().filter(|parent| *parent != 0);
        // /proc is not read at one moment: what looks like a circle is none.
        std::iter::successors(Some(pid), step).take(parents.len() + 1)
    };
    let ours: HashSet<i32> = ancestors_of(me).collect();
    let may = |look: &Look| {
        let (pid, ours_to_hold) = (look.process.pid, held.contains(&look.process));
        let stands = matches!(look.state, 'T' | 't') && !ours_to_hold;
        let gone = matches!(look.state, 'Z' | 'X' | 'x');
        pid != 1
            && !look.is_kernel
            && !ours.contains(&pid)
            && !ancestors_of(pid).any(|ancestor| ancestor == me)
            && !allowed.contains(&look.name)
            && !stands
            && !gone
    };
    all.iter().filter(|look| may(look)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_at(pid: i32, parent: i32, name: &str) -> Look {
        let process = Process { pid, start: 5 };
        Look { process, name: name.to_owned(), state: 'S', parent, is_kernel: false, ticks: 0 }
    }

    #[test]
    fn a_name_may_have_anything_in_it() {
        let stat = "77 (a) b (c\nd) R 1 77 77 0 -1 4194304 1 2 3 4 50 60 7 8 20 0 1 0 4242 9 9";
        let look = parse(77, stat).unwrap();
        assert_eq!(look.name, "a) b (c\nd");
        assert_eq!((look.state, look.parent, look.ticks), ('R', 1, 110));
        assert_eq!(look.process, Process { pid: 77, start: 4242 });
        assert_eq!(parse(77, "77 (short) R 1"), None);
        assert_eq!(parse(77, ""), None);
    }

    #[test]
    fn a_name_need_not_be_text() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process { pid: 77, start: 4242 };
        let stat = b"77 (na\xc3) S 1 77 77 0 -1 4194304 1 2 3 4 50 60 7 8 20 0 1 0 4242 9 9";
        fs::create_dir(folder.path().join("77")).unwrap();
        fs::write(folder.path().join("77/stat"), stat).unwrap();
        require(folder.path(), process).unwrap();
        fs::write(folder.path().join("77/stat"), "77").unwrap();
        assert!(!has_ended(&require(folder.path(), process).unwrap_err()), "nobody knows");
        assert!(has_ended(&require(&folder.path().join("no"), process).unwrap_err()));
    }

    #[test]
    fn we_are_found_ourselves() {
        let me = look(Path::new("/proc"), std::process::id() as i32).unwrap();
        assert!(!me.is_kernel);
        require(Path::new("/proc"), me.process).unwrap();
        let other = Process { start: me.process.start + 1, ..me.process };
        assert!(has_ended(&require(Path::new("/proc"), other).unwrap_err()));
        assert!(all(Path::new("/proc")).iter().any(|look| look.process == me.process));
    }

    #[test]
    fn only_those_are_held_that_may_be() {
        let mut kernel = look_at(2, 0, "kthreadd");
        kernel.is_kernel = true;
        let mut stopped = look_at(30, 1, "debugged");
        stopped.state = 'T';
        let mut ours = look_at(31, 1, "held");
        ours.state = 'T';
        let all = vec![
            look_at(1, 0, "init"),
            kernel,
            look_at(10, 1, "supervisor"),
            look_at(11, 10, "xend-agent"),
            look_at(12, 11, "guardian"),
            look_at(13, 12, "hook"),
            look_at(20, 1, "rogue"),
            look_at(21, 10, "sibling"),
            look_at(22, 1, "sshd"),
            stopped,
            ours.clone(),
        ];
        let allowed = BTreeSet::from(["sshd".to_owned()]);
        let held = HashSet::from([ours.process]);
        let names: Vec<String> =
            candidates(&all, 11, &allowed, &held).into_iter().map(|look| look.name).collect();
        assert_eq!(names, ["rogue", "sibling", "held"]);
    }
}
