//! Agents that die or hang: the move ends well, in time, and nobody stays held.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Guest, Host};
use scenarios::comparison::newest_report;
use scenarios::rig::{ASK, Place};
use scenarios::runner::Scenario;
use scenarios::toolstack::Toolstack;
use scenarios::voyage::{Environment, Pairing, set_out};

use super::{
    LINK_MBIT, MIGRATION_TIMEOUT, await_agent, await_running, await_that, helped, node, prepare_ms,
    rates,
};
use crate::toolstack::require_settled;
use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(300);

/// The command line's word for an agent.
const AGENT: &str = " lab.agent";
/// The same for one that is killed five seconds into a move,
const DOOMED: &str = " lab.agent=doomed";
/// that is stopped then,
const HUNG: &str = " lab.agent=hung";
/// and that is stopped once it is there.
const STUCK: &str = " lab.agent=stuck";

/// One that does not answer is waited for no longer than a second; the rest is xenstore's.
const UNSEEN_MS: f64 = 3000.0;

pub(super) const SCENARIOS: &[Scenario<World>] = &[
    Scenario { name: "agent::that_is_killed_leaves_nobody_held", deadline: DEADLINE, run: killed },
    Scenario {
        name: "agent::that_is_killed_in_a_move",
        deadline: DEADLINE,
        run: |world| faults_in_a_move(world, DOOMED, &["that it held are released"]),
    },
    Scenario {
        name: "agent::that_hangs_in_a_move",
        deadline: DEADLINE,
        run: |world| {
            let words = ["the agent hung, and was killed", "that it held are released"];
            faults_in_a_move(world, HUNG, &words)
        },
    },
    Scenario {
        name: "agent::that_hangs_from_the_start",
        deadline: DEADLINE,
        run: hangs_from_the_start,
    },
];

/// A guest on host a whose agent has this fault.
fn make(world: &mut World, fault: &str) -> Result<Guest> {
    world.dismiss()?;
    let spec = helped();
    let host = world.rig().host(Place::A);
    let config = spec.xl_config();
    ensure!(config.contains(AGENT), "the configuration knows no agent");
    host.put_bytes(config.replace(AGENT, fault).as_bytes(), "/root/faulty.cfg", 0o644)?;
    // What others of that name have said is not to be taken for this one's.
    for host in world.rig().hosts() {
        host.run_ok(&format!("rm -f /var/log/xen/guest-{}*.log", spec.name), ASK)?;
    }
    host.run_ok("xend create /root/faulty.cfg", MIGRATION_TIMEOUT)?;
    let guest = Guest::existing(&spec.name, spec.ip);
    await_that("the workload", || Ok(guest.answers(Duration::from_secs(1))?))?;
    await_agent(host, &guest)?;
    Ok(guest)
}

/// The agent is killed while it holds the rogue and xend goes on.
fn killed(world: &mut World) -> Result<()> {
    let guest = make(world, DOOMED)?;
    let host = world.rig().host(Place::A);
    let free = rates(&guest)?;
    let command = format!(
        "xend agent --rehearse 30 --rate 1024 --keep-cache {} > /tmp/rehearsal 2>&1 &",
        guest.name()
    );
    host.run_ok(&command, ASK)?;
    await_that("the guardian", || {
        Ok(host.guest_console(&guest)?.contains("that it held are released"))
    })?;
    await_running(&guest, free.rogue, Duration::from_secs(5))?;
    host.run_ok("until grep -q left /tmp/rehearsal; do sleep 0.1; done", MIGRATION_TIMEOUT)?;
    require_gone(host, &guest)?;
    world.dismiss()
}

/// The same in a move, which the guest ends as it would without an agent. `words` are its guardian's.
fn faults_in_a_move(world: &mut World, fault: &str, words: &[&str]) -> Result<()> {
    let guest = make(world, fault)?;
    let free = rates(&guest)?;
    let (rig, from) = (world.rig(), Place::A);
    rig.lab().link().shape(Some(LINK_MBIT))?;
    let flight = set_out(rig, &guest, from, Pairing::XEND_TCP, &Environment::default())?;
    let account = flight.finish(MIGRATION_TIMEOUT * 2)?;
    rig.lab().link().shape(None)?;
    account.require_success()?;
    let said = account.sender.stderr_text();
    ensure!(said.contains("the guest's agent has prepared"), "the agent is not heard of: {said}");
    await_running(&guest, free.rogue, Duration::from_secs(5))?;
    let mut consoles = String::new();
    for place in [from, from.other()] {
        let command = format!("cat /var/log/xen/guest-{}*.log", guest.name());
        consoles += &rig.host(place).run(&command, ASK)?.stdout_text();
    }
    let of_agent = consoles.lines().filter(|line| line.contains("xend-agent:"));
    let of_agent = of_agent.collect::<Vec<_>>().join("\n");
    let begins = consoles.rfind("is held");
    let begins = begins.with_context(|| format!("nobody was held: {of_agent}"))?;
    for word in words {
        ensure!(consoles[begins..].contains(word), "the guest does not say `{word}`");
    }
    require_settled(world, &guest, from.other(), Toolstack::Xend)?;
    require_gone(rig.host(from.other()), &guest)?;
    back_without_agent(world, &guest)?;
    world.dismiss()
}

/// Nobody hears what xend says; once it has found that out, nobody asks again.
fn hangs_from_the_start(world: &mut World) -> Result<()> {
    let guest = make(world, STUCK)?;
    let (rig, from) = (world.rig(), Place::A);
    // It is stopped five seconds after it was started, and answers before.
    await_that("the silence of the agent", || {
        let command = format!("xend agent --rehearse 1 --keep-cache {}", guest.name());
        let output = rig.host(from).run(&command, MIGRATION_TIMEOUT)?;
        Ok((output.stdout_text() + &output.stderr_text()).contains("does not answer"))
    })?;
    require_gone(rig.host(from), &guest)?;
    // As if nobody had found out.
    let home = super::home(rig.host(from), &guest)?;
    let command = format!("xenstore-write {home}/data/xend-agent/versions '1 1'");
    rig.host(from).run_ok(&command, ASK)?;
    let flight = set_out(rig, &guest, from, Pairing::XEND_TCP, &Environment::default())?;
    let account = flight.finish(MIGRATION_TIMEOUT)?;
    account.require_success()?;
    let said = account.sender.stderr_text();
    ensure!(said.contains("the guest's agent does not answer"), "xend says: {said}");
    let prepare_ms = prepare_ms(&newest_report(rig.host(from))?).context("no time for it")?;
    println!("    it was waited for {prepare_ms:.0} ms");
    ensure!(prepare_ms < UNSEEN_MS, "the agent was waited for {prepare_ms} ms");
    require_settled(world, &guest, from.other(), Toolstack::Xend)?;
    back_without_agent(world, &guest)?;
    world.dismiss()
}

fn require_gone(host: &Host, guest: &Guest) -> Result<()> {
    let gone = node(host, guest, "data/xend-agent/versions");
    ensure!(gone.is_err(), "the nodes of an agent that is gone are there: {gone:?}");
    Ok(())
}

/// From host b to a, with no time for an agent.
fn back_without_agent(world: &World, guest: &Guest) -> Result<()> {
    let (rig, from) = (world.rig(), Place::B);
    let flight = set_out(rig, guest, from, Pairing::XEND_TCP, &Environment::default())?;
    flight.finish(MIGRATION_TIMEOUT)?.require_success()?;
    let time = prepare_ms(&newest_report(rig.host(from))?);
    ensure!(time.is_none(), "an agent that is gone was waited for: {time:?} ms");
    require_settled(world, guest, from.other(), Toolstack::Xend)
}
