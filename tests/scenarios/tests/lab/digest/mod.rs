//! PV guests on a hypervisor that cannot track their writes: Xen's own helper cannot migrate them
//! there, ours does, by digest.

mod toolstack;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind, GuestSpec};
use scenarios::flight::{Account, Flight, Route};
use scenarios::helper::Helper::{self, Ours, Stock};
use scenarios::rig::Place;
use scenarios::runner::Scenario;
use scenarios::traveller::{find, require_intact, usual};

use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(240);
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(150);
/// How often a second there is unrest in the guest that has some.
const CHURN_PER_S: u32 = 5;
const LINK_MBIT: u32 = 40;
/// Of the gap that suspending it first makes.
const MOST_OF_STOP_AND_COPY: f64 = 0.5;

/// All of them.
pub(crate) fn scenarios() -> Vec<Scenario<World>> {
    [SCENARIOS, toolstack::SCENARIOS].concat()
}

const SCENARIOS: &[Scenario<World>] = &[
    Scenario {
        name: "digest::stock_cannot_migrate_a_pv_guest_here",
        deadline: DEADLINE,
        run: |world| fails(world, Stock, "", "Failed to enable logdirty"),
    },
    Scenario {
        name: "digest::log_dirty_alone_is_refused_with_the_reason",
        deadline: DEADLINE,
        run: |world| fails(world, Ours, "XEND_TRACKING=log-dirty", "CONFIG_SHADOW_PAGING"),
    },
    Scenario {
        name: "digest::an_unknown_way_to_track_is_refused",
        deadline: DEADLINE,
        run: |world| fails(world, Ours, "XEND_TRACKING=magic", "XEND_TRACKING"),
    },
    Scenario {
        name: "digest::ours_to_ours_is_live",
        deadline: Duration::from_secs(400),
        run: shorter_than_stop_and_copy,
    },
    Scenario {
        name: "digest::ours_to_stock",
        deadline: DEADLINE,
        run: |world| travels(world, Stock, 0),
    },
    Scenario {
        name: "digest::ours_to_ours_with_unrest",
        deadline: DEADLINE,
        run: |world| travels(world, Ours, CHURN_PER_S),
    },
    Scenario {
        name: "digest::ours_to_stock_with_unrest",
        deadline: DEADLINE,
        run: |world| travels(world, Stock, CHURN_PER_S),
    },
];

/// The usual guest, with room for a balloon and for what its kernel loses at each resume.
fn traveller() -> GuestSpec {
    let usual = usual(GuestKind::Pv);
    GuestSpec { name: "hashed".to_owned(), memory_mib: usual.memory_mib + 24, ..usual }
}

fn fails(world: &mut World, sender: Helper, environment: &str, reason: &str) -> Result<()> {
    let (guest, from) = world.guest(&traveller())?;
    let route = Route { guest: &guest, from, sender, receiver: Ours };
    let flight = Flight::start_with(world.rig(), &route, false, environment)?;
    let account = flight.finish(Duration::from_secs(90))?;
    ensure!(account.sender.status != 0, "the migration did not fail: {}", account.said());
    let said = account.sender.stderr_text();
    ensure!(said.contains(reason), "the reason is not `{reason}`: {}", account.said());
    world.require_undisturbed(&guest, from)
}

fn travels(world: &mut World, receiver: Helper, churn_per_s: u32) -> Result<()> {
    let (guest, from) = world.guest(&traveller())?;
    let before = churned(&guest)?;
    guest.churn(churn_per_s)?;
    let account = migrate(world, &guest, from, receiver, "");
    guest.churn(0)?;
    let account = account?;
    require_digest(&account)?;
    if churn_per_s > 0 {
        for ((what, before), after) in COUNTS.iter().zip(before).zip(churned(&guest)?) {
            ensure!(after > before, "there was no unrest: {before} {what} and then {after}");
        }
    }
    Ok(())
}

/// Lines of the sender to be shown: what was read, what was foretold, and what the stop took.
const SHOWN: [&str; 3] = ["round ", "the last pass", "stopped_ms="];

/// The same guest, once tracked by digest and once suspended first.
fn shorter_than_stop_and_copy(world: &mut World) -> Result<()> {
    let (guest, from) = world.guest(&traveller())?;
    // So that the link is slower than the emulated processors, as it is on real hosts.
    world.rig().lab().link().shape(Some(LINK_MBIT))?;
    let live = migrate(world, &guest, from, Ours, "")?;
    require_digest(&live)?;
    let stopped = migrate(world, &guest, from.other(), Ours, "XEND_TRACKING=none")?;
    world.rig().lab().link().shape(None)?;
    println!();
    let said = live.sender.stderr_text();
    for line in said.lines().filter(|line| SHOWN.iter().any(|words| line.contains(words))) {
        println!("    {line}");
    }
    let [live_ms, stopped_ms] = [live, stopped].map(|account| account.client.longest_gap_ms);
    println!("    gap {live_ms:.0} ms, suspended first {stopped_ms:.0} ms");
    ensure!(
        live_ms <= stopped_ms * MOST_OF_STOP_AND_COPY,
        "the gap of {live_ms:.0} ms is not much less than that of suspending it first, \
         {stopped_ms:.0} ms"
    );
    Ok(())
}

fn migrate(
    world: &World,
    guest: &Guest,
    from: Place,
    receiver: Helper,
    environment: &str,
) -> Result<Account> {
    let route = Route { guest, from, sender: Ours, receiver };
    let flight = Flight::start_with(world.rig(), &route, false, environment)?;
    let account = flight.finish(MIGRATION_TIMEOUT)?;
    account.require_success()?;
    require_intact(guest)?;
    ensure!(find(world.rig(), guest)? == from.other(), "the guest is where it was");
    Ok(account)
}

/// The sender says in one line that it tracks by digest and why, and what the stop will take.
fn require_digest(account: &Account) -> Result<()> {
    let said = account.sender.stderr_text();
    let line = said
        .lines()
        .find(|line| line.contains("tracked by digest"))
        .with_context(|| format!("it was not tracked by digest: {}", account.said()))?;
    ensure!(line.contains("CONFIG_SHADOW_PAGING"), "the line does not say why: {line}");
    let told = said.contains("the last pass will take about");
    ensure!(told, "it does not say what the stop will take: {}", account.said());
    Ok(())
}

const COUNTS: [&str; 3] = ["processes", "threads", "balloon_moves"];

fn churned(guest: &Guest) -> Result<[u64; 3]> {
    let stats = guest.stats()?;
    let counts = COUNTS.map(|what| stats["churn"][what].as_u64());
    let [Some(processes), Some(threads), Some(balloon_moves)] = counts else {
        anyhow::bail!("the workload does not count its churn: {stats}")
    };
    Ok([processes, threads, balloon_moves])
}
