//! What is held, written down before it is: whoever comes after a dead agent releases by it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::grip::{Grip, Places};
use crate::memory::{Files, Target};
use crate::process::{self, Process};
use crate::say::complain;

/// Where it is.
pub const FOLDER: &str = "/run/xend-agent";
const NAME: &str = "held";

/// What is held.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    grips: Vec<Grip>,
    balloon: Option<Target>,
}

impl Ledger {
    /// An empty one in `folder`. What another agent has left there is lost: release it before.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), grips: Vec::new(), balloon: None }
    }

    /// Who is held from now on.
    ///
    /// # Errors
    /// When it cannot be written: then nobody may be held.
    pub fn set_grips(&mut self, grips: Vec<Grip>) -> io::Result<()> {
        self.grips = grips;
        self.write()
    }

    /// What the balloon is set to from now on.
    ///
    /// # Errors
    /// The same.
    pub fn set_balloon(&mut self, balloon: Option<Target>) -> io::Result<()> {
        self.balloon = balloon;
        self.write()
    }

    /// What the balloon was set to.
    #[must_use]
    pub fn balloon(&self) -> Option<Target> {
        self.balloon
    }

    /// Releases all that is written down, which also covers a thread that ended badly, and says how many
    /// things that were. What could not be released stays written down.
    pub fn release(&mut self, places: &Places, files: &Files) -> usize {
        self.read();
        let (mut released, mut failed) = (0, Vec::new());
        let mut is_over = |what: String, result: io::Result<()>| match result {
            Ok(()) => {
                released += 1;
                true
            }
            Err(error) if process::has_ended(&error) => true,
            Err(error) => {
                failed.push(format!("cannot release {what}: {error}"));
                false
            }
        };
        self.grips
            .retain(|grip| !is_over(format!("process {}", grip.process.pid), grip.go(places)));
        self.balloon = self
            .balloon
            .filter(|target| !is_over("the balloon".to_owned(), files.take_back(*target)));
        if let Err(error) = self.write() {
            failed.push(format!("cannot note what is released: {error}"));
        }
        // Not before everything is released: nobody may be reading.
        failed.iter().for_each(complain);
        released
    }

    /// Takes what is written down. Lines that say nothing are left out.
    fn read(&mut self) {
        let text = fs::read_to_string(self.folder.join(NAME)).unwrap_or_default();
        (self.grips, self.balloon) = (Vec::new(), None);
        for line in text.lines().filter_map(read) {
            match line {
                Line::Grip(grip) => self.grips.push(grip),
                Line::Balloon(target) => self.balloon = Some(target),
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        let path = self.folder.join(NAME);
        let mut text = String::new();
        for Grip { process: Process { pid, start }, cgroup } in &self.grips {
            match cgroup {
                Some(cgroup) => text += &format!("frozen {pid} {start} {}\n", cgroup.display()),
                None => text += &format!("stopped {pid} {start}\n"),
            }
        }
        if let Some(Target { was_kib, set_kib }) = self.balloon {
            text += &format!("balloon {was_kib} {set_kib}\n");
        }
        if text.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let new = path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(new, path)
    }
}

/// Releases all that is written down in `folder`, and says how many things that were. Can be called
/// again: what could not be released stays written down.
pub fn release(folder: &Path, places: &Places, files: &Files) -> usize {
    Ledger::new(folder).release(places, files)
}

enum Line {
    Grip(Grip),
    Balloon(Target),
}

fn read(line: &str) -> Option<Line> {
    let mut words = line.splitn(4, ' ');
    let (what, first, second) = (words.next()?, words.next()?, words.next()?);
    let cgroup = words.next().map(PathBuf::from);
    match what {
        "balloon" => Some(Line::Balloon(Target {
            was_kib: first.parse().ok()?,
            set_kib: second.parse().ok()?,
        })),
        "stopped" | "frozen" if cgroup.is_some() == (what == "frozen") => {
            let process = Process { pid: first.parse().ok()?, start: second.parse().ok()? };
            // A signal to 0 or less would go to others.
            (process.pid > 1).then_some(Line::Grip(Grip { process, cgroup }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_can_be_released() {
        let folder = tempfile::tempdir().unwrap();
        let cgroup = folder.path().join("group");
        fs::create_dir(&cgroup).unwrap();
        fs::write(cgroup.join("cgroup.freeze"), "1").unwrap();
        let balloon = folder.path().join("balloon");
        fs::create_dir(&balloon).unwrap();
        fs::write(balloon.join("target_kb"), "50").unwrap();
        let files = Files { balloon: balloon.clone(), ..Files::default() };
        let places = Places { proc: "/proc".into(), cgroups: None };

        let mut ledger = Ledger::new(folder.path());
        let nobody = Process { pid: i32::MAX, start: 1 };
        ledger
            .set_grips(vec![
                Grip { process: nobody, cgroup: Some(cgroup.clone()) },
                Grip { process: nobody, cgroup: None },
            ])
            .unwrap();
        ledger.set_balloon(Some(Target { was_kib: 90, set_kib: 50 })).unwrap();
        assert_eq!(release(folder.path(), &places, &files), 2);
        assert_eq!(fs::read_to_string(cgroup.join("cgroup.freeze")).unwrap(), "0");
        assert_eq!(fs::read_to_string(balloon.join("target_kb")).unwrap(), "90");
        assert!(!folder.path().join(NAME).exists());
        assert_eq!(release(folder.path(), &places, &files), 0);
    }

    #[test]
    fn what_cannot_be_released_stays_written_down() {
        let folder = tempfile::tempdir().unwrap();
        // A folder in the place of a file that could be written.
        let (cgroup, balloon) = (folder.path().join("group"), folder.path().join("balloon"));
        fs::create_dir_all(cgroup.join("cgroup.freeze")).unwrap();
        fs::create_dir(&balloon).unwrap();
        fs::write(balloon.join("target_kb"), "50").unwrap();
        let files = Files { balloon, ..Files::default() };
        let places = Places { proc: "/proc".into(), cgroups: None };

        let mut ledger = Ledger::new(folder.path());
        let grip = Grip { process: Process { pid: 77, start: 1 }, cgroup: Some(cgroup.clone()) };
        ledger.set_grips(vec![grip]).unwrap();
        ledger.set_balloon(Some(Target { was_kib: 90, set_kib: 50 })).unwrap();
        assert_eq!(ledger.release(&places, &files), 1, "the balloon");
        assert_eq!(ledger.balloon(), None);

        fs::remove_dir(cgroup.join("cgroup.freeze")).unwrap();
        assert_eq!(release(folder.path(), &places, &files), 1, "the process");
        assert!(!folder.path().join(NAME).exists());
    }

    #[test]
    fn nonsense_releases_nobody_else() {
        for bad in [
            "",
            "stopped",
            "stopped 0 5",
            "stopped -1 5",
            "stopped 1 5",
            "frozen 5 5",
            "stopped 5 5 /sys",
            "balloon 5",
            "balloon x 5",
            "kill 5 5",
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_empty_one_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::new(folder.path());
        ledger.set_balloon(Some(Target { was_kib: 2, set_kib: 1 })).unwrap();
        assert!(folder.path().join(NAME).exists());
        ledger.set_balloon(None).unwrap();
        assert!(!folder.path().join(NAME).exists());
    }
}
