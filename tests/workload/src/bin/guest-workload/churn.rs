//! Unrest in the guest besides the writes: processes and threads that come and go, and a balloon
//! that moves. Page tables are made, pinned, write-protected and thrown away by it, and pages lose
//! their frames and get others.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) const MAX_PER_S: u64 = 100;

const IDLE: Duration = Duration::from_millis(100);
const BALLOON_EVERY: Duration = Duration::from_millis(700);
/// How far the balloon goes.
const BALLOON_KIB: u64 = 4096;
const BALLOON: &str = "/sys/devices/system/xen_memory/xen_memory0";
/// A shell forks for each of these, and each becomes another program.
const FORKS: &str = "/bin/true & /bin/true; wait";
/// Pieces that a short-lived thread allocates. The C library grows that thread's heap by changing
/// the protection of its pages.
const PIECES: usize = 32;
const PIECE_BYTES: usize = 24 * 1024;

#[derive(Default)]
struct Shared {
    per_s: AtomicU64,
    processes: AtomicU64,
    threads: AtomicU64,
    balloon_moves: AtomicU64,
}

/// The unrest. It rests until it is told how much.
pub(crate) struct Churn(Arc<Shared>);

impl Churn {
    /// Starts its thread.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        thread::Builder::new().name("churn".into()).spawn(move || run(&own))?;
        Ok(Self(shared))
    }

    /// So often a second from now on; 0 is never.
    pub(crate) fn set(&self, per_s: u64) {
        self.0.per_s.store(per_s.min(MAX_PER_S), Ordering::Relaxed);
    }

    /// What it has done so far.
    pub(crate) fn stats(&self) -> Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "per_s": count(&self.0.per_s),
            "processes": count(&self.0.processes),
            "threads": count(&self.0.threads),
            "balloon_moves": count(&self.0.balloon_moves),
        })
    }
}

fn run(shared: &Shared) -> ! {
    let mut balloon = Balloon::find();
    loop {
        match shared.per_s.load(Ordering::Relaxed) {
            0 => thread::sleep(IDLE),
            per_s => {
                if fork_and_exec() {
                    shared.processes.fetch_add(1, Ordering::Relaxed);
                }
                if come_and_go() {
                    shared.threads.fetch_add(1, Ordering::Relaxed);
                }
                if balloon.as_mut().is_some_and(Balloon::step) {
                    shared.balloon_moves.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_secs(1) / u32::try_from(per_s).unwrap_or(1));
            }
        }
    }
}

fn fork_and_exec() -> bool {
    Command::new("/bin/sh").args(["-c", FORKS]).status().is_ok_and(|status| status.success())
}

fn come_and_go() -> bool {
    let visit = || {
        let pieces: Vec<Vec<u8>> = (0..PIECES).map(|n| vec![n as u8 + 1; PIECE_BYTES]).collect();
        pieces.iter().map(|piece| u64::from(piece[PIECE_BYTES / 2])).sum::<u64>()
    };
    thread::Builder::new().spawn(visit).is_ok_and(|thread| thread.join().is_ok_and(|sum| sum > 0))
}

/// The guest's balloon: it is blown up a little and let out again.
struct Balloon {
    full_kib: u64,
    is_small: bool,
    seen_kib: u64,
    due: Instant,
}

impl Balloon {
    /// `None` where there is none, outside of a Xen guest.
    fn find() -> Option<Self> {
        let full_kib = number("target_kb")?;
        let due = Instant::now();
        Some(Self { full_kib, is_small: false, seen_kib: number("info/current_kb")?, due })
    }

    /// Moves it when it is time to, and says whether the guest's memory has become another since it
    /// was asked last.
    fn step(&mut self) -> bool {
        if Instant::now() >= self.due {
            self.due = Instant::now() + BALLOON_EVERY;
            self.is_small = !self.is_small;
            let target = self.full_kib - if self.is_small { BALLOON_KIB } else { 0 };
            // Refused or not is seen in what the guest has.
            let _ = fs::write(format!("{BALLOON}/target_kb"), target.to_string());
        }
        let now = number("info/current_kb").unwrap_or(self.seen_kib);
        std::mem::replace(&mut self.seen_kib, now) != now
    }
}

fn number(name: &str) -> Option<u64> {
    fs::read_to_string(format!("{BALLOON}/{name}")).ok()?.trim().parse().ok()
}
