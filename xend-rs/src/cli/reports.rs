//! The reports of migrations that are kept.

use std::io;
use std::path::Path;
use std::time::SystemTime;
use std::{fs, process};

use crate::toolstack::journal::now_s;
use crate::toolstack::migrate::Report;

/// Where they are.
const FOLDER: &str = "/var/lib/xend/reports";
/// How many.
const KEPT: usize = 100;

/// Keeps a report, where `text` is what it says, and forgets the oldest beyond the last hundred.
pub(super) fn keep(report: &Report, text: &str) {
    if let Err(error) = keep_in(Path::new(FOLDER), &report.name, text) {
        log::warn!("cannot keep the report in {FOLDER}: {error}");
    }
}

fn keep_in(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let name = format!("{}-{}.json", name.replace('/', "_"), now_s());
    // Whole or not at all.
    let new = folder.join(format!("{name}.{}", process::id()));
    fs::write(&new, text)?;
    fs::rename(&new, folder.join(name))?;
    forget_oldest(folder)
}

fn forget_oldest(folder: &Path) -> io::Result<()> {
    let mut reports: Vec<(SystemTime, _)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Of one that another process has just removed nothing is known, nor of interest.
        if path.extension().is_some_and(|extension| extension == "json")
            && let Ok(changed) = path.metadata().and_then(|metadata| metadata.modified())
        {
            reports.push((changed, path));
        }
    }
    reports.sort();
    let many = reports.len().saturating_sub(KEPT);
    for (_, path) in &reports[..many] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_newest_are_kept_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for n in 0..KEPT + 20 {
            let file = File::create(at(&format!("{:03}.json", 999 - n))).unwrap();
            let age = Duration::from_secs(10_000 - n as u64);
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        fs::write(at("notes.txt"), "mine").unwrap();
        keep_in(folder.path(), "a/b", "{}\n").unwrap();
        let names = || fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name());
        assert_eq!(names().count(), KEPT + 1);
        assert!(at("notes.txt").exists());
        // The oldest had the highest names.
        assert!(!at("999.json").exists() && !at("979.json").exists());
        assert!(at("978.json").exists());
        let kept: Vec<_> = names().filter_map(|name| name.into_string().ok()).collect();
        let new = kept.iter().find(|name| name.starts_with("a_b-")).expect("the new one");
        assert_eq!(fs::read_to_string(at(new)).unwrap(), "{}\n");
    }
}
