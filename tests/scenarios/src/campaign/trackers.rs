//! Log-dirty and digest in turn, for the same PV guest, on a hypervisor that has both.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::{Guest, GuestKind, GuestSpec};

use super::bound::{Wanted, told};
use super::figures::{add_ratios, rows};
use super::sheet::Sheet;
use super::with_shadow;
use crate::comparison::Column;
use crate::flight::{Flight, Route};
use crate::helper::Helper;
use crate::machine::Circumstances;
use crate::rig::{Place, Rig};
use crate::statistics::Spread;
use crate::traveller::{LOST_PER_RESUME_MIB, UNREST_MIB, find, require_intact, usual};

const MIGRATION_TIMEOUT: Duration = Duration::from_secs(300);
/// Slow enough that Dom0 mostly waits in round 0: what the guest is slower by then is not Dom0's
/// share of the one processor.
const LINK_MBIT: u32 = 24;
/// As often as the guest can.
const CHURN_PER_S: u32 = 100;
const MEASURE: Duration = Duration::from_secs(10);
/// By then round 0 has begun.
const BEGUN_BYTES: u64 = 4 << 20;

/// The trackers, by their names.
const TRACKERS: [&str; 2] = ["log-dirty", "digest"];

/// One migration.
struct Run {
    tracker: &'static str,
    gap_ms: f64,
    total_s: f64,
    wire_mib: f64,
    /// Processes that the guest made in a second while it was tracked, through those it made before.
    pace: f64,
    /// The same for each second that the guest had the processor.
    work: f64,
    /// Dom0's part of the processor then.
    dom0: f64,
}

const COLUMNS: &[Column<Run>] = &[
    ("client gap, ms", |run| run.gap_ms, 2),
    ("total time, s", |run| run.total_s, 2),
    ("on the wire, MiB", |run| run.wire_mib, 2),
    ("guest's pace while tracked", |run| run.pace, 2),
    ("the same per second of its processor", |run| run.work, 2),
    ("Dom0's part of the processor then", |run| run.dom0, 2),
];

/// Of what the guest did in a second of its processor before: more or less the same.
const LEAST_WORK: f64 = 0.95;

/// Boots two hosts with shadow paging and migrates a guest `pairs` times with each tracker, in
/// alternating order.
///
/// # Errors
/// When a migration fails or a page is wrong.
pub fn run(pairs: u32) -> Result<()> {
    with_shadow(|rig| compare(rig, pairs))
}

fn compare(rig: &Rig, pairs: u32) -> Result<()> {
    let usual = usual(GuestKind::Pv);
    let memory_mib = usual.memory_mib + UNREST_MIB + 2 * pairs * LOST_PER_RESUME_MIB;
    let spec = GuestSpec { memory_mib, ..usual };
    let guest = rig.host(Place::A).create_guest(&spec)?;
    rig.lab().link().shape(Some(LINK_MBIT))?;
    let mut runs = Vec::new();
    for pair in 0..pairs {
        let [first, second] = TRACKERS;
        for tracker in if pair % 2 == 0 { [first, second] } else { [second, first] } {
            let run = migrate(rig, &guest, tracker)?;
            println!(
                "pair {}, {tracker}: {:.1} s, gap {:.0} ms, pace {:.2}",
                pair + 1,
                run.total_s,
                run.gap_ms,
                run.pace
            );
            runs.push(run);
        }
    }
    rig.lab().link().shape(None)?;
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    Sheet {
        name: "trackers",
        title: format!("Log-dirty and digest, {pairs} times each"),
        what: format!(
            "A PV guest of {memory_mib} MiB, {} MiB of it verified after each migration, {} MiB written \
             at {} pages/s, over a link of {LINK_MBIT} Mbit/s; our helper on both sides, the trackers in \
             alternating order. The guest forks processes as fast as it can, which makes and unmakes \
             page tables; its pace is how many of them it makes in a second of round 0, through how many \
             it makes before the migration. It shares one emulated processor with Dom0, so the pace is \
             also told for each second in which the guest had it: what Xen does for the guest, as \
             noting its writes, counts there, and what Dom0 does does not. Medians, with lowest and \
             highest.",
            spec.workload.memory_mib, spec.workload.hot_mib, spec.workload.writes_per_s,
        ),
        circumstances: &circumstances,
        findings: findings(&runs)?,
        rows: figures(&runs)?,
    }
    .keep()
}

fn migrate(rig: &Rig, guest: &Guest, tracker: &'static str) -> Result<Run> {
    let from = find(rig, guest)?;
    guest.churn(CHURN_PER_S)?;
    let before = Pace::measure(rig, guest, from)?;
    let route = Route { guest, from, sender: Helper::Ours, receiver: Helper::Ours };
    let environment = format!("XEND_TRACKING={tracker}");
    let mut flight = Flight::start_with(rig, &route, false, &environment)?;
    flight.wait_for_bytes(BEGUN_BYTES, Duration::from_secs(60))?;
    let tracked = Pace::measure(rig, guest, from)?;
    // The rest is for the gap and the bytes, which so much unrest would hide.
    guest.churn(0)?;
    let account = flight.finish(MIGRATION_TIMEOUT)?;
    account.require_success()?;
    require_intact(guest)?;
    Ok(Run {
        tracker,
        gap_ms: account.client.longest_gap_ms,
        total_s: account.total.as_secs_f64(),
        wire_mib: account.wire_bytes as f64 / f64::from(1 << 20),
        pace: tracked.processes_per_s / before.processes_per_s,
        work: tracked.per_cpu_second() / before.per_cpu_second(),
        dom0: tracked.dom0,
    })
}

/// How fast the guest is, and who has the processor. Both are parts of it.
struct Pace {
    processes_per_s: f64,
    guest: f64,
    dom0: f64,
}

impl Pace {
    fn measure(rig: &Rig, guest: &Guest, place: Place) -> Result<Self> {
        let count = || -> Result<(Instant, f64, f64, f64)> {
            let domains = rig.host(place).domains()?;
            let [dom0, ..] = domains.as_slice() else { bail!("a host without domains") };
            let itself = domains.iter().find(|domain| domain.name == guest.name());
            let guest_s = itself.context("the guest is not there")?.cpu_seconds;
            let made = guest.stats()?["churn"]["processes"].as_f64();
            let made = made.context("the workload counts no processes")?;
            Ok((Instant::now(), made, guest_s, dom0.cpu_seconds))
        };
        let before = count()?;
        thread::sleep(MEASURE);
        let after = count()?;
        let seconds = (after.0 - before.0).as_secs_f64();
        let pace = Self {
            processes_per_s: (after.1 - before.1) / seconds,
            guest: (after.2 - before.2) / seconds,
            dom0: (after.3 - before.3) / seconds,
        };
        ensure!(pace.processes_per_s > 0.0 && pace.guest > 0.0, "the guest makes no processes");
        Ok(pace)
    }

    fn per_cpu_second(&self) -> f64 {
        self.processes_per_s / self.guest
    }
}

/// What digest is to hold to.
fn findings(runs: &[Run]) -> Result<String> {
    let digest = runs.iter().filter(|run| run.tracker == TRACKERS[1]);
    let work = Spread::of(digest.map(|run| run.work)).context("no run by digest")?;
    let what = "digest: the guest's work per second of its processor, through before";
    Ok(told(what, work.median, 2, Wanted::AtLeast(LEAST_WORK)))
}

fn figures(runs: &[Run]) -> Result<Vec<Vec<String>>> {
    let [first, second] =
        TRACKERS.map(|name| runs.iter().filter(|run| run.tracker == name).collect::<Vec<_>>());
    let ways = [(TRACKERS[0], first.clone()), (TRACKERS[1], second.clone())];
    let mut rows = rows(COLUMNS, &ways)?;
    add_ratios(&mut rows, COLUMNS, &second, &first)?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, Run, figures, findings};

    #[test]
    fn each_figure_has_a_row_with_the_ratio_of_the_medians() {
        let run = |tracker, gap_ms| Run {
            tracker,
            gap_ms,
            total_s: 2.0,
            wire_mib: 3.0,
            pace: 0.5,
            work: 0.97,
            dom0: 0.3,
        };
        let runs = [run("log-dirty", 100.0), run("digest", 150.0), run("digest", 250.0)];
        let rows = figures(&runs).expect("both were measured");
        assert_eq!(rows.len(), 1 + COLUMNS.len());
        assert_eq!(
            rows[1],
            ["client gap, ms", "100.00", "100.00..100.00", "200.00", "150.00..250.00", "2.00"]
        );
        assert!(findings(&runs).unwrap().ends_with("reached\n"));
        assert!(figures(&runs[1..]).is_err());
        assert!(findings(&runs[..1]).is_err());
    }
}
