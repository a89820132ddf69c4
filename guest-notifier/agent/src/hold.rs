//! Who is held, and which of them runs. The thread that serves the host and the one that measures share
//! it: neither stopping nor releasing them must wait until something is measured.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::grip::{Grip, Places};
use crate::ledger::Ledger;
use crate::lock::locked;
use crate::process::{self, Process};
use crate::say::{complain, say};

/// The processes that are held, each of which is written down first.
#[derive(Debug)]
pub struct Hold {
    places: Places,
    ledger: Arc<Mutex<Ledger>>,
    grips: HashMap<Process, Grip>,
    /// Whose turn it is, and since when.
    running: Option<(Process, Duration)>,
    still: bool,
    over: bool,
}

impl Hold {
    /// Nobody is held.
    #[must_use]
    pub fn new(places: Places, ledger: Arc<Mutex<Ledger>>) -> Self {
        Self { places, ledger, grips: HashMap::new(), running: None, still: false, over: false }
    }

    /// Those who are held.
    pub fn members(&self) -> impl Iterator<Item = Process> + '_ {
        self.grips.keys().copied()
    }

    /// Whose turn it is, and since when.
    #[must_use]
    pub fn running(&self) -> Option<(Process, Duration)> {
        self.running
    }

    /// Whether nobody gets a turn.
    #[must_use]
    pub fn is_still(&self) -> bool {
        self.still
    }

    /// Nobody gets a turn until [`move_on`](Self::move_on). How many are held.
    pub fn still(&mut self) -> usize {
        self.end_turn();
        self.still = true;
        self.grips.len()
    }

    /// There are turns again.
    pub fn move_on(&mut self) {
        self.still = false;
    }

    /// Holds `members` and nobody else, unless it is over.
    pub fn adjust(&mut self, members: &[Process]) {
        if self.over {
            return;
        }
        let leaving: Vec<Process> =
            self.members().filter(|process| !members.contains(process)).collect();
        let coming: Vec<Grip> = members
            .iter()
            .filter(|process| !self.grips.contains_key(process))
            .map(|process| Grip::choose(&self.places, *process))
            .collect();
        if leaving.is_empty() && coming.is_empty() {
            return;
        }
        for process in leaving {
            self.let_go(process);
            self.running = self.running.filter(|(running, _)| *running != process);
        }
        let noted: Vec<Grip> = self.grips.values().chain(&coming).cloned().collect();
        if let Err(error) = self.write_down(noted) {
            complain(format_args!("nobody more is held, it cannot be written down: {error}"));
            return;
        }
        for grip in coming {
            say(format_args!("process {} is held", grip.process.pid));
            if grip.stop(&self.places).is_ok() {
                self.grips.insert(grip.process, grip);
            }
        }
    }

    /// It is the turn of `who` and of nobody else, since `now`. Whether somebody runs now: not if all is
    /// to be still, and not who has ended.
    pub fn give_turn(&mut self, who: Option<Process>, now: Duration) -> bool {
        self.end_turn();
        if !self.still
            && let Some(process) = who
            && let Some(grip) = self.grips.get(&process)
            && grip.go(&self.places).is_ok()
        {
            self.running = Some((process, now));
        }
        self.running.is_some()
    }

    /// Nobody is held any more, and nobody will be.
    pub fn let_all_go(&mut self) {
        self.over = true;
        let members: Vec<Process> = self.members().collect();
        members.into_iter().for_each(|process| self.let_go(process));
        // Who could not be let go stays written down: whoever releases by that tries again.
        if let Err(error) = self.write_down(self.grips.values().cloned().collect()) {
            complain(format_args!("cannot note that nobody is held any more: {error}"));
        }
    }

    /// Lets one go. It stays a member if that fails, unless it has ended.
    fn let_go(&mut self, process: Process) {
        let Some(grip) = self.grips.get(&process) else { return };
        match grip.go(&self.places) {
            Err(error) if !process::has_ended(&error) => {
                complain(format_args!("cannot let process {} go: {error}", process.pid));
            }
            _ => {
                self.grips.remove(&process);
            }
        }
    }

    fn end_turn(&mut self) {
        if let Some((process, _)) = self.running.take()
            && let Some(grip) = self.grips.get(&process)
        {
            let _ = grip.stop(&self.places);
        }
    }

    fn write_down(&self, grips: Vec<Grip>) -> io::Result<()> {
        locked(&self.ledger).set_grips(grips)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::process::look;

    /// A process to be held.
    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> Self {
            Self(Command::new("sleep").arg("600").spawn().unwrap())
        }

        fn process(&self) -> Process {
            look("/proc".as_ref(), self.0.id() as i32).unwrap().process
        }

        /// As /proc tells: `T` is stopped.
        fn is_stopped(&self) -> bool {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T')
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn hold(folder: &tempfile::TempDir) -> Hold {
        let places = Places { proc: "/proc".into(), cgroups: None };
        Hold::new(places, Arc::new(Mutex::new(Ledger::new(folder.path()))))
    }

    fn await_stopped(sleeper: &Sleeper, stopped: bool) {
        for _ in 0..500 {
            if sleeper.is_stopped() == stopped {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("process {} is to be stopped: {stopped}", sleeper.0.id());
    }

    #[test]
    fn one_that_is_held_runs_in_its_turn_only() {
        let (folder, sleeper) = (tempfile::tempdir().unwrap(), Sleeper::start());
        let (mut hold, process) = (hold(&folder), sleeper.process());
        hold.adjust(&[process]);
        await_stopped(&sleeper, true);
        assert!(hold.give_turn(Some(process), Duration::ZERO));
        await_stopped(&sleeper, false);
        assert!(!hold.give_turn(None, Duration::ZERO));
        await_stopped(&sleeper, true);
        hold.adjust(&[]);
        await_stopped(&sleeper, false);
        assert_eq!(hold.members().count(), 0);
    }

    #[test]
    fn nobody_gets_a_turn_where_all_is_to_be_still() {
        let (folder, sleeper) = (tempfile::tempdir().unwrap(), Sleeper::start());
        let (mut hold, process) = (hold(&folder), sleeper.process());
        hold.adjust(&[process]);
        hold.give_turn(Some(process), Duration::ZERO);
        assert_eq!(hold.still(), 1);
        await_stopped(&sleeper, true);
        // As from a thread that was measuring meanwhile.
        assert!(!hold.give_turn(Some(process), Duration::ZERO));
        assert_eq!(hold.running(), None);
        await_stopped(&sleeper, true);
        hold.move_on();
        hold.give_turn(Some(process), Duration::ZERO);
        await_stopped(&sleeper, false);
        hold.still();
        hold.let_all_go();
        await_stopped(&sleeper, false);
        hold.adjust(&[process]);
        assert_eq!(hold.members().count(), 0);
        assert!(folder.path().read_dir().unwrap().next().is_none(), "a ledger is left");
    }
}
