//! Agents that die or hang while they hold real processes of this machine.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xend_agent::grip::{Grip, Places};
use xend_agent::guardian::Guardian;
use xend_agent::ledger::{self, Ledger};
use xend_agent::memory::Files;
use xend_agent::process::{self, Process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_xend-agent");
/// Told to the copy of this program that plays the agent.
const VICTIM: &str = "TEST_VICTIM";
const FOLDER: &str = "TEST_FOLDER";
const HANG: &str = "TEST_HANG";

/// A process, ended with the test.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        // In a group of its own, so that it is not stopped or continued with anybody else.
        Self(Command::new("sleep").arg("600").process_group(0).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    fn process(&self) -> Process {
        process::look(Path::new("/proc"), self.pid()).unwrap().process
    }

    fn state(&self) -> char {
        process::look(Path::new("/proc"), self.pid()).unwrap().state
    }

    fn await_state(&self, stopped: bool, within: Duration) -> Duration {
        let started = Instant::now();
        while (self.state() == 'T') != stopped {
            assert!(started.elapsed() < within, "it is {}", self.state());
            thread::sleep(Duration::from_millis(5));
        }
        started.elapsed()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signals_only() -> Places {
    Places { cgroups: None, ..Places::find() }
}

/// Not a test of its own: the agent that the others kill. Holds a process, and lives on.
#[test]
fn an_agent_that_holds_somebody() {
    let (Ok(victim), Ok(folder)) = (env::var(VICTIM), env::var(FOLDER)) else { return };
    let mut guardian = Guardian::start(Path::new(PROGRAM), Path::new(&folder)).unwrap();
    let process = process::look(Path::new("/proc"), victim.parse().unwrap()).unwrap().process;
    let grip = Grip { process, cgroup: None };
    let mut ledger = Ledger::new(Path::new(&folder));
    ledger.set_grips(vec![grip.clone()]).unwrap();
    guardian.alive(true).unwrap();
    grip.stop(&signals_only()).unwrap();
    loop {
        thread::sleep(Duration::from_millis(100));
        if env::var(HANG).is_err() {
            guardian.alive(true).unwrap();
        }
    }
}

fn start_agent(victim: &Sleeper, folder: &Path, hangs: bool) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "an_agent_that_holds_somebody", "--nocapture"])
        .env(VICTIM, victim.pid().to_string())
        .env(FOLDER, folder)
        .env("XENSTORED_PATH", folder.join("no-xenstored"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if hangs {
        command.env(HANG, "1");
    }
    command.spawn().unwrap()
}

#[test]
fn a_killed_agent_leaves_nobody_stopped() {
    let (victim, folder) = (Sleeper::start(), tempfile::tempdir().unwrap());
    let mut agent = start_agent(&victim, folder.path(), false);
    victim.await_state(true, Duration::from_secs(20));
    // It shows life, so nothing is released.
    thread::sleep(Duration::from_millis(500));
    assert_eq!(victim.state(), 'T');
    agent.kill().unwrap();
    agent.wait().unwrap();
    victim.await_state(false, Duration::from_secs(1));
    let file = folder.path().join("held");
    let deadline = Instant::now() + Duration::from_secs(2);
    while file.exists() {
        assert!(Instant::now() < deadline, "the ledger is still there");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_agent_that_hangs_is_killed_and_leaves_nobody_stopped() {
    let (victim, folder) = (Sleeper::start(), tempfile::tempdir().unwrap());
    let mut agent = start_agent(&victim, folder.path(), true);
    victim.await_state(true, Duration::from_secs(20));
    victim.await_state(false, Duration::from_secs(12));
    let status = agent.wait().unwrap();
    assert!(!status.success(), "{status}");
}

#[test]
fn a_stopped_agent_is_one_that_hangs() {
    let (victim, folder) = (Sleeper::start(), tempfile::tempdir().unwrap());
    let mut agent = start_agent(&victim, folder.path(), false);
    victim.await_state(true, Duration::from_secs(20));
    kill(Pid::from_raw(agent.id() as i32), Signal::SIGSTOP).unwrap();
    victim.await_state(false, Duration::from_secs(12));
    agent.wait().unwrap();
}

/// A whole service is stopped with SIGTERM to each of its processes; the guardian outlives that.
#[test]
fn a_guardian_is_not_stopped_before_its_agent() {
    let (victim, folder) = (Sleeper::start(), tempfile::tempdir().unwrap());
    let mut agent = start_agent(&victim, folder.path(), false);
    victim.await_state(true, Duration::from_secs(20));
    let all = process::all(Path::new("/proc"));
    let of_agent: Vec<i32> = all
        .iter()
        .filter(|look| look.parent == agent.id() as i32)
        .map(|look| look.process.pid)
        .collect();
    assert_eq!(of_agent.len(), 1, "the agent has one child, its guardian");
    kill(Pid::from_raw(of_agent[0]), Signal::SIGTERM).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(victim.state(), 'T');
    agent.kill().unwrap();
    agent.wait().unwrap();
    victim.await_state(false, Duration::from_secs(1));
}

#[test]
fn the_next_agent_releases_what_was_left() {
    let (victim, folder) = (Sleeper::start(), tempfile::tempdir().unwrap());
    let places = signals_only();
    let grip = Grip { process: victim.process(), cgroup: None };
    Ledger::new(folder.path()).set_grips(vec![grip.clone()]).unwrap();
    grip.stop(&places).unwrap();
    victim.await_state(true, Duration::from_secs(5));
    let status = Command::new(PROGRAM).arg("release").arg(folder.path()).status().unwrap();
    assert!(status.success());
    victim.await_state(false, Duration::from_secs(1));
}

#[test]
fn another_process_of_that_number_is_left_alone() {
    let (victim, folder) = (Sleeper::start(), tempfile::tempdir().unwrap());
    let places = signals_only();
    kill(Pid::from_raw(victim.pid()), Signal::SIGSTOP).unwrap();
    victim.await_state(true, Duration::from_secs(5));
    let mut process = victim.process();
    process.start += 1;
    let grip = Grip { process, cgroup: None };
    Ledger::new(folder.path()).set_grips(vec![grip]).unwrap();
    assert_eq!(ledger::release(folder.path(), &places, &Files::default()), 0);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(victim.state(), 'T', "somebody else has stopped it");
}

/// With a kernel that says what a process writes: the one that writes is held, gets turns, and runs
/// freely when it is over.
#[test]
fn a_rogue_writer_is_held_and_released() {
    if !xend_agent::meter::is_supported() {
        println!("this kernel has no soft-dirty bits");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "import time\nb = bytearray(64 << 20)\nwhile True:\n  for i in range(0, len(b), 4096): b[i] = 1\n";
    let rogue =
        Sleeper(Command::new("python3").args(["-c", script]).process_group(0).spawn().unwrap());
    let ledger = Arc::new(Mutex::new(Ledger::new(folder.path())));
    let holding = xend_agent::holding::Holding::start(
        signals_only(),
        ledger,
        BTreeSet::new(),
        f64::from(1 << 20),
    );
    rogue.await_state(true, Duration::from_secs(10));
    assert!(
        fs::read_to_string(folder.path().join("held")).unwrap().contains(&rogue.pid().to_string())
    );
    assert!(holding.still() >= 1);
    drop(holding);
    rogue.await_state(false, Duration::from_secs(1));
}
