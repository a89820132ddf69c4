//! Memory that need not travel: clean page cache is dropped, free memory given back.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// How often it is looked how far the balloon is.
const LOOK: Duration = Duration::from_millis(20);
/// Free memory is taken in pieces of this size, to be zeroed.
const CHUNK_KIB: u64 = 4 << 10;
const PAGE_BYTES: usize = 4096;
/// The balloon's target is in whole pages: the kernel rounds what is set, and what it says then is not
/// what was set.
const PAGE_KIB: u64 = 4;
/// Giving back less is not worth it.
const WORTHWHILE_KIB: u64 = 1024;

/// Where the kernel lets us do that.
#[derive(Clone, Debug)]
pub struct Files {
    /// `/proc/sys/vm/drop_caches`
    pub drop_caches: PathBuf,
    /// `/proc/meminfo`
    pub meminfo: PathBuf,
    /// `/sys/devices/system/xen_memory/xen_memory0`
    pub balloon: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            drop_caches: "/proc/sys/vm/drop_caches".into(),
            meminfo: "/proc/meminfo".into(),
            balloon: "/sys/devices/system/xen_memory/xen_memory0".into(),
        }
    }
}

/// What the balloon was set to, and by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Before.
    pub was_kib: u64,
    /// Since.
    pub set_kib: u64,
}

impl Files {
    /// Drops clean page cache, and nothing else: no writing back, no inodes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn drop_cache(&self) -> io::Result<()> {
        fs::write(&self.drop_caches, "1")
    }

    /// Memory that is free and need not be, so that about `reserve_kib` stay free.
    fn spare_kib(&self, reserve_kib: Option<u64>) -> Option<u64> {
        let meminfo = fs::read_to_string(&self.meminfo).ok()?;
        let total_kib = field_kib(&meminfo, "MemTotal:")?;
        let free_kib = field_kib(&meminfo, "MemFree:")?;
        let reserve_kib = reserve_kib.unwrap_or((total_kib / 16).max(16 << 10));
        Some(free_kib.saturating_sub(reserve_kib))
    }

    /// Overwrites free memory with zeroes, but for a reserve, and leaves it free. Returns how much, in
    /// KiB. Stops when it is time, when memory gets short, or when it is told to.
    pub fn zero_free(&self, reserve_kib: Option<u64>, until: Instant, cancel: &AtomicBool) -> u64 {
        let wanted_kib = self.spare_kib(reserve_kib).unwrap_or(0);
        let mut taken: Vec<Vec<u8>> = Vec::new();
        let mut taken_kib = 0;
        while taken_kib + CHUNK_KIB <= wanted_kib
            && Instant::now() < until
            && !cancel.load(Ordering::Relaxed)
            && self.spare_kib(reserve_kib).is_some_and(|spare_kib| spare_kib >= CHUNK_KIB)
        {
            // The kernel gives it zeroed, page by page, as it is touched.
            let mut chunk = vec![0; (CHUNK_KIB << 10) as usize];
            for page in chunk.chunks_mut(PAGE_BYTES) {
                page[0] = black_box(0);
            }
            taken.push(black_box(chunk));
            taken_kib += CHUNK_KIB;
        }
        taken_kib
    }

    /// What the balloon could be set to, so that about `reserve_kib` stay free. `None` if that is
    /// not worth it, or there is no balloon.
    #[must_use]
    pub fn plan(&self, reserve_kib: Option<u64>) -> Option<Target> {
        let give_kib = self.spare_kib(reserve_kib)? / PAGE_KIB * PAGE_KIB;
        let was_kib = self.target_kib()?;
        (give_kib >= WORTHWHILE_KIB && was_kib > give_kib)
            .then(|| Target { was_kib, set_kib: was_kib - give_kib })
    }

    /// Sets the balloon, and waits until the memory is given back, at most until `until`. Returns
    /// how much was, in KiB.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn give_back(
        &self,
        target: Target,
        until: Instant,
        cancel: &AtomicBool,
    ) -> io::Result<u64> {
        let before_kib = self.current_kib();
        fs::write(self.balloon.join("target_kb"), target.set_kib.to_string())?;
        while self.current_kib() > target.set_kib
            && Instant::now() < until
            && !cancel.load(Ordering::Relaxed)
        {
            thread::sleep(LOOK);
        }
        Ok(before_kib.saturating_sub(self.current_kib()))
    }

    /// Sets the balloon back, unless somebody else has set it meanwhile.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take_back(&self, target: Target) -> io::Result<()> {
        if self.target_kib() == Some(target.set_kib) {
            fs::write(self.balloon.join("target_kb"), target.was_kib.to_string())?;
        }
        Ok(())
    }

    fn target_kib(&self) -> Option<u64> {
        number_in(&self.balloon.join("target_kb"))
    }

    fn current_kib(&self) -> u64 {
        number_in(&self.balloon.join("info/current_kb")).unwrap_or(0)
    }
}

fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn field_kib(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path, free_kib: u64, target_kib: u64) -> Files {
        let files = Files {
            drop_caches: folder.join("drop_caches"),
            meminfo: folder.join("meminfo"),
            balloon: folder.join("balloon"),
        };
        fs::create_dir_all(files.balloon.join("info")).unwrap();
        let text = format!("MemTotal:  1048576 kB\nMemFree:   {free_kib} kB\n");
        fs::write(&files.meminfo, text).unwrap();
        fs::write(files.balloon.join("target_kb"), format!("{target_kib}\n")).unwrap();
        fs::write(files.balloon.join("info/current_kb"), format!("{target_kib}\n")).unwrap();
        files
    }

    #[test]
    fn what_is_free_is_given_back_but_for_a_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path(), 500_000, 1_048_576);
        let target = files.plan(Some(100_000)).unwrap();
        assert_eq!(target, Target { was_kib: 1_048_576, set_kib: 648_576 });
        let default = files.plan(None).unwrap();
        assert_eq!(default.set_kib, 1_048_576 - 500_000 + 65_536);
        assert_eq!(files.plan(Some(499_500)), None, "not worth it");
        let odd = files.plan(Some(100_003)).unwrap();
        assert_eq!(odd.set_kib, 1_048_576 - 399_996, "whole pages");
        assert_eq!(files.plan(Some(900_000)), None);
    }

    #[test]
    fn the_balloon_is_set_back_unless_somebody_else_has_set_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path(), 500_000, 1_048_576);
        let target = files.plan(Some(0)).unwrap();
        let until = Instant::now() + Duration::from_millis(60);
        let given = files.give_back(target, until, &AtomicBool::new(false)).unwrap();
        assert_eq!(given, 0, "nothing moves in a folder of files");
        assert_eq!(files.target_kib(), Some(target.set_kib));
        files.take_back(target).unwrap();
        assert_eq!(files.target_kib(), Some(target.was_kib));

        fs::write(files.balloon.join("target_kb"), "777").unwrap();
        files.take_back(target).unwrap();
        assert_eq!(files.target_kib(), Some(777));
    }

    #[test]
    fn free_memory_is_zeroed_but_for_a_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path(), 110_000, 1_048_576);
        let (goes_on, long) = (AtomicBool::new(false), Duration::from_secs(60));
        let zero = |reserve_kib, time, cancel| {
            files.zero_free(Some(reserve_kib), Instant::now() + time, cancel)
        };
        assert_eq!(zero(100_000, long, &goes_on), 8192, "whole chunks");
        assert_eq!(zero(110_000, long, &goes_on), 0);
        assert_eq!(zero(0, Duration::ZERO, &goes_on), 0);
        assert_eq!(zero(0, long, &AtomicBool::new(true)), 0);
    }

    #[test]
    fn a_machine_without_balloon_has_no_plan() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = files(folder.path(), 500_000, 1_048_576);
        files.balloon = folder.path().join("nowhere");
        assert_eq!(files.plan(None), None);
    }
}
