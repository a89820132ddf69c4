//! The reports of migrations that are kept.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, process};

use serde::Deserialize;

use crate::migration::policy::adaptive::Settings;
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

/// What of the downtime asked for is kept for what nobody has measured yet: a stop between these two
/// hosts, without any memory to send.
const UNMEASURED_SHARE: f64 = 1.0 / 3.0;

/// `settings` for what stops have cost lately: to this peer, or to any if none is named.
pub(super) fn with_stop_cost(settings: Settings, peer: Option<&str>) -> Settings {
    let StopCost { usual, at_worst } = stop_without_memory(peer).unwrap_or(StopCost {
        usual: settings.fixed_stop,
        at_worst: settings.downtime_target.mul_f64(UNMEASURED_SHARE),
    });
    Settings { fixed_stop: usual, fixed_stop_at_worst: at_worst, ..settings }
}

/// What stops took lately, besides sending memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StopCost {
    /// The middle one of the last few.
    usual: Duration,
    /// The longest of them; of five, the second: once may be an accident.
    at_worst: Duration,
}

/// In migrations to this peer, or to whatever peer if none is named. `None` where there are none.
fn stop_without_memory(peer: Option<&str>) -> Option<StopCost> {
    stop_without_memory_in(Path::new(FOLDER), peer)
}

fn stop_without_memory_in(folder: &Path, peer: Option<&str>) -> Option<StopCost> {
    let reports = by_age(folder).ok()?;
    let told = |(_, path): &(SystemTime, PathBuf)| {
        let told: Told = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
        let is_like_it = peer.is_none_or(|peer| told.peer == peer) && told.outcome == "migrated";
        told.stop_without_memory_ms().filter(|_| is_like_it)
    };
    let mut rests_ms: Vec<f64> = reports.iter().rev().filter_map(told).take(LATELY).collect();
    rests_ms.sort_by(f64::total_cmp);
    let longest = rests_ms.len().checked_sub(1)?;
    let bad = if rests_ms.len() < LATELY { longest } else { longest - 1 };
    let at = |index: usize| Duration::from_secs_f64(rests_ms[index] / 1000.0);
    Some(StopCost { usual: at(rests_ms.len() / 2), at_worst: at(bad) })
}

/// What is read of a report.
#[derive(Deserialize)]
struct Told {
    peer: String,
    outcome: String,
    stopped_ms: Option<f64>,
    passes: Vec<ToldPass>,
}

#[derive(Deserialize)]
struct ToldPass {
    data_pages: f64,
    ms: f64,
}

impl Told {
    /// The last pass is written into queues, and is under way for longer than that takes: for as long
    /// as the link takes for so many pages, which the largest of the live rounds shows.
    fn stop_without_memory_ms(&self) -> Option<f64> {
        let (last, live) = self.passes.split_last()?;
        let ms_per_page = live
            .iter()
            .max_by(|a, b| a.data_pages.total_cmp(&b.data_pages))
            .filter(|largest| largest.data_pages >= 1.0)
            .map_or(0.0, |largest| largest.ms / largest.data_pages);
        let rest_ms = self.stopped_ms? - last.ms.max(last.data_pages * ms_per_page);
        (rest_ms < 3_600_000.0).then_some(rest_ms.max(0.0))
    }
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
                 \"passes\":[{{\"data_pages\":5000,\"ms\":10000}},\
                 {{\"data_pages\":40,\"ms\":9}},{{\"data_pages\":50,\"ms\":20}}]}}"
            );
            fs::write(&path, text).unwrap();
            let changed = SystemTime::now() - Duration::from_secs(age_s);
            File::options().write(true).open(&path).unwrap().set_modified(changed).unwrap();
        }
        // Of 400, 300, 500 and 9000.
        let cost = |usual, at_worst| {
            let [usual, at_worst] = [usual, at_worst].map(Duration::from_millis);
            Some(StopCost { usual, at_worst })
        };
        assert_eq!(stop_without_memory_in(folder.path(), Some("there")), cost(500, 9000));
        assert_eq!(stop_without_memory_in(folder.path(), Some("nowhere")), None);
        // Of 400, 500, 4900, 300 and 9000.
        assert_eq!(stop_without_memory_in(folder.path(), None), cost(500, 4900));
        assert_eq!(stop_without_memory_in(Path::new("/nonexistent"), None), None);
    }

    /// Passes as pages and milliseconds.
    fn rest_ms(stopped_ms: f64, passes: &[(f64, f64)]) -> Option<f64> {
        let passes = passes.iter().map(|&(data_pages, ms)| ToldPass { data_pages, ms }).collect();
        let told = Told {
            peer: "there".to_owned(),
            outcome: "migrated".to_owned(),
            stopped_ms: Some(stopped_ms),
            passes,
        };
        told.stop_without_memory_ms()
    }

    #[test]
    fn pages_on_their_way_are_no_part_of_what_a_stop_takes_anyway() {
        // 300 pages at 1000 pages/s, of which a queue took most at once.
        assert_eq!(rest_ms(700.0, &[(20_000.0, 20_000.0), (300.0, 30.0)]), Some(400.0));
        // All memory read once more, and little sent.
        assert_eq!(rest_ms(700.0, &[(20_000.0, 20_000.0), (300.0, 500.0)]), Some(200.0));
        // Nothing but the last pass.
        assert_eq!(rest_ms(700.0, &[(20_000.0, 600.0)]), Some(100.0));
        assert_eq!(rest_ms(700.0, &[(0.0, 5.0), (300.0, 30.0)]), Some(670.0));
        assert_eq!(rest_ms(700.0, &[(20_000.0, 20_000.0), (900.0, 30.0)]), Some(0.0));
        assert_eq!(rest_ms(700.0, &[]), None);
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
