//! Programs of the guest's administrator that are run before a move.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::say::complain;

/// How often a running hook is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Write permission of others than the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// How the hooks fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fared {
    /// Those that were started.
    pub started: u32,
    /// Those that failed, or were not through in time.
    pub failed: u32,
}

/// Runs the executables in `folder`, by name, each for `each` at most and all of them until
/// `deadline`. One that is not through by then is killed with all that it has started.
pub fn run(folder: &Path, each: Duration, deadline: Instant, cancel: &AtomicBool) -> Fared {
    let mut fared = Fared::default();
    for path in hooks_in(folder) {
        if cancel.load(Ordering::Relaxed) {
            break;
        }
        fared.started += 1;
        let until = deadline.min(Instant::now() + each);
        match run_one(&path, until, cancel) {
            Ok(Some(status)) if status.success() => {}
            Ok(Some(status)) => {
                complain(format_args!("{}: {status}", path.display()));
                fared.failed += 1;
            }
            Ok(None) => {
                complain(format_args!("{}: killed, it was not through", path.display()));
                fared.failed += 1;
            }
            Err(error) => {
                complain(format_args!("{}: {error}", path.display()));
                fared.failed += 1;
            }
        }
    }
    fared
}

/// Only what nobody but its owner could have put there.
fn hooks_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let owner = fs::metadata(folder).map(|data| data.uid()).ok();
    let is_hook = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|data| {
            let mode = data.permissions().mode();
            let safe = mode & WRITABLE_BY_OTHERS == 0 && Some(data.uid()) == owner;
            data.is_file() && mode & 0o111 != 0 && safe
        })
    };
    let mut hooks: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(is_hook).collect();
    hooks.sort();
    hooks
}

/// `None` if it was killed.
fn run_one(
    path: &Path,
    until: Instant,
    cancel: &AtomicBool,
) -> std::io::Result<Option<ExitStatus>> {
    run_until(Command::new(path).arg("prepare"), until, cancel)
}

/// Runs a program in a process group of its own. `None` if it was killed, with the whole group, since
/// it was not through in time.
///
/// # Errors
/// When it cannot be run.
pub fn run_until(
    command: &mut Command,
    until: Instant,
    cancel: &AtomicBool,
) -> std::io::Result<Option<ExitStatus>> {
    let mut child = command.stdin(Stdio::null()).process_group(0).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until || cancel.load(Ordering::Relaxed) {
            kill_group(&mut child);
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

fn kill_group(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // It may have ended by itself just now.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(folder: &Path, name: &str, script: &str) {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run_all(folder: &Path, each: Duration, all: Duration) -> Fared {
        run(folder, each, Instant::now() + all, &AtomicBool::new(false))
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn they_run_in_order_and_are_told_why() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.txt");
        hook(folder.path(), "20-second", &format!("echo second $1 >> {}", out.display()));
        hook(folder.path(), "10-first", &format!("echo first $1 >> {}; exit 3", out.display()));
        assert_eq!(run_all(folder.path(), LONG, LONG), Fared { started: 2, failed: 1 });
        assert_eq!(fs::read_to_string(out).unwrap(), "first prepare\nsecond prepare\n");
    }

    #[test]
    fn one_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid.txt");
        hook(folder.path(), "hangs", &format!("sleep 600 & echo $! > {}; wait", pid.display()));
        let started = Instant::now();
        let each = Duration::from_millis(400);
        assert_eq!(run_all(folder.path(), each, LONG), Fared { started: 1, failed: 1 });
        assert!(started.elapsed() < Duration::from_secs(5));
        let child: i32 = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let is_there = || {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while is_there() {
            assert!(Instant::now() < deadline, "the child of the hook lives");
            thread::sleep(LOOK);
        }
    }

    #[test]
    fn the_deadline_of_all_holds_for_each() {
        let folder = tempfile::tempdir().unwrap();
        hook(folder.path(), "a", "sleep 600");
        hook(folder.path(), "b", "sleep 600");
        let started = Instant::now();
        let fared = run_all(folder.path(), LONG, Duration::from_millis(300));
        assert_eq!(fared, Fared { started: 2, failed: 2 });
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_others_may_write_is_not_run() {
        let folder = tempfile::tempdir().unwrap();
        hook(folder.path(), "open", "exit 0");
        let path = folder.path().join("open");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(folder.path().join("text"), "no program").unwrap();
        assert_eq!(run_all(folder.path(), LONG, LONG), Fared::default());
        assert_eq!(run_all(&folder.path().join("nowhere"), LONG, LONG), Fared::default());
    }
}
