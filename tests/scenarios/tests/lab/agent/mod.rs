//! Guests with an agent: what it does before and during a move, and what is left when it dies.

mod faults;
mod impostors;

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind, GuestSpec, Host, ProcessRole, ProcessSpec};
use scenarios::rig::ASK;
use scenarios::runner::Scenario;
use scenarios::toolstack::Toolstack;
use scenarios::traveller::small;
use scenarios::voyage::{Environment, Pairing, set_out};
use serde_json::Value;

use crate::toolstack::require_settled;
use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(300);
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(120);
/// For what the agent does within seconds, on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(30);
/// How long rates are measured.
const WINDOW: Duration = Duration::from_secs(5);

/// Less than the rogue writes, and more than all others do.
const LINK_MBIT: u32 = 30;

const ROGUE: u16 = 7101;
const READER: u16 = 7102;

pub(crate) fn scenarios() -> Vec<Scenario<World>> {
    [SCENARIOS, faults::SCENARIOS, impostors::SCENARIOS].concat()
}

const SCENARIOS: &[Scenario<World>] = &[
    Scenario {
        name: "agent::holds_a_rogue_writer_and_releases_it",
        deadline: DEADLINE,
        run: holds_and_releases,
    },
    Scenario {
        name: "agent::moves_with_its_guest_and_releases_the_rogue_on_arrival",
        deadline: DEADLINE,
        run: moves,
    },
];

/// A guest with a writer that no link of the lab can follow, and a reader that does no harm.
fn helped() -> GuestSpec {
    let small = small(GuestKind::Pv);
    let process =
        |role, memory_mib, pages_per_s, port| ProcessSpec { role, memory_mib, pages_per_s, port };
    GuestSpec {
        name: "helped".to_owned(),
        memory_mib: small.memory_mib + 48,
        ip: Ipv4Addr::new(10, 77, 0, 105),
        processes: vec![
            process(ProcessRole::Writer, 16, 3000, ROGUE),
            process(ProcessRole::Reader, 4, 200, READER),
        ],
        agent: true,
        ..small
    }
}

fn holds_and_releases(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest_by(Toolstack::Xend, &helped())?;
    let host = world.rig().host(place);
    await_agent(host, &guest)?;
    let free = rates(&guest)?;
    ensure!(free.rogue > 500.0 && free.reader > 50.0, "the guest is too slow: {free:?}");

    let command = format!(
        "xend agent --rehearse 15 --rate 1024 --keep-cache {} > /tmp/rehearsal 2>&1 &",
        guest.name()
    );
    host.run_ok(&command, ASK)?;
    thread::sleep(Duration::from_secs(5));
    let held = rates(&guest)?;
    println!("    free {free:?}, held {held:?}");
    ensure!(held.rogue < free.rogue * 0.5, "the rogue runs: {held:?}, it did {free:?}");
    ensure!(held.reader > free.reader * 0.8, "the reader does not: {held:?}, it did {free:?}");

    host.run_ok("until grep -q -e released -e left /tmp/rehearsal; do sleep 0.1; done", SOON)?;
    let said = host.run_ok("cat /tmp/rehearsal", ASK)?.stdout_text();
    ensure!(said.contains("everything is released"), "the rehearsal ends: {said}");
    ensure!(said.contains("program:  xend-agent"), "it begins: {said}");
    await_running(&guest, free.rogue, Duration::from_secs(5))?;
    ensure!(node(host, &guest, "data/xend-agent/state")?.starts_with("idle"), "not idle");

    // Without a word: as if the program were killed.
    let command = format!(
        "xend agent --rehearse 600 --rate 1024 --keep-cache {} > /tmp/rehearsal 2>&1 & echo $!",
        guest.name()
    );
    let pid = host.run_ok(&command, ASK)?.stdout_text();
    await_state(host, &guest, "pre-copy")?;
    host.run_ok(&format!("kill -9 {}", pid.trim()), ASK)?;
    await_state(host, &guest, "idle the host is silent")?;
    await_running(&guest, free.rogue, Duration::from_secs(5))?;
    // Nobody else would.
    host.run_ok(&format!("xenstore-rm {}/control/xend-agent", home(host, &guest)?), ASK)?;
    Ok(())
}

/// To another xend, and on to a stock xl, where nobody tells the agent anything.
fn moves(world: &mut World) -> Result<()> {
    for pairing in [Pairing::XEND_TCP, Pairing::XEND_TO_XL] {
        move_to(world, pairing).with_context(|| pairing.to_string())?;
    }
    Ok(())
}

fn move_to(world: &mut World, pairing: Pairing) -> Result<()> {
    let (guest, from) = world.guest_by(Toolstack::Xend, &helped())?;
    let (rig, to) = (world.rig(), from.other());
    await_agent(rig.host(from), &guest)?;
    let free = rates(&guest)?;
    let before = held_so_far(rig.host(from), &guest)?;
    rig.lab().link().shape(Some(LINK_MBIT))?;
    let flight = set_out(rig, &guest, from, pairing, &Environment::default())?;
    let account = flight.finish(MIGRATION_TIMEOUT * 2)?;
    let arrived = Instant::now();
    rig.lab().link().shape(None)?;
    account.require_success()?;
    let said = account.sender.stderr_text();
    ensure!(said.contains("the guest's agent has prepared"), "the agent is not heard of: {said}");
    await_running(&guest, free.rogue, Duration::from_secs(5))?;
    println!("    the rogue runs {:.1} s after the end", arrived.elapsed().as_secs_f32());
    let held = held_so_far(rig.host(from), &guest)?;
    ensure!(held > before, "nobody was held");
    await_agent(rig.host(to), &guest)?;
    let left = node(rig.host(to), &guest, "control/xend-agent/command");
    ensure!(left.is_err(), "a command is left: {left:?}");
    require_settled(world, &guest, to, pairing.receiver)
}

/// How often the guest's console on this host tells of somebody who is held.
fn held_so_far(host: &Host, guest: &Guest) -> Result<usize> {
    // One that has arrived goes on in another file.
    let command = format!("cat /var/log/xen/guest-{}*.log", guest.name());
    Ok(host.run_ok(&command, ASK)?.stdout_text().matches("is held").count())
}

/// How long the guest's agent was waited for, by xend's report; `None` if nobody was.
fn prepare_ms(report: &Value) -> Option<f64> {
    let steps = report["source"].as_array()?;
    steps.iter().find(|step| step["step"] == "prepare the guest")?["ms"].as_f64()
}

/// Pages a second.
#[derive(Debug, Clone, Copy)]
struct Rates {
    rogue: f64,
    reader: f64,
}

fn rates(guest: &Guest) -> Result<Rates> {
    let done = |port| {
        let figures = guest.process(port, SOON)?;
        anyhow::Ok(figures.with_context(|| format!("process {port} does not answer"))?.done_pages)
    };
    let began = Instant::now();
    let (rogue, reader) = (done(ROGUE)?, done(READER)?);
    thread::sleep(WINDOW);
    let (rogue_end, reader_end) = (done(ROGUE)?, done(READER)?);
    let rate = |before: u64, after: u64| (after - before) as f64 / began.elapsed().as_secs_f64();
    Ok(Rates { rogue: rate(rogue, rogue_end), reader: rate(reader, reader_end) })
}

/// The rogue has to do most of what it did, soon.
fn await_running(guest: &Guest, rate: f64, within: Duration) -> Result<()> {
    let done = || {
        let figures = guest.process(ROGUE, Duration::from_secs(2))?;
        anyhow::Ok(figures.map_or(0, |figures| figures.done_pages))
    };
    let deadline = Instant::now() + within;
    loop {
        let (began, before) = (Instant::now(), done()?);
        thread::sleep(Duration::from_millis(500));
        let now = (done()?.saturating_sub(before)) as f64 / began.elapsed().as_secs_f64();
        if now > rate * 0.6 && before > 0 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the rogue is held: {now} pages/s, it did {rate}");
    }
}

fn await_agent(host: &Host, guest: &Guest) -> Result<()> {
    await_that("the agent", || {
        let output = host.run(&format!("xend agent {}", guest.name()), ASK)?;
        Ok(output.status == 0 && output.stdout_text().contains("state:    idle"))
    })
}

fn await_state(host: &Host, guest: &Guest, state: &str) -> Result<()> {
    await_that(state, || Ok(node(host, guest, "data/xend-agent/state").is_ok_and(|s| s == state)))
}

fn await_that(what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + MIGRATION_TIMEOUT;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn node(host: &Host, guest: &Guest, path: &str) -> Result<String> {
    let path = format!("{}/{path}", home(host, guest)?);
    Ok(host.run_ok(&format!("xenstore-read {path}"), ASK)?.stdout_text().trim().to_owned())
}

fn home(host: &Host, guest: &Guest) -> Result<String> {
    let domid = host.run_ok(&format!("xl domid {}", guest.name()), ASK)?.stdout_text();
    Ok(format!("/local/domain/{}", domid.trim()))
}
