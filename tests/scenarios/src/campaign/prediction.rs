//! What xend says before a migration, beside what came of it, for writers and links of many kinds.

use std::fs;

use anyhow::{Context, Result};
use lab::{Guest, WorkloadSpec};
use serde_json::Value;

use super::sheet::Sheet;
use super::{require_nothing_left, with_shadow};
use crate::comparison::measure_toolstack;
use crate::machine::Circumstances;
use crate::programs::workspace;
use crate::rig::{Place, Rig};
use crate::row;
use crate::statistics::Spread;
use crate::toolstack::Toolstack;
use crate::traveller::working;
use crate::voyage::Environment;

const PAGE_BITS: f64 = 4096.0 * 8.0;
const VERIFIED_MIB: u32 = 64;

/// What the link carries, in Mbit/s; what the guest writes, through that; and from how many MiB.
const MIX: &[(u32, f64, u32)] = &[
    (40, 0.0, 0),
    (40, 0.2, 4),
    (40, 0.5, 32),
    (40, 0.8, 64),
    (40, 1.5, 32),
    (60, 0.0, 0),
    (60, 0.3, 16),
    (60, 0.8, 16),
    (60, 0.6, 64),
    (60, 2.0, 8),
];

/// What was foretold of a migration, and what it was.
struct Run {
    link_mbit: u32,
    speed: f64,
    hot_mib: u32,
    foretold_total_s: f64,
    total_s: f64,
    foretold_stop_ms: f64,
    stop_ms: f64,
}

impl Run {
    fn total_error(&self) -> f64 {
        (self.foretold_total_s / self.total_s - 1.0).abs()
    }

    fn stop_error(&self) -> f64 {
        (self.foretold_stop_ms / self.stop_ms - 1.0).abs()
    }
}

/// Boots two hosts with shadow paging and sends a guest to and fro `runs` times, each time with
/// another writer or another link.
///
/// # Errors
/// When a migration fails, a page is wrong or something is left behind.
pub fn run(runs: u32) -> Result<()> {
    with_shadow(|rig| foretell(rig, runs))
}

fn foretell(rig: &Rig, runs: u32) -> Result<()> {
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    let workload = WorkloadSpec { memory_mib: VERIFIED_MIB, hot_mib: 0, writes_per_s: 0 };
    let spec = working(workload, runs);
    let guest = rig.host(Place::A).create_guest(&spec)?;
    let mut from = Place::A;
    let mut done = Vec::new();
    for &(link_mbit, speed, hot_mib) in MIX.iter().cycle().take(runs as usize) {
        let run = migrate(rig, &guest, from, (link_mbit, speed, hot_mib))?;
        println!(
            "{link_mbit} Mbit/s, {speed} x from {hot_mib} MiB: total {:.1} s, foretold {:.1} s; \
             stop {:.0} ms, foretold {:.0} ms",
            run.total_s, run.foretold_total_s, run.stop_ms, run.foretold_stop_ms
        );
        done.push(run);
        from = from.other();
    }
    rig.lab().link().shape(None)?;
    require_nothing_left(rig, &guest)?;
    let error = |error: fn(&Run) -> f64| {
        Spread::of(done.iter().map(|run| error(run) * 100.0)).context("nothing was measured")
    };
    let (total, stop) = (error(Run::total_error)?, error(Run::stop_error)?);
    Sheet {
        name: "prediction",
        title: format!("What xend foretells, {runs} times"),
        what: format!(
            "A PV guest of {} MiB, {VERIFIED_MIB} MiB of it verified after each migration, goes to and \
             fro by TCP. Before round 0 xend says how long it will take, and how long the guest will \
             stand still at the source.",
            spec.memory_mib
        ),
        circumstances: &circumstances,
        findings: format!(
            "- total time: off by {:.0} % in the median ({:.0} to {:.0} %)\n\
             - stop: off by {:.0} % in the median ({:.0} to {:.0} %)\n",
            total.median, total.low, total.high, stop.median, stop.low, stop.high,
        ),
        rows: rows(&done),
    }
    .keep()
}

fn migrate(rig: &Rig, guest: &Guest, from: Place, mix: (u32, f64, u32)) -> Result<Run> {
    let (link_mbit, speed, hot_mib) = mix;
    let pages_per_s = speed * f64::from(link_mbit) * 1e6 / PAGE_BITS;
    guest.set_writes(pages_per_s as u32, hot_mib)?;
    rig.lab().link().shape(Some(link_mbit))?;
    let run = measure_toolstack(rig, guest, from, Toolstack::Xend, &Environment::default())?;
    let report = run.report.context("xend kept no report")?;
    keep_aside(&report)?;
    let foretold = &report["prediction"];
    let number = |from: &Value, name: &str| {
        from[name].as_f64().with_context(|| format!("the report has no {name}: {report}"))
    };
    Ok(Run {
        link_mbit,
        speed,
        hot_mib,
        foretold_total_s: number(foretold, "total_ms")? / 1000.0,
        total_s: number(&report, "total_ms")? / 1000.0,
        foretold_stop_ms: number(foretold, "stopped_ms")?,
        stop_ms: number(&report, "stopped_ms")?,
    })
}

/// The whole report, for who wants to know why something was foretold wrongly.
fn keep_aside(report: &Value) -> Result<()> {
    let folder = workspace().join("target/prediction");
    fs::create_dir_all(&folder)?;
    let name = format!("{}.json", report["started_s"]);
    Ok(fs::write(folder.join(name), report.to_string())?)
}

fn rows(runs: &[Run]) -> Vec<Vec<String>> {
    let mut rows = vec![row![
        "link, Mbit/s",
        "written, through it",
        "from, MiB",
        "total, s",
        "foretold",
        "stop, ms",
        "foretold"
    ]];
    for run in runs {
        rows.push(row![
            run.link_mbit,
            run.speed,
            run.hot_mib,
            format!("{:.1}", run.total_s),
            format!("{:.1}", run.foretold_total_s),
            format!("{:.0}", run.stop_ms),
            format!("{:.0}", run.foretold_stop_ms)
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{Run, rows};

    #[test]
    fn an_error_is_the_same_whichever_way_it_goes() {
        let run = |foretold_total_s| Run {
            link_mbit: 40,
            speed: 0.5,
            hot_mib: 8,
            foretold_total_s,
            total_s: 10.0,
            foretold_stop_ms: 300.0,
            stop_ms: 300.0,
        };
        assert!((run(12.0).total_error() - 0.2).abs() < 1e-9);
        assert!((run(8.0).total_error() - 0.2).abs() < 1e-9);
        assert!(run(8.0).stop_error() < 1e-9);
        assert_eq!(rows(&[run(8.0)])[1], ["40", "0.5", "8", "10.0", "8.0", "300", "300"]);
    }
}
