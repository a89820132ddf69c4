//! One process of a guest besides its workload: a writer that dirties its memory, or a reader that
//! only looks at it.
//!
//! `guest-process writer|reader MIB PAGES_PER_S PORT`. Whatever is sent to its UDP port is answered
//! with its figures; it does not answer while something holds it still, which is what it is for.

#![forbid(unsafe_code)]

use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

const PAGE_BYTES: usize = 4096;
const MAX_MIB: usize = 1 << 20;
/// A longer turn would keep others in a guest of one processor waiting.
const TURN: Duration = Duration::from_millis(1);
/// How long it sleeps in its socket when nothing is due.
const NAP: Duration = Duration::from_millis(2);
/// After a stall no more than this is caught up.
const MAX_DEBT: Duration = Duration::from_millis(100);
const NS_PER_S: u64 = 1_000_000_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("LAB-FAILED guest-process {}: {error:#}", arguments.join(" "));
            ExitCode::FAILURE
        }
    }
}

/// What it does to a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Writer,
    Reader,
}

fn run(arguments: &[String]) -> Result<()> {
    let [role, mib, pages_per_s, port] = arguments else {
        bail!("usage: guest-process writer|reader MIB PAGES_PER_S PORT")
    };
    let role = match role.as_str() {
        "writer" => Role::Writer,
        "reader" => Role::Reader,
        other => bail!("{other} is neither writer nor reader"),
    };
    let mib: usize = mib.parse().context("MIB")?;
    ensure!((1..=MAX_MIB).contains(&mib), "MIB is 1 to {MAX_MIB}");
    let pages_per_s: u64 = pages_per_s.parse().context("PAGES_PER_S")?;
    ensure!((1..=10_000_000).contains(&pages_per_s), "PAGES_PER_S is 1 to 10000000");
    let port: u16 = port.parse().context("PORT")?;
    let socket = UdpSocket::bind(("0.0.0.0", port)).context("cannot have the port")?;
    socket.set_read_timeout(Some(NAP))?;
    Process::new(role, mib, pages_per_s).work(&socket)
}

struct Process {
    role: Role,
    memory: Vec<u8>,
    pages_per_s: u64,
    next_page: usize,
    done_pages: u64,
    /// What the reader saw, so that it must look.
    sum: u64,
    started: Instant,
    longest_gap: Duration,
}

impl Process {
    fn new(role: Role, mib: usize, pages_per_s: u64) -> Self {
        // Not zero: such pages need not travel.
        let mut memory = vec![0; mib << 20];
        for (page, bytes) in memory.chunks_exact_mut(PAGE_BYTES).enumerate() {
            fill(bytes, page as u64 + 1);
        }
        let started = Instant::now();
        Self {
            role,
            memory,
            pages_per_s,
            next_page: 0,
            done_pages: 0,
            sum: 0,
            started,
            longest_gap: Duration::ZERO,
        }
    }

    fn work(mut self, socket: &UdpSocket) -> Result<()> {
        let mut request = [0; 64];
        let mut last = Instant::now();
        // In units of 1e-9 page.
        let mut debt = 0;
        loop {
            let now = Instant::now();
            let since = now - last;
            last = now;
            self.longest_gap = self.longest_gap.max(since);
            let limit = self.pages_per_s * MAX_DEBT.as_nanos() as u64;
            let due = since.min(MAX_DEBT).as_nanos() as u64 * self.pages_per_s;
            debt = (debt + due).min(limit.max(2 * NS_PER_S));
            while debt >= NS_PER_S && now.elapsed() < TURN {
                self.step();
                debt -= NS_PER_S;
            }
            socket.set_nonblocking(debt >= NS_PER_S).context("the socket")?;
            // The network of a guest goes and comes back in a migration.
            if let Ok((_, client)) = socket.recv_from(&mut request) {
                let _ = socket.send_to(self.figures().as_bytes(), client);
            }
        }
    }

    fn step(&mut self) {
        let start = self.next_page * PAGE_BYTES;
        let page = &mut self.memory[start..start + PAGE_BYTES];
        match self.role {
            Role::Writer => fill(page, self.done_pages),
            Role::Reader => {
                self.sum = page.iter().fold(self.sum, |sum, &byte| sum.wrapping_add(byte.into()));
            }
        }
        self.done_pages += 1;
        self.next_page = (self.next_page + 1) % (self.memory.len() / PAGE_BYTES);
    }

    fn figures(&self) -> String {
        json!({
            "done_pages": self.done_pages,
            "uptime_ms": self.started.elapsed().as_millis() as u64,
            "longest_gap_ms": self.longest_gap.as_millis() as u64,
            "sum": self.sum,
        })
        .to_string()
    }
}

/// Something else for each seed, in every word.
fn fill(page: &mut [u8], seed: u64) {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for bytes in page.chunks_exact_mut(8) {
        word = word.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(17);
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}
