//! Log-dirty and digest in turn, for the same PV guest, on a hypervisor that has both.
//!
//! What a guest is slowed down by is Xen, which notes its writes, or Dom0, which has the same processor and
//! spoils its caches. The second is not what trackers differ in, and varies: so the guest has a cap that
//! leaves Dom0 enough, and while its pace is measured the link is so slow that Dom0 has next to nothing to do.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind, GuestSpec};

use super::bound::{Wanted, told};
use super::figures::{add_ratios, rows};
use super::sheet::Sheet;
use super::with_shadow;
use crate::comparison::Column;
use crate::flight::{Account, Flight, Route, WATCH_PERIOD};
use crate::helper::Helper;
use crate::machine::Circumstances;
use crate::rig::{ASK, Place, Rig};
use crate::statistics::Spread;
use crate::traveller::{LOST_PER_RESUME_MIB, UNREST_MIB, find, require_intact, usual};

const MIGRATION_TIMEOUT: Duration = Duration::from_secs(300);
const LINK_MBIT: u32 = 24;
/// While the guest's pace is measured, in round 0.
const SLOW_LINK_MBIT: u32 = 1;
/// What the guest may have of a processor.
const CAP_PERCENT: u32 = 60;
/// As often as the guest can.
const CHURN_PER_S: u32 = 100;
const MEASURE: Duration = Duration::from_secs(25);
/// A guest that has just arrived, and the host that it has come to, are busy for a while.
const SETTLE: Duration = Duration::from_secs(10);
/// By then round 0 has begun.
const BEGUN_BYTES: u64 = 512 << 10;

/// The trackers, by their names.
const TRACKERS: [&str; 2] = ["log-dirty", "digest"];

/// One migration.
struct Run {
    tracker: &'static str,
    gap_ms: f64,
    wire_mib: f64,
    /// Before it.
    before: Pace,
    /// While the guest was tracked.
    tracked: Pace,
}

const COLUMNS: &[Column<Run>] = &[
    ("client gap, ms", |run| run.gap_ms, 2),
    ("on the wire, MiB", |run| run.wire_mib, 2),
    ("processes a second before", |run| run.before.guest, 2),
    ("processes a second while tracked", |run| run.tracked.guest, 2),
    ("pace: the second through the first", Run::pace, 2),
    ("guest's part of the processor before", |run| run.before.processor, 2),
    ("the same while tracked", |run| run.tracked.processor, 2),
    ("Dom0's part before", |run| run.before.dom0, 2),
    ("the same while tracked", |run| run.tracked.dom0, 2),
];

/// More or less as fast.
const LEAST_PACE: f64 = 0.95;

impl Run {
    /// How fast the guest is while it is tracked, through how fast it was.
    fn pace(&self) -> f64 {
        self.tracked.guest / self.before.guest
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
    let mut runs = Vec::new();
    for pair in 0..pairs {
        let [first, second] = TRACKERS;
        for tracker in if pair % 2 == 0 { [first, second] } else { [second, first] } {
            let run = migrate(rig, &guest, tracker)?;
            println!(
                "pair {}, {tracker}: gap {:.0} ms, pace {:.2} ({:.1} of {:.1} processes a second)",
                pair + 1,
                run.gap_ms,
                run.pace(),
                run.tracked.guest,
                run.before.guest,
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
             at {} pages/s; our helper on both sides, the trackers in alternating order. The guest forks \
             processes as fast as it can, which makes and unmakes page tables; its pace is how many of \
             them it makes in a second of round 0, through how many it makes just before. It shares one \
             emulated processor with Dom0: so it may have {CAP_PERCENT} % of it, and the link carries \
             {SLOW_LINK_MBIT} Mbit/s while the pace is measured, for {} s, and {LINK_MBIT} afterwards. \
             Medians, with lowest and highest.",
            spec.workload.memory_mib, spec.workload.hot_mib, spec.workload.writes_per_s,
            MEASURE.as_secs(),
        ),
        circumstances: &circumstances,
        findings: findings(&runs)?,
        rows: figures(&runs)?,
    }
    .keep()
}

fn migrate(rig: &Rig, guest: &Guest, tracker: &'static str) -> Result<Run> {
    let from = find(rig, guest)?;
    let cap = format!("xl sched-credit2 -d {} -c {CAP_PERCENT}", guest.name());
    rig.host(from).run_ok(&cap, ASK)?;
    guest.churn(CHURN_PER_S)?;
    // As in a migration, where somebody looks how long the guest is away.
    let client = rig.lab().watch(guest.ip(), WATCH_PERIOD)?;
    thread::sleep(SETTLE);
    let before = Pace::measure(rig, guest, from)?;
    let _ = client.finish();
    rig.lab().link().shape(Some(SLOW_LINK_MBIT))?;
    let flight = set_out(rig, guest, from, tracker)?;
    let tracked = Pace::measure(rig, guest, from)?;
    // The rest is for the gap and the bytes, which so much unrest would hide.
    guest.churn(0)?;
    rig.lab().link().shape(Some(LINK_MBIT))?;
    let account = arrive(flight, guest)?;
    Ok(Run {
        tracker,
        gap_ms: account.client.longest_gap_ms,
        wire_mib: account.wire_bytes as f64 / f64::from(1 << 20),
        before,
        tracked,
    })
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

/// How fast the guest is, and who has which part of the processor.
#[derive(Clone, Copy)]
struct Pace {
    /// Processes that it makes in a second.
    guest: f64,
    processor: f64,
    dom0: f64,
}

impl Pace {
    fn measure(rig: &Rig, guest: &Guest, place: Place) -> Result<Self> {
        let before = Count::now(rig, guest, place)?;
        thread::sleep(MEASURE);
        let after = Count::now(rig, guest, place)?;
        let seconds = (after.at - before.at).as_secs_f64();
        let pace = Self {
            guest: (after.processes - before.processes) / seconds,
            processor: (after.guest_s - before.guest_s) / seconds,
            dom0: (after.dom0_s - before.dom0_s) / seconds,
        };
        ensure!(pace.guest > 0.0, "the guest makes no processes");
        Ok(pace)
    }
}

/// What has been counted by then.
struct Count {
    at: Instant,
    processes: f64,
    guest_s: f64,
    dom0_s: f64,
}

impl Count {
    fn now(rig: &Rig, guest: &Guest, place: Place) -> Result<Self> {
        let domains = rig.host(place).domains()?;
        let seconds = |name: &str| {
            let domain = domains.iter().find(|domain| domain.name == name);
            domain.map(|domain| domain.cpu_seconds).with_context(|| format!("no domain {name}"))
        };
        let made = guest.stats()?["churn"]["processes"].as_f64();
        Ok(Self {
            at: Instant::now(),
            processes: made.context("the workload counts no processes")?,
            guest_s: seconds(guest.name())?,
            dom0_s: seconds("Domain-0")?,
        })
    }
}

/// What digest is to hold to.
fn findings(runs: &[Run]) -> Result<String> {
    let digest = runs.iter().filter(|run| run.tracker == TRACKERS[1]);
    let pace = Spread::of(digest.map(Run::pace)).context("no run by digest")?;
    let what = "digest: the guest's pace while it is tracked, through that before";
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
            wire_mib: 3.0,
            before: Pace { guest: 4.0, processor: 0.6, dom0: 0.1 },
            tracked: Pace { guest: 3.9, processor: 0.6, dom0: 0.1 },
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
