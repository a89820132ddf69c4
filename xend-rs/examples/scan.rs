//! How fast a digest scan is on this machine, against a plain copy of memory: `make bench-scan`.
//!
//! The engine itself saves a guest that is ordinary memory of this process and does not change, to
//! nowhere; what is measured is the last pass, in which all memory is read and nothing travels.

use std::hint::black_box;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use xend_rs::hypervisor::types::{Domid, PAGE_SIZE, Pfn};
use xend_rs::hypervisor::{
    DirtyStats, Liveness, LogDirtySupport, PageBatch, PfnSet, Result, Sieve, SourceGuest,
};
use xend_rs::migration::progress::Progress;
use xend_rs::migration::rate::Rate;
use xend_rs::migration::toolstack::{SourceToolstack, ToolstackError};
use xend_rs::migration::{Cancel, SaveOptions, Sink, Tracking, save};
use xend_rs::stream::libxc::{GuestType, PageEntry, PageType, Record};

const MIB: usize = 1 << 20;
const DEFAULT_MIB: usize = 1024;
/// The best of so many runs counts: what else the machine does can only make one slower.
const RUNS: usize = 5;
/// What a scan should reach of the bandwidth of a copy.
const TARGET: f64 = 0.6;

fn main() {
    let mib = std::env::args().nth(1).map_or(DEFAULT_MIB, |arg| arg.parse().expect("MiB"));
    let memory: Vec<u8> = (0..mib * MIB).map(|n| ((n / 64 * 31) >> 3) as u8).collect();
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    println!("{mib} MiB, best of {RUNS} runs, GiB/s per core");
    let mut good = true;
    for threads in [1, cores].into_iter().take(if cores > 1 { 2 } else { 1 }) {
        let best = |run: &dyn Fn() -> f64| (0..RUNS).map(|_| run()).fold(0.0, f64::max);
        let copy = best(&|| copy_gib_per_s(&memory, threads)) / threads as f64;
        let scan = best(&|| scan_gib_per_s(&memory, threads)) / threads as f64;
        let ratio = scan / copy;
        good &= ratio >= TARGET;
        println!(
            "{threads} thread(s): copy {copy:.2}, scan {scan:.2}, {:.0} % of it",
            ratio * 100.0
        );
    }
    if !good {
        println!("less than {:.0} %", TARGET * 100.0);
        std::process::exit(1);
    }
}

/// Copies all of `memory` to other memory, which has been touched before.
fn copy_gib_per_s(memory: &[u8], threads: usize) -> f64 {
    let mut to = vec![1u8; memory.len()];
    let part = memory.len().div_ceil(threads);
    let started = Instant::now();
    thread::scope(|scope| {
        for (to, from) in to.chunks_mut(part).zip(memory.chunks(part)) {
            scope.spawn(move || to.copy_from_slice(from));
        }
    });
    let elapsed = started.elapsed();
    black_box(&to);
    gib_per_s(memory.len(), elapsed)
}

/// Saves `memory` and gives how fast the last pass was.
fn scan_gib_per_s(memory: &[u8], threads: usize) -> f64 {
    let mut guest = Guest { memory, window: Vec::new() };
    let options = SaveOptions {
        tracking: Tracking::Digest,
        readers: NonZeroUsize::new(threads).expect("at least one"),
        ..SaveOptions::stock(true)
    };
    let report = save(&mut guest, &mut Nobody, &mut Nowhere, &options, &Cancel::default())
        .expect("nothing can fail");
    assert_eq!(report.last_pass.read_pages as usize, memory.len() / PAGE_SIZE);
    assert_eq!(report.last_pass.data_pages, 0);
    gib_per_s(memory.len(), report.last_pass.duration)
}

fn gib_per_s(bytes: usize, elapsed: Duration) -> f64 {
    bytes as f64 / elapsed.as_secs_f64() / (1024.0 * MIB as f64)
}

/// A guest that is a slice of this process's memory.
struct Guest<'a> {
    memory: &'a [u8],
    window: Vec<Pfn>,
}

impl SourceGuest for Guest<'_> {
    fn domid(&self) -> Domid {
        Domid(1)
    }

    fn guest_type(&self) -> GuestType {
        GuestType::X86Hvm
    }

    fn xen_version(&self) -> (u32, u32) {
        (4, 17)
    }

    fn pfn_count(&self) -> u64 {
        (self.memory.len() / PAGE_SIZE) as u64
    }

    fn static_records(&mut self) -> Result<Vec<Record>> {
        Ok(Vec::new())
    }

    fn layout_records(&mut self) -> Result<Vec<Record>> {
        Ok(Vec::new())
    }

    fn log_dirty_support(&mut self) -> Result<LogDirtySupport> {
        Ok(LogDirtySupport::Missing("this is ordinary memory".to_owned()))
    }

    fn has_passed_through_device(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn enable_log_dirty(&mut self) -> Result<()> {
        unreachable!("it is said to be missing")
    }

    fn peek_dirty(&mut self, _: &mut PfnSet) -> Result<()> {
        unreachable!("it is said to be missing")
    }

    fn enable_log_dirty_unless_on(&mut self) -> Result<()> {
        unreachable!("it is said to be missing")
    }

    fn take_dirty(&mut self, _: &mut PfnSet, _: Liveness) -> Result<DirtyStats> {
        unreachable!("it is said to be missing")
    }

    fn disable_log_dirty(&mut self) -> Result<()> {
        Ok(())
    }

    fn map_window(&mut self, pfns: &[Pfn]) -> Result<()> {
        self.window.clear();
        self.window.extend(pfns);
        Ok(())
    }

    fn read_batch(
        &self,
        pages: Range<usize>,
        _: Liveness,
        sieve: &dyn Sieve,
        batch: &mut PageBatch,
    ) -> Result<()> {
        for &pfn in &self.window[pages] {
            let start = batch.data.len();
            let from = pfn.0 as usize * PAGE_SIZE;
            batch.data.extend_from_slice(&self.memory[from..from + PAGE_SIZE]);
            batch.read_pages += 1;
            batch.add(PageEntry { pfn, page_type: PageType::Normal }, start, sieve);
        }
        Ok(())
    }

    fn check_layout(&mut self) -> Result<()> {
        Ok(())
    }

    fn confirm_suspended(&mut self) -> Result<bool> {
        Ok(true)
    }

    fn suspended_records(&mut self) -> Result<Vec<Record>> {
        Ok(Vec::new())
    }
}

/// A toolstack of a guest that cannot run.
struct Nobody;

impl SourceToolstack for Nobody {
    fn suspend(&mut self) -> std::result::Result<(), ToolstackError> {
        Ok(())
    }

    fn resume(&mut self) -> std::result::Result<(), ToolstackError> {
        Ok(())
    }

    fn set_device_model_log_dirty(&mut self, _: bool) -> std::result::Result<(), ToolstackError> {
        Ok(())
    }

    fn progress(&mut self, _: &Progress) {}
}

/// A receiver that takes everything.
struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Nowhere {
    fn wait_until_taken(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn set_rate(&mut self, _: Option<Rate>) {}
}
