//! The program as it is installed, with a xenstored in this process and a host that talks to it.

mod common;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use guest_notifier::protocol::{Cache, STATE, VERSIONS};
use guest_notifier::testing::{MemoryStore, NoBell};
use guest_notifier::{Notifier, Outcome, Store, Wish};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use common::await_that;

const PROGRAM: &str = env!("CARGO_BIN_EXE_xend-agent");

// Of Xen's io/xs_wire.h.
const XS_READ: u32 = 2;
const XS_WATCH: u32 = 4;
const XS_WRITE: u32 = 11;
const XS_RM: u32 = 13;
const XS_WATCH_EVENT: u32 = 15;
const XS_ERROR: u32 = 16;

/// As much of a xenstored as the agent needs.
fn serve(listener: &UnixListener, store: &MemoryStore) {
    for stream in listener.incoming().flatten() {
        let store = store.clone();
        thread::spawn(move || {
            // It ends when the agent closes it.
            let _ = serve_one(&stream, store);
        });
    }
}

fn serve_one(stream: &UnixStream, mut store: MemoryStore) -> io::Result<()> {
    let out = Arc::new(Mutex::new(stream.try_clone()?));
    let mut input = stream;
    loop {
        let mut header = [0; 16];
        input.read_exact(&mut header)?;
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
        let (kind, request, length) = (word(0), word(4), word(12));
        let mut body = vec![0; length as usize];
        input.read_exact(&mut body)?;
        let text = String::from_utf8(body).unwrap();
        let (path, rest) = text.split_once('\0').unwrap();
        let answer = match kind {
            XS_READ => store.read(path)?.ok_or("ENOENT"),
            XS_WRITE => store.write(path, rest).map(|()| Ok(b"OK\0".to_vec()))?,
            XS_RM => store.remove(path).map(|()| Ok(b"OK\0".to_vec()))?,
            XS_WATCH => {
                let (out, mut store) = (Arc::clone(&out), store.clone());
                let event = format!("{path}\0{path}\0");
                thread::spawn(move || {
                    loop {
                        let _ = store.wait(Duration::from_secs(60));
                        let mut out = out.lock().unwrap();
                        if send(&mut out, XS_WATCH_EVENT, 0, event.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
                Ok(b"OK\0".to_vec())
            }
            _ => Err("ENOSYS"),
        };
        let mut out = out.lock().unwrap();
        match answer {
            Ok(body) => send(&mut out, kind, request, &body)?,
            Err(name) => send(&mut out, XS_ERROR, request, format!("{name}\0").as_bytes())?,
        }
    }
}

fn send(out: &mut UnixStream, kind: u32, request: u32, body: &[u8]) -> io::Result<()> {
    let header = [kind, request, 0, body.len() as u32];
    let bytes: Vec<u8> =
        header.iter().flat_map(|word| word.to_ne_bytes()).chain(body.iter().copied()).collect();
    out.write_all(&bytes)
}

/// A guest with everything that the agent needs.
struct Guest {
    store: MemoryStore,
    folder: TempDir,
}

impl Guest {
    fn new() -> Self {
        let guest = Self { store: MemoryStore::default(), folder: tempfile::tempdir().unwrap() };
        let listener = UnixListener::bind(guest.path("xenstored")).unwrap();
        let store = guest.store.clone();
        thread::spawn(move || serve(&listener, &store));
        fs::create_dir_all(guest.path("etc/prepare.d")).unwrap();
        guest
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn hook(&self, script: &str) {
        let path = self.path("etc/prepare.d/hook");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--config")
            .arg(self.path("etc"))
            .arg("--run")
            .arg(self.path("run"))
            .env("XENSTORED_PATH", self.path("xenstored"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self) -> Agent {
        let agent = Agent(self.command().stderr(Stdio::null()).spawn().unwrap());
        await_that("the agent", || self.store.text(VERSIONS).is_some());
        agent
    }

    fn notifier(&self) -> Notifier<MemoryStore, NoBell> {
        Notifier::new(self.store.clone(), std::process::id())
    }
}

struct Agent(Child);

impl Agent {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Nothing is to happen to the machine that the test runs on.
fn harmless() -> Wish {
    Wish { cache: Cache::Keep, balloon: false, zero: false, ..Wish::default() }
}

#[test]
fn it_serves_its_host_and_leaves_nothing() {
    let guest = Guest::new();
    let out = guest.path("hook.txt");
    guest.hook(&format!("echo $1 > {}", out.display()));
    let mut agent = guest.start();
    let mut host = guest.notifier();
    let outcome = host.prepare(&harmless(), || None, &|| false);
    let Outcome::Prepared(prepared) = outcome else { panic!("{outcome}") };
    assert_eq!((prepared.freed_kib, prepared.hooks_failed), (0, 0));
    assert_eq!(fs::read_to_string(out).unwrap(), "prepare\n");
    // A rate that nothing here exceeds.
    host.pre_copy(u64::MAX);
    await_that("pre-copy", || guest.store.text(STATE).as_deref() == Some("pre-copy"));
    assert_eq!(host.suspending(), Some(0));
    host.cancelled();
    assert_eq!(guest.store.text(STATE).as_deref(), Some("idle cancelled"));

    agent.signal(Signal::SIGTERM);
    assert!(agent.0.wait().unwrap().success());
    assert_eq!(guest.store.text(VERSIONS), None);
}

#[test]
fn killed_it_is_not_waited_for_again() {
    let guest = Guest::new();
    let agent = guest.start();
    agent.signal(Signal::SIGKILL);
    await_that("the guardian", || guest.store.text(VERSIONS).is_none());
    let outcome = guest.notifier().prepare(&harmless(), || None, &|| false);
    assert!(matches!(outcome, Outcome::NoAgent), "{outcome}");
    // And it can be started anew.
    drop(agent);
    let _agent = guest.start();
    let outcome = guest.notifier().prepare(&harmless(), || None, &|| false);
    assert!(matches!(outcome, Outcome::Prepared(_)), "{outcome}");
}

#[test]
fn stopped_it_costs_the_host_a_second() {
    let guest = Guest::new();
    let agent = guest.start();
    agent.signal(Signal::SIGSTOP);
    let started = Instant::now();
    let outcome = guest.notifier().prepare(&harmless(), || None, &|| false);
    assert!(matches!(outcome, Outcome::Silent), "{outcome}");
    assert!(started.elapsed() < Duration::from_secs(2));
    agent.signal(Signal::SIGCONT);
    await_that("the agent to come back", || guest.store.text(VERSIONS).is_some());
}

#[test]
fn a_hook_that_hangs_costs_no_more_than_the_deadline() {
    let guest = Guest::new();
    guest.hook("sleep 600");
    let _agent = guest.start();
    let wish = Wish { deadline: Duration::from_secs(2), ..harmless() };
    let started = Instant::now();
    let outcome = guest.notifier().prepare(&wish, || None, &|| false);
    let Outcome::Prepared(prepared) = outcome else { panic!("{outcome}") };
    assert_eq!(prepared.hooks_failed, 1);
    assert!(started.elapsed() < wish.deadline + Duration::from_millis(500));
}

#[test]
fn there_is_only_one() {
    let guest = Guest::new();
    let _agent = guest.start();
    let output = guest.command().output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("another xend-agent runs"), "{said}");
}

#[test]
fn outside_of_a_guest_it_says_so() {
    if Path::new("/dev/xen/xenbus").exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .arg("--run")
        .arg(folder.path())
        .env("XENSTORED_PATH", folder.path().join("nothing"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("is this a Xen guest"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn words_that_it_does_not_know_are_refused_with_the_usage() {
    for words in [&["dance"][..], &["--run"], &["--config", "a", "b"], &["release", "a", "b"]] {
        let output = Command::new(PROGRAM).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage: "), "{words:?}");
    }
}
