//! A disk under test: blocks written and read back, past the page cache, by a thread of its own.
//!
//! A request that waits for its disk must not hold up the answers, and a disk that is away for the
//! length of a migration is nothing wrong: it shows in the age of the last request that was done.

use crate::page::{PAGE_BYTES, Page, mix};
use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Blocks of [`PAGE_BYTES`] that are written, from the start of the disk.
const BLOCKS: usize = 128;
/// How many faults are described; the rest are only counted.
const DESCRIBED: usize = 8;

/// What a disk transfers from and to: O_DIRECT wants it aligned.
#[repr(C, align(4096))]
struct Buffer([u8; PAGE_BYTES]);

impl Buffer {
    fn of(page: &Page) -> Box<Self> {
        let mut buffer = Box::new(Self([0; PAGE_BYTES]));
        page.write_to(&mut buffer.0);
        buffer
    }

    fn seq(&self) -> u64 {
        self.0.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
    }
}

/// Running totals.
struct Figures {
    writes: u64,
    reads: u64,
    wrong: u64,
    errors: u64,
    last_ok: Instant,
    described: Vec<String>,
}

impl Figures {
    fn describe(&mut self, fault: String) {
        if self.described.len() < DESCRIBED {
            self.described.push(fault);
        }
    }
}

/// Where the thread's figures are read.
pub(crate) struct Disk(Arc<Mutex<Figures>>);

impl Disk {
    /// Opens the disk, writes every block once, and starts the thread, which takes one block at
    /// random `per_s` times a second, compares it with what was last written there, and writes it
    /// anew.
    ///
    /// # Errors
    /// When the disk cannot be opened or written, or the system refuses a thread.
    pub(crate) fn start(path: &Path, per_s: u64) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags((OFlag::O_DIRECT | OFlag::O_DSYNC).bits())
            .open(path)
            .with_context(|| format!("cannot open the disk {}", path.display()))?;
        let mut writer = Writer::new(file);
        for block in 0..BLOCKS {
            writer
                .write(block)
                .with_context(|| format!("cannot write the disk {}", path.display()))?;
        }
        let disk = Self(Arc::clone(&writer.figures));
        let period = Duration::from_secs(1) / u32::try_from(per_s).unwrap_or(u32::MAX).max(1);
        thread::Builder::new()
            .name("disk".into())
            .spawn(move || {
                loop {
                    writer.turn();
                    thread::sleep(period);
                }
            })
            .context("cannot start the disk's thread")?;
        Ok(disk)
    }

    /// Adds the figures to a report.
    pub(crate) fn add_to(&self, report: &mut Value) {
        let figures = lock(&self.0);
        report["disk_writes"] = json!(figures.writes);
        report["disk_reads"] = json!(figures.reads);
        report["disk_wrong"] = json!(figures.wrong);
        report["disk_errors"] = json!(figures.errors);
        let age_ms = u64::try_from(figures.last_ok.elapsed().as_millis()).unwrap_or(u64::MAX);
        report["disk_last_ok_age_ms"] = json!(age_ms);
        report["disk_faults"] = json!(figures.described);
    }
}

fn lock(figures: &Mutex<Figures>) -> MutexGuard<'_, Figures> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's side.
struct Writer {
    file: File,
    /// What each block was last written with; nothing where that is not known.
    seqs: Vec<Option<u64>>,
    next_seq: u64,
    chooser: u64,
    page: Page,
    figures: Arc<Mutex<Figures>>,
}

impl Writer {
    fn new(file: File) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // What another guest left on the disk must not pass for ours.
        let first_seq = mix(u64::try_from(now.as_nanos()).unwrap_or(0)) >> 8;
        Self {
            file,
            seqs: vec![None; BLOCKS],
            next_seq: first_seq,
            chooser: first_seq,
            page: Page::zeroed(),
            figures: Arc::new(Mutex::new(Figures {
                writes: 0,
                reads: 0,
                wrong: 0,
                errors: 0,
                last_ok: Instant::now(),
                described: Vec::new(),
            })),
        }
    }

    /// One block: compared, and written anew.
    fn turn(&mut self) {
        self.chooser = self.chooser.wrapping_add(1);
        let block = usize::try_from(mix(self.chooser) >> 32).unwrap_or(0) % BLOCKS;
        let done = self.check(block).and_then(|()| self.write(block));
        if let Err(error) = done {
            let mut figures = lock(&self.figures);
            figures.errors += 1;
            figures.describe(format!("block {block}: {error}"));
        }
    }

    fn check(&mut self, block: usize) -> std::io::Result<()> {
        let Some(expected_seq) = self.seqs[block] else { return Ok(()) };
        self.page.fill(block as u64, expected_seq);
        let expected = Buffer::of(&self.page);
        let mut found = Box::new(Buffer([0; PAGE_BYTES]));
        self.file.read_exact_at(&mut found.0, offset(block))?;
        let mut figures = lock(&self.figures);
        figures.reads += 1;
        figures.last_ok = Instant::now();
        if let Some(at) = expected.0.iter().zip(&found.0).position(|(ours, there)| ours != there) {
            figures.wrong += 1;
            let found_seq = found.seq();
            figures.describe(format!(
                "block {block}: sequence number {expected_seq} was written, byte {at} differs, \
                 {found_seq} is there"
            ));
        }
        Ok(())
    }

    fn write(&mut self, block: usize) -> std::io::Result<()> {
        self.next_seq = self.next_seq.wrapping_add(1);
        self.page.fill(block as u64, self.next_seq);
        // A write that fails may have been done or not.
        self.seqs[block] = None;
        self.file.write_all_at(&Buffer::of(&self.page).0, offset(block))?;
        self.seqs[block] = Some(self.next_seq);
        let mut figures = lock(&self.figures);
        figures.writes += 1;
        figures.last_ok = Instant::now();
        Ok(())
    }
}

fn offset(block: usize) -> u64 {
    (block * PAGE_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Writer {
        let mut writer = Writer::new(tempfile::tempfile().expect("a file"));
        for block in 0..BLOCKS {
            writer.write(block).expect("written");
        }
        writer
    }

    fn counts(writer: &Writer) -> (u64, u64, u64, u64) {
        let figures = lock(&writer.figures);
        (figures.writes, figures.reads, figures.wrong, figures.errors)
    }

    #[test]
    fn every_turn_reads_what_was_written_and_writes_anew() {
        let mut writer = writer();
        for _ in 0..300 {
            writer.turn();
        }
        assert_eq!(counts(&writer), (BLOCKS as u64 + 300, 300, 0, 0));
    }

    #[test]
    fn a_block_written_by_another_or_an_older_one_is_wrong() {
        let mut writer = writer();
        let mut old = [0; PAGE_BYTES];
        writer.file.read_exact_at(&mut old, offset(5)).expect("read");
        writer.write(5).expect("written");
        writer.file.write_all_at(&old, offset(5)).expect("put back");
        writer.check(5).expect("read");
        assert_eq!(counts(&writer).2, 1);
        // Block 6 in the place of block 7.
        writer.file.read_exact_at(&mut old, offset(6)).expect("read");
        writer.file.write_all_at(&old, offset(7)).expect("moved");
        writer.check(7).expect("read");
        assert_eq!(counts(&writer).2, 2);
        let described = lock(&writer.figures).described.clone();
        assert!(described[0].starts_with("block 5: sequence number"), "{described:?}");
    }

    #[test]
    fn errors_are_counted_and_the_block_is_unknown_until_it_is_written_again() {
        let mut writer = writer();
        let file = std::mem::replace(&mut writer.file, File::open("/dev/null").expect("null"));
        writer.turn();
        assert_eq!(counts(&writer).3, 1);
        assert!(writer.write(3).is_err(), "it is open for reading only");
        writer.file = file;
        writer.check(3).expect("nothing to compare");
        assert_eq!(counts(&writer).1, 0);
        writer.write(3).expect("written");
        writer.check(3).expect("read");
        assert_eq!((counts(&writer).1, counts(&writer).2), (1, 0));
    }
}
