//! Log-dirty and digest in turn, for the same PV guest, on a hypervisor that has both.
//!
//! What a guest is slowed down by is Xen, which notes its writes, or Dom0, which has the same processor. So
//! its pace is also measured while another guest is migrated in the same way: then Dom0 does the same, and
//! Xen lets it alone.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind, GuestSpec, WorkloadSpec};

use super::bound::{Wanted, told};
use super::figures::{add_ratios, rows};
use super::sheet::Sheet;
use super::with_shadow;
use crate::comparison::Column;
use crate::flight::{Account, Flight, Route, WATCH_PERIOD};
use crate::helper::Helper;
use crate::machine::Circumstances;
use crate::rig::{Place, Rig};
use crate::statistics::Spread;
use crate::traveller::{LOST_PER_RESUME_MIB, UNREST_MIB, find, require_intact, small, usual};

const MIGRATION_TIMEOUT: Duration = Duration::from_secs(300);
/// Slow enough that Dom0 mostly waits in round 0: what the guest is slower by then is not Dom0's
/// share of the one processor.
const LINK_MBIT: u32 = 24;
/// As often as the guest can.
const CHURN_PER_S: u32 = 100;
const MEASURE: Duration = Duration::from_secs(10);
/// A guest that has just arrived, and the host that it has come to, are busy for a while.
const SETTLE: Duration = Duration::from_secs(3);
/// By then round 0 has begun.
const BEGUN_BYTES: u64 = 4 << 20;

/// The trackers, by their names.
const TRACKERS: [&str; 2] = ["log-dirty", "digest"];

/// One migration. Paces are through that before.
struct Run {
    tracker: &'static str,
    gap_ms: f64,
    total_s: f64,
    wire_mib: f64,
    /// While the guest was tracked.
    tracked: Pace,
    /// While another one was.
    beside: Pace,
}

const COLUMNS: &[Column<Run>] = &[
    ("client gap, ms", |run| run.gap_ms, 2),
    ("total time, s", |run| run.total_s, 2),
    ("on the wire, MiB", |run| run.wire_mib, 2),
    ("guest's pace while it is tracked", |run| run.tracked.guest, 2),
    ("its pace while another one is", |run| run.beside.guest, 2),
    ("the first through the second", Run::slowed_by_xen, 2),
    ("Dom0's part of the processor while it is tracked", |run| run.tracked.dom0, 2),
    ("the same while another one is", |run| run.beside.dom0, 2),
];

/// More or less as fast.
const LEAST_PACE: f64 = 0.95;

impl Run {
    /// The guest's pace, through what it is where only Dom0 slows it.
    fn slowed_by_xen(&self) -> f64 {
        self.tracked.guest / self.beside.guest
    }
}

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
    let other = rig.host(Place::A).create_guest(&idle())?;
    rig.lab().link().shape(Some(LINK_MBIT))?;
    let mut runs = Vec::new();
    for pair in 0..pairs {
        let [first, second] = TRACKERS;
        for tracker in if pair % 2 == 0 { [first, second] } else { [second, first] } {
            let run = migrate(rig, &guest, &other, tracker)?;
            println!(
                "pair {}, {tracker}: {:.1} s, gap {:.0} ms, pace {:.2}, beside another one {:.2}",
                pair + 1,
                run.total_s,
                run.gap_ms,
                run.tracked.guest,
                run.beside.guest,
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
             it makes just before. It shares one emulated processor with Dom0, so its pace is also measured \
             while another guest is migrated with the same tracker. Medians, with lowest and highest.",
            spec.workload.memory_mib, spec.workload.hot_mib, spec.workload.writes_per_s,
        ),
        circumstances: &circumstances,
        findings: findings(&runs)?,
        rows: figures(&runs)?,
    }
    .keep()
}

fn migrate(rig: &Rig, guest: &Guest, other: &Guest, tracker: &'static str) -> Result<Run> {
    let from = find(rig, guest)?;
    ensure!(find(rig, other)? == from, "the two guests are not on one host");
    guest.churn(CHURN_PER_S)?;
    // As in a migration, where somebody looks how long the guest is away.
    let client = rig.lab().watch(guest.ip(), WATCH_PERIOD)?;
    thread::sleep(SETTLE);
    let with_other = Pace::measure(rig, guest, from)?;
    let flight = set_out(rig, other, from, tracker)?;
    let beside = Pace::measure(rig, guest, from)?;
    arrive(flight, other)?;
    let alone = Pace::measure(rig, guest, from)?;
    let _ = client.finish();
    let flight = set_out(rig, guest, from, tracker)?;
    let tracked = Pace::measure(rig, guest, from)?;
    // The rest is for the gap and the bytes, which so much unrest would hide.
    guest.churn(0)?;
    let account = arrive(flight, guest)?;
    Ok(Run {
        tracker,
        gap_ms: account.client.longest_gap_ms,
        total_s: account.total.as_secs_f64(),
        wire_mib: account.wire_bytes as f64 / f64::from(1 << 20),
        tracked: tracked.through(alone),
        beside: beside.through(with_other),
    })
}

/// Another guest, which does next to nothing.
fn idle() -> GuestSpec {
    let small = small(GuestKind::Pv);
    GuestSpec { workload: WorkloadSpec { writes_per_s: 1, ..small.workload }, ..small }
}

/// A migration whose round 0 has begun.
fn set_out<'a>(rig: &'a Rig, guest: &Guest, from: Place, tracker: &str) -> Result<Flight<'a>> {
    let route = Route { guest, from, sender: Helper::Ours, receiver: Helper::Ours };
    let environment = format!("XEND_TRACKING={tracker}");
    let mut flight = Flight::start_with(rig, &route, false, &environment)?;
    flight.wait_for_bytes(BEGUN_BYTES, Duration::from_secs(60))?;
    Ok(flight)
}

fn arrive(flight: Flight<'_>, guest: &Guest) -> Result<Account> {
    let account = flight.finish(MIGRATION_TIMEOUT)?;
    account.require_success()?;
    require_intact(guest)?;
    Ok(account)
}

/// How fast the guest is, and Dom0's part of the processor.
#[derive(Clone, Copy)]
struct Pace {
    /// Processes that it makes in a second, or those through such ones.
    guest: f64,
    dom0: f64,
}

impl Pace {
    fn measure(rig: &Rig, guest: &Guest, place: Place) -> Result<Self> {
        let count = || -> Result<(Instant, f64, f64)> {
            let dom0_s = rig.host(place).dom0_cpu_seconds()?;
            let made = guest.stats()?["churn"]["processes"].as_f64();
            Ok((Instant::now(), made.context("the workload counts no processes")?, dom0_s))
        };
        let before = count()?;
        thread::sleep(MEASURE);
        let after = count()?;
        let seconds = (after.0 - before.0).as_secs_f64();
        let pace =
            Self { guest: (after.1 - before.1) / seconds, dom0: (after.2 - before.2) / seconds };
        ensure!(pace.guest > 0.0, "the guest makes no processes");
        Ok(pace)
    }

    fn through(self, before: Self) -> Self {
        Self { guest: self.guest / before.guest, ..self }
    }
}

/// What digest is to hold to.
fn findings(runs: &[Run]) -> Result<String> {
    let digest = runs.iter().filter(|run| run.tracker == TRACKERS[1]);
    let pace = Spread::of(digest.map(Run::slowed_by_xen)).context("no run by digest")?;
    let what = "digest: the guest's pace, through that beside another one's migration";
    Ok(told(what, pace.median, 2, Wanted::AtLeast(LEAST_PACE)))
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
    use super::{COLUMNS, Pace, Run, figures, findings};

    #[test]
    fn each_figure_has_a_row_with_the_ratio_of_the_medians() {
        let run = |tracker, gap_ms| Run {
            tracker,
            gap_ms,
            total_s: 2.0,
            wire_mib: 3.0,
            tracked: Pace { guest: 0.5, dom0: 0.3 },
            beside: Pace { guest: 0.51, dom0: 0.3 },
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
