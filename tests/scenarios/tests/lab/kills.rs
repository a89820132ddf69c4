//! Processes and links that vanish while a guest is on its way.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Guest, GuestKind, Host};
use scenarios::flight::{Account, Flight, Route};
use scenarios::helper::Helper::{self, Ours, Stock};
use scenarios::rig::{ASK, Place};
use scenarios::runner::Scenario;
use scenarios::traveller::small;

use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(180);
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(90);
/// When so much has been sent of the first round, something is done to it.
const MIDWAY_BYTES: u64 = 30 * 1024 * 1024;
const CUT: Duration = Duration::from_secs(4);

pub(crate) const SCENARIOS: &[Scenario<World>] = &[
    Scenario {
        name: "kill::sigterm_to_the_sending_helper",
        deadline: DEADLINE,
        run: |world| interrupt(world, |host, _| signal(host, "xend-save-helper", "TERM")),
    },
    Scenario {
        name: "kill::sigkill_to_the_sending_helper",
        deadline: DEADLINE,
        run: sigkill_to_sending_helper,
    },
    Scenario {
        name: "kill::sigkill_to_the_receiving_helper",
        deadline: DEADLINE,
        run: |world| interrupt(world, |_, host| signal(host, "xend-save-helper", "KILL")),
    },
    Scenario {
        name: "kill::sigkill_to_xl_migrate",
        deadline: DEADLINE,
        run: sigkill_to_xl_migrate,
    },
    Scenario { name: "kill::link_cut_and_connection_killed", deadline: DEADLINE, run: link_cut },
    Scenario {
        name: "kill::stock_migrates_the_guest_after_all_that",
        deadline: DEADLINE,
        run: |world| to_and_fro(world, Stock),
    },
];

/// Starts a migration, does something to it midway (given the source's and the destination's
/// host), and expects it to fail with the guest running on.
fn interrupt(world: &mut World, deed: fn(&Host, &Host) -> Result<()>) -> Result<()> {
    let (guest, from) = world.guest(&small(GuestKind::Pv))?;
    let flight = midway(world, &guest, from)?;
    deed(world.rig().host(from), world.rig().host(from.other()))?;
    let account = flight.finish(MIGRATION_TIMEOUT)?;
    require_failure(&account)?;
    world.require_undisturbed(&guest, from)
}

fn midway<'a>(world: &'a World, guest: &Guest, from: Place) -> Result<Flight<'a>> {
    let route = Route { guest, from, sender: Ours, receiver: Ours };
    let mut flight = Flight::start(world.rig(), &route, false)?;
    flight.wait_for_bytes(MIDWAY_BYTES, Duration::from_secs(60))?;
    Ok(flight)
}

fn require_failure(account: &Account) -> Result<()> {
    ensure!(account.sender.status != 0, "the sender did not fail: {}", account.said());
    let receiver = account.receiver.as_ref().map(|output| output.status);
    ensure!(
        receiver.is_some_and(|status| status != 0),
        "the receiver did not end by itself, or did not fail: {}",
        account.said()
    );
    Ok(())
}

fn signal(host: &Host, program: &str, signal: &str) -> Result<()> {
    host.run_ok(&format!("kill -{signal} $(pidof {program})"), ASK)?;
    Ok(())
}

/// Nobody is left who could turn log-dirty off: the next migration has to begin with that.
fn sigkill_to_sending_helper(world: &mut World) -> Result<()> {
    interrupt(world, |host, _| signal(host, "xend-save-helper", "KILL"))?;
    to_and_fro(world, Ours)
}

/// The helper has to notice that it is alone, and the receiver that nothing comes any more.
fn sigkill_to_xl_migrate(world: &mut World) -> Result<()> {
    interrupt(world, |host, _| {
        let command = "for p in $(pidof xl); do \
                       tr '\\0' ' ' </proc/$p/cmdline | grep -q 'xl migrate -s' && echo $p; done";
        let pids = host.run(command, ASK)?.stdout_text();
        let pid = pids.split_whitespace().next().unwrap_or_default().to_owned();
        ensure!(!pid.is_empty(), "`xl migrate` is not to be found");
        host.run_ok(&format!("kill -KILL {pid}"), ASK)?;
        Ok(())
    })
}

/// A cut alone is waited out. Once the sender's end of the connection is gone too, the sender
/// gives up; the receiver hears of it when the link is whole again.
fn link_cut(world: &mut World) -> Result<()> {
    let (guest, from) = world.guest(&small(GuestKind::Pv))?;
    let mut flight = midway(world, &guest, from)?;
    let link = world.rig().lab().link();
    link.cut()?;
    ensure!(!flight.sender_ends(CUT)?, "a cut of {CUT:?} ended it");
    signal(world.rig().host(from), "relay", "KILL")?;
    // The sender has to give up while the link is still cut.
    ensure!(
        flight.sender_ends(MIGRATION_TIMEOUT)?,
        "the sender does not give up while the link is cut"
    );
    world.require_undisturbed(&guest, from)?;
    link.heal()?;
    // Time for the first packet again: the kernel's retransmissions have become rare.
    thread::sleep(CUT);
    require_failure(&flight.finish(MIGRATION_TIMEOUT)?)?;
    world.require_undisturbed(&guest, from)
}

/// There and back again with one helper on both sides.
fn to_and_fro(world: &mut World, helper: Helper) -> Result<()> {
    for _ in 0..2 {
        let (guest, from) = world.guest(&small(GuestKind::Pv))?;
        let route = Route { guest: &guest, from, sender: helper, receiver: helper };
        let account = Flight::start(world.rig(), &route, false)?.finish(MIGRATION_TIMEOUT)?;
        account.require_success()?;
        world.require_undisturbed(&guest, from.other())?;
    }
    Ok(())
}
