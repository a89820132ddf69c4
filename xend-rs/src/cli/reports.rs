//! The reports of migrations that are kept.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, process};

use serde_json::Value;

use crate::toolstack::journal::now_s;
use crate::toolstack::migrate::Report;

/// Where they are.
const FOLDER: &str = "/var/lib/xend/reports";
/// How many.
const KEPT: usize = 100;
/// As many of them say what to expect.
const LATELY: usize = 5;

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

/// What a stop lately took besides the last pass, in migrations to this peer, or to whatever peer if none
/// is named: the middle one of the last few. `None` where there are none.
pub(super) fn stop_without_memory(peer: Option<&str>) -> Option<Duration> {
    stop_without_memory_in(Path::new(FOLDER), peer)
}

fn stop_without_memory_in(folder: &Path, peer: Option<&str>) -> Option<Duration> {
    let reports = by_age(folder).ok()?;
    let told = |(_, path): &(SystemTime, PathBuf)| {
        let report: Value = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
        let is_like_it =
            peer.is_none_or(|peer| report["peer"] == peer) && report["outcome"] == "migrated";
        let steps = report["source"].as_array()?;
        let last_pass = steps.iter().find(|step| step["step"] == "last pass")?["ms"].as_f64()?;
        let rest_ms = report["stopped_ms"].as_f64()? - last_pass;
        (is_like_it && (0.0..3_600_000.0).contains(&rest_ms)).then_some(rest_ms)
    };
    let mut rests_ms: Vec<f64> = reports.iter().rev().filter_map(told).take(LATELY).collect();
    rests_ms.sort_by(f64::total_cmp);
    rests_ms.get(rests_ms.len() / 2).map(|ms| Duration::from_secs_f64(ms / 1000.0))
}

/// The reports there are, oldest first.
fn by_age(folder: &Path) -> io::Result<Vec<(SystemTime, PathBuf)>> {
    let mut reports = Vec::new();
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
    Ok(reports)
}

fn forget_oldest(folder: &Path) -> io::Result<()> {
    let reports = by_age(folder)?;
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

    use super::*;

    #[test]
    fn what_a_stop_takes_is_learnt_from_the_last_few() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(stop_without_memory_in(folder.path(), Some("there")), None);
        for (age_s, peer, outcome, stopped_ms) in [
            (70, "there", "migrated", 9100),
            (60, "there", "migrated", 600),
            (50, "elsewhere", "migrated", 5000),
            (40, "there", "migrated", 400),
            (30, "there", "failed", 7000),
            (20, "there", "migrated", 500),
        ] {
            let path = folder.path().join(format!("{age_s}.json"));
            let text = format!(
                "{{\"peer\":\"{peer}\",\"outcome\":\"{outcome}\",\"stopped_ms\":{stopped_ms},\
                 \"source\":[{{\"step\":\"last pass\",\"ms\":100}}]}}"
            );
            fs::write(&path, text).unwrap();
            let changed = SystemTime::now() - Duration::from_secs(age_s);
            File::options().write(true).open(&path).unwrap().set_modified(changed).unwrap();
        }
        // Of 400, 300, 500 and 9000.
        let expected = Some(Duration::from_millis(500));
        assert_eq!(stop_without_memory_in(folder.path(), Some("there")), expected);
        assert_eq!(stop_without_memory_in(folder.path(), Some("nowhere")), None);
        // Of 400, 500, 4900, 300 and 9000.
        assert_eq!(stop_without_memory_in(folder.path(), None), expected);
        assert_eq!(stop_without_memory_in(Path::new("/nonexistent"), None), None);
    }

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
