//! A guest that writes twice as fast as the link carries, stunned until it can be moved in time.

use anyhow::{Context, Result};
use lab::{GuestSpec, WorkloadSpec};

use super::figures::rows;
use super::sheet::Sheet;
use super::{require_nothing_left, with_shadow};
use crate::comparison::{Column, ToolstackRun, measure_toolstack};
use crate::machine::Circumstances;
use crate::rig::{Place, Rig};
use crate::toolstack::Toolstack;
use crate::traveller::working;
use crate::voyage::Environment;

const LINK_MBIT: u32 = 40;
/// Pages per second: twice what the link carries.
const WRITES_PER_S: u32 = 2441;
const HOT_MIB: u32 = 64;
/// More than other guests need, for its network while it is busy.
const ROOM_MIB: u32 = 25;

/// One migration.
struct Run {
    toolstack: ToolstackRun,
    stopped_ms: f64,
}

const COLUMNS: &[Column<Run>] = &[
    ("stopped, ms", |run| run.stopped_ms, 0),
    ("client gap, ms", |run| run.toolstack.client_gap_ms, 0),
    ("total time, s", |run| run.toolstack.total_ms / 1000.0, 0),
    ("rounds", |run| run.toolstack.rounds as f64, 0),
    ("pages in the last pass", |run| run.toolstack.last_pass_pages as f64, 0),
];

/// Boots two hosts with shadow paging and migrates a guest `runs` times, to stand still for no more
/// than `downtime_ms`.
///
/// # Errors
/// When a migration fails, a page is wrong or something is left behind. That the guest stood still
/// for longer is told, and no error: it is a measurement.
pub fn run(runs: u32, downtime_ms: u32) -> Result<()> {
    with_shadow(|rig| migrate(rig, runs, downtime_ms))
}

fn migrate(rig: &Rig, runs: u32, downtime_ms: u32) -> Result<()> {
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    let workload =
        WorkloadSpec { memory_mib: HOT_MIB, hot_mib: HOT_MIB, writes_per_s: WRITES_PER_S };
    let spec = working(workload, runs);
    let memory_mib = spec.memory_mib + ROOM_MIB;
    let guest = rig.host(Place::A).create_guest(&GuestSpec { memory_mib, ..spec })?;
    rig.lab().link().shape(Some(LINK_MBIT))?;
    let options = format!("--stun --downtime {downtime_ms}");
    let asked = Environment::with_options(&options);
    let mut from = Place::A;
    let mut done = Vec::new();
    for index in 1..=runs {
        let toolstack = measure_toolstack(rig, &guest, from, Toolstack::Xend, &asked)?;
        let run = Run { stopped_ms: stopped_ms(&toolstack)?, toolstack };
        println!(
            "{index} of {runs}: {:.1} s, {} rounds, stopped for {:.0} ms, gap {:.0} ms",
            run.toolstack.total_ms / 1000.0,
            run.toolstack.rounds,
            run.stopped_ms,
            run.toolstack.client_gap_ms
        );
        for line in run.toolstack.own_account() {
            println!("    {line}");
        }
        done.push(run);
        from = from.other();
    }
    rig.lab().link().shape(None)?;
    require_nothing_left(rig, &guest)?;
    let met = done.iter().filter(|run| run.stopped_ms <= f64::from(downtime_ms)).count();
    Sheet {
        name: "stun",
        title: format!(
            "Stunned: {runs} migrations of a guest that writes twice as fast as the link carries"
        ),
        what: format!(
            "A PV guest of {memory_mib} MiB, {WRITES_PER_S} pages/s written to {HOT_MIB} MiB, over \
             {LINK_MBIT} Mbit/s, with `{options}`. Stopped is from the request to suspend to the \
             destination's word that the guest runs."
        ),
        circumstances: &circumstances,
        findings: format!("- the downtime target was met in {met} of {runs}\n"),
        rows: rows(COLUMNS, &[("median", done.iter().collect())])?,
    }
    .keep()
}

fn stopped_ms(run: &ToolstackRun) -> Result<f64> {
    let report = run.report.as_ref().context("xend kept no report")?;
    report["stopped_ms"].as_f64().context("a report without stopped_ms")
}
