//! The work between two looks at the socket: writing, sweeping, verifying, each in small slices.

use crate::args::Args;
use crate::churn::Churn;
use crate::console::Console;
use crate::disk::Disk;
use crate::gaps::{Clocks, Gaps};
use crate::memory::{FoundBy, Memory, Wrong};
use crate::pace::{Pace, Rate};
use crate::page::mix;
use crate::tally::Tally;
use crate::verify::Verifier;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// No more than one millisecond each between two looks at the socket.
const WRITE_SLICE: Duration = Duration::from_millis(1);
const VERIFY_SLICE: Duration = Duration::from_millis(1);
/// The sweep may take a twentieth of the CPU.
const SWEEP_SLICE: Duration = Duration::from_micros(250);
const SWEEP_EVERY_NS: u64 = 5_000_000;
const STATUS_EVERY_NS: u64 = 5_000_000_000;

/// All state of the program but its socket.
pub(crate) struct Workload {
    memory: Memory,
    tally: Tally,
    verifier: Verifier,
    hot_pages: usize,
    /// State of the generator that chooses pages.
    chooser: u64,
    writes: u64,
    pace: Pace,
    rate: Rate,
    gaps: Gaps,
    now: Clocks,
    started: Clocks,
    sweep_next: usize,
    last_sweep_ns: u64,
    last_status_ns: u64,
    disk: Option<Disk>,
    console: Console,
    churn: Churn,
}

impl Workload {
    /// Allocates and fills the memory, and starts on the disk if there is to be one.
    ///
    /// # Errors
    /// When memory, a clock or the disk is not to be had.
    pub(crate) fn new(args: &Args, console: Console) -> Result<Self> {
        let memory = Memory::filled(args.pages)
            .with_context(|| format!("cannot allocate {} pages of memory", args.pages))?;
        let disk = args.disk.as_ref().map(|path| Disk::start(path, args.disk_per_s)).transpose()?;
        let now = Clocks::read().context("cannot read the clocks")?;
        Ok(Self {
            tally: Tally::new(args.pages),
            memory,
            verifier: Verifier::default(),
            hot_pages: args.hot_pages,
            chooser: mix(now.realtime_ns),
            writes: 0,
            pace: Pace::new(args.writes_per_s, now.monotonic_ns),
            rate: Rate::new(now.monotonic_ns),
            gaps: Gaps::new(now),
            now,
            started: now,
            sweep_next: 0,
            last_sweep_ns: now.monotonic_ns,
            last_status_ns: now.monotonic_ns,
            disk,
            console,
            churn: Churn::start().context("cannot start the churn thread")?,
        })
    }

    /// Whether there is work that should not wait for the next tick.
    pub(crate) fn is_busy(&self) -> bool {
        self.pace.is_due() || self.verifier.is_running()
    }

    /// Forgets the longest gaps.
    pub(crate) fn reset(&mut self) {
        self.gaps.reset();
    }

    /// See [`Churn::set`].
    pub(crate) fn set_churn(&mut self, per_s: u64) {
        self.churn.set(per_s);
    }

    /// Writes so many pages a second from now on, chosen from so many. Refuses, and changes nothing,
    /// where there are not that many or it is more than can be counted.
    pub(crate) fn set_writes(&mut self, pages_per_s: u64, hot_pages: usize) -> bool {
        let good = pages_per_s <= Pace::MAX_PAGES_PER_S
            && hot_pages <= self.memory.page_count()
            && (hot_pages > 0 || pages_per_s == 0);
        if good {
            self.hot_pages = hot_pages;
            self.pace = Pace::new(pages_per_s, self.now.monotonic_ns);
        }
        good
    }

    /// See [`Verifier::request`].
    pub(crate) fn verify(&mut self, id: &str, client: SocketAddr) -> Option<Value> {
        self.verifier.request(id, client, self.now.monotonic_ns)
    }

    /// To be called at every tick and before every answer.
    ///
    /// # Errors
    /// When a clock cannot be read.
    pub(crate) fn read_clocks(&mut self) -> Result<()> {
        self.now = Clocks::read().context("cannot read the clocks")?;
        self.gaps.observe(self.now);
        Ok(())
    }

    /// To be called at every tick: does a slice of each work that is due. Returns the result of a
    /// verify that is complete, and whom to send it to.
    pub(crate) fn work(&mut self) -> Option<(SocketAddr, Value)> {
        let now_ns = self.now.monotonic_ns;
        self.pace.accrue(now_ns);
        self.write_due_pages();
        self.rate.observe(now_ns, self.writes);
        if self.verifier.is_running() {
            self.verify_slice();
        } else if now_ns >= self.last_sweep_ns + SWEEP_EVERY_NS {
            self.last_sweep_ns = now_ns;
            self.sweep_slice();
        }
        if now_ns >= self.last_status_ns + STATUS_EVERY_NS {
            self.last_status_ns = now_ns;
            self.console.line(self.status_line());
        }
        self.verifier.finish(&self.memory, &self.tally, now_ns)
    }

    fn write_due_pages(&mut self) {
        let begun = Instant::now();
        while self.pace.is_due() && begun.elapsed() < WRITE_SLICE {
            let index = self.choose_hot_page();
            let result = self.memory.rewrite(index);
            let wrong = self.tally.note(index, result);
            self.tally.rewritten(index);
            self.tell(wrong);
            self.writes += 1;
            self.pace.pay();
        }
    }

    fn choose_hot_page(&mut self) -> usize {
        self.chooser = self.chooser.wrapping_add(1);
        // The high half of a 32 by 32 bit product: as good as even, without a division.
        let random = mix(self.chooser) >> 32;
        usize::try_from((random * self.hot_pages as u64) >> 32).unwrap_or(0)
    }

    fn verify_slice(&mut self) {
        let begun = Instant::now();
        for _ in 0..self.memory.page_count() {
            let wrong = self.verifier.step(&mut self.memory, &mut self.tally);
            self.tell(wrong);
            if begun.elapsed() >= VERIFY_SLICE {
                break;
            }
        }
    }

    fn sweep_slice(&mut self) {
        let begun = Instant::now();
        for _ in 0..self.memory.page_count() {
            let index = self.sweep_next;
            self.sweep_next = (index + 1) % self.memory.page_count();
            let result = self.memory.check(index, FoundBy::Sweep);
            let wrong = self.tally.note(index, result);
            self.tell(wrong);
            if begun.elapsed() >= SWEEP_SLICE {
                break;
            }
        }
    }

    fn tell(&self, wrong: Option<Wrong>) {
        if let Some(wrong) = wrong {
            self.console.line(format!("WRONG PAGE {}", wrong.to_json()));
        }
    }

    fn uptime_s(&self) -> u64 {
        self.now.boottime_ns.saturating_sub(self.started.boottime_ns) / 1_000_000_000
    }

    fn writes_per_s(&self) -> u64 {
        self.rate.writes_per_s(self.now.monotonic_ns, self.writes)
    }

    fn status_line(&self) -> String {
        format!(
            "up {} s, {} pages, {} hot, {} writes at {}/s, {} pages checked, {} wrong, \
             longest gap {} ms, {} KiB free",
            self.uptime_s(),
            self.memory.page_count(),
            self.hot_pages,
            self.writes,
            self.writes_per_s(),
            self.tally.checked(),
            self.tally.wrong(),
            self.gaps.longest_ms(),
            mem_free_kib().unwrap_or(0),
        )
    }

    /// All figures.
    pub(crate) fn stats(&self) -> Value {
        let first_wrong: Vec<_> =
            self.tally.first_wrong().iter().map(|wrong| wrong.to_json()).collect();
        let mut stats = json!({
            "pages_total": self.memory.page_count(),
            "hot_pages": self.hot_pages,
            "writes": self.writes,
            "writes_per_s": self.writes_per_s(),
            "verified": self.tally.checked(),
            "wrong": self.tally.wrong(),
            "first_wrong": first_wrong,
            "uptime_s": self.uptime_s(),
            "mem_free_kib": mem_free_kib(),
            "churn": self.churn.stats(),
        });
        self.gaps.add_to(&mut stats);
        if let Some(disk) = &self.disk {
            disk.add_to(&mut stats);
        }
        stats
    }
}

/// Free memory of the whole guest; nothing where the kernel does not tell.
fn mem_free_kib() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemFree:"))?;
    line.split_whitespace().next()?.parse().ok()
}
