//! How much each process writes, by the kernel's soft-dirty bits.
//!
//! Writing 4 to `/proc/PID/clear_refs` makes the next write to each page leave a mark, which
//! `/proc/PID/pagemap` shows. What is counted is different pages within a window, which is what a
//! migration has to send again. Only processes that have used the processor are looked at: the others
//! cannot have written.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::process::{Look, Process};

/// Bytes in a page.
const PAGE: u64 = 4096;
/// Bytes in an entry of a pagemap.
const ENTRY: u64 = 8;
/// Written to since the marks were cleared.
const SOFT_DIRTY: u64 = 1 << 55;
/// In memory.
const PRESENT: u64 = 1 << 63;
/// How much of a pagemap is read at once.
const CHUNK: usize = 64 << 10;
/// The most of one process's pagemap that is read: 32 GiB of address space. What lies beyond is not
/// counted.
const MOST: u64 = 64 << 20;
const CLEAR_SOFT_DIRTY: &str = "4";

/// What a process wrote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Written {
    /// Which.
    pub process: Process,
    /// Bytes in different pages.
    pub bytes: u64,
    /// In how long.
    pub window: Duration,
}

/// Measures in windows.
#[derive(Debug)]
pub struct Meter {
    proc: PathBuf,
    seen: HashMap<Process, Seen>,
}

#[derive(Debug)]
struct Seen {
    ticks: u64,
    cleared_at: Option<Instant>,
}

/// Whether this kernel marks what is written.
#[must_use]
pub fn is_supported() -> bool {
    let try_it = || -> io::Result<bool> {
        let mut page = black_box(vec![1_u8; 2 * PAGE as usize]);
        let address = page.as_ptr() as u64 / PAGE * PAGE + PAGE;
        let pagemap = File::open("/proc/self/pagemap")?;
        let marked = || -> io::Result<bool> {
            let mut entry = [0; ENTRY as usize];
            pagemap.read_exact_at(&mut entry, address / PAGE * ENTRY)?;
            Ok(u64::from_ne_bytes(entry) & SOFT_DIRTY != 0)
        };
        fs::write("/proc/self/clear_refs", CLEAR_SOFT_DIRTY)?;
        let before = marked()?;
        let at = address as usize - page.as_ptr() as usize;
        page[at] = black_box(2);
        black_box(&page);
        Ok(!before && marked()?)
    };
    try_it().unwrap_or(false)
}

impl Meter {
    /// Begins with no marks cleared: the first window tells nothing.
    #[must_use]
    pub fn new(proc: &Path) -> Self {
        Self { proc: proc.to_path_buf(), seen: HashMap::new() }
    }

    /// Ends a window and begins the next.
    pub fn window(&mut self, candidates: &[Look]) -> Vec<Written> {
        let mut seen = HashMap::with_capacity(candidates.len());
        let mut written = Vec::new();
        for look in candidates {
            let process = look.process;
            let before = self.seen.remove(&process);
            let is_active = before.as_ref().is_none_or(|before| before.ticks != look.ticks);
            let mut cleared_at = before.and_then(|before| before.cleared_at);
            if let Some(at) = cleared_at {
                // One that has ended meanwhile has nothing to tell.
                let bytes = if is_active { self.marked_bytes(process.pid).ok() } else { Some(0) };
                let window = at.elapsed();
                written.extend(bytes.map(|bytes| Written { process, bytes, window }));
            }
            if is_active {
                cleared_at = self.clear(process.pid).ok().map(|()| Instant::now());
            } else if cleared_at.is_some() {
                // Its marks are still cleared.
                cleared_at = Some(Instant::now());
            }
            seen.insert(process, Seen { ticks: look.ticks, cleared_at });
        }
        self.seen = seen;
        written
    }

    /// Clears one process's marks, to count them [later](Self::since). For those that are not in the
    /// windows.
    ///
    /// # Errors
    /// When it has ended.
    pub fn begin(&self, process: Process) -> io::Result<()> {
        self.clear(process.pid)
    }

    /// What it wrote since its marks were cleared, in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn since(&self, process: Process) -> io::Result<u64> {
        self.marked_bytes(process.pid)
    }

    fn clear(&self, pid: i32) -> io::Result<()> {
        fs::write(self.file(pid, "clear_refs"), CLEAR_SOFT_DIRTY)
    }

    fn marked_bytes(&self, pid: i32) -> io::Result<u64> {
        // Names of mapped files need not be text.
        let maps = fs::read(self.file(pid, "maps"))?;
        let maps = String::from_utf8_lossy(&maps);
        let pagemap = File::open(self.file(pid, "pagemap"))?;
        let (mut pages, mut read) = (0, 0);
        let mut buffer = vec![0; CHUNK];
        for (first, end) in maps.lines().filter_map(writable_pages) {
            let (mut at, end) = (first * ENTRY, end * ENTRY);
            while at < end && read < MOST {
                let length = (end - at).min(CHUNK as u64) as usize;
                let got = pagemap.read_at(&mut buffer[..length], at)?;
                if got < ENTRY as usize {
                    break;
                }
                pages += marked(&buffer[..got]);
                at += got as u64;
                read += got as u64;
            }
        }
        Ok(pages * PAGE)
    }

    fn file(&self, pid: i32, name: &str) -> PathBuf {
        self.proc.join(pid.to_string()).join(name)
    }
}

/// First page and the one after the last of a mapping that can be written to.
fn writable_pages(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (first, end) = words.next()?.split_once('-')?;
    let is_writable = words.next()?.as_bytes().get(1) == Some(&b'w');
    let page = |text: &str| u64::from_str_radix(text, 16).ok().map(|address| address / PAGE);
    let (first, end) = (page(first)?, page(end)?);
    (is_writable && first < end).then_some((first, end))
}

fn marked(entries: &[u8]) -> u64 {
    let (entries, _) = entries.as_chunks::<{ ENTRY as usize }>();
    let is_marked = |entry: &&[u8; ENTRY as usize]| {
        let entry = u64::from_ne_bytes(**entry);
        entry & PRESENT != 0 && entry & SOFT_DIRTY != 0
    };
    entries.iter().filter(is_marked).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_written_is_counted() {
        let line = "7f0000001000-7f0000003000 rw-p 00000000 00:00 0  [heap]";
        assert_eq!(writable_pages(line), Some((0x7_f000_0001, 0x7_f000_0003)));
        assert_eq!(writable_pages("7f0000001000-7f0000003000 r-xp 0 00:00 0"), None);
        assert_eq!(writable_pages("7f0000003000-7f0000001000 rw-p 0 00:00 0"), None);
        assert_eq!(writable_pages("nonsense"), None);
    }

    #[test]
    fn a_mark_counts_where_there_is_a_page() {
        let entries = [PRESENT | SOFT_DIRTY, PRESENT, SOFT_DIRTY, 0, PRESENT | SOFT_DIRTY | 5];
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_ne_bytes()).collect();
        assert_eq!(marked(&bytes), 2);
        assert_eq!(marked(&bytes[..7]), 0);
    }

    /// With a kernel that has the marks: what this process writes is seen, and not much more. Without:
    /// that is said.
    #[test]
    fn this_process_is_measured_if_the_kernel_can() {
        let proc = Path::new("/proc");
        let look = |ticks| {
            let pid = std::process::id() as i32;
            Look { ticks, ..crate::process::look(proc, pid).unwrap() }
        };
        let mut meter = Meter::new(proc);
        let mut memory = vec![1_u8; 8 << 20];
        assert_eq!(meter.window(&[look(1)]), []);
        for page in memory.chunks_mut(PAGE as usize) {
            page[0] = black_box(3);
        }
        black_box(&memory);
        let windows = meter.window(&[look(2)]);
        if !is_supported() {
            println!("this kernel has no soft-dirty bits");
            assert!(windows.iter().all(|written| written.bytes == 0), "{windows:?}");
            return;
        }
        let bytes = windows[0].bytes;
        assert!((8 << 20..16 << 20).contains(&bytes), "{bytes}");
        // It has not used the processor since, it is told: so nothing is looked at.
        assert_eq!(meter.window(&[look(2)])[0].bytes, 0);
    }
}
