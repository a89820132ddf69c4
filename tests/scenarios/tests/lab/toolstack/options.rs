//! What `xend migrate` can be told about the guest that it sends.

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind};
use scenarios::rig::{ASK, Place};
use scenarios::runner::Scenario;
use scenarios::toolstack::{Toolstack, require_monitor};
use scenarios::traveller::{find, require_intact, small};
use scenarios::voyage::{Environment, Pairing, set_out};

use super::{DEADLINE, MIGRATION_TIMEOUT, require_settled};
use crate::world::World;

pub(super) const SCENARIOS: &[Scenario<World>] = &[
    Scenario { name: "options::another_configuration", deadline: DEADLINE, run: configuration },
    Scenario { name: "options::the_same_id", deadline: DEADLINE, run: same_id },
    Scenario { name: "options::everything_twice", deadline: DEADLINE, run: everything_twice },
];

const CONFIG: &str = "/root/other.cfg";

fn migrate(
    world: &World,
    guest: &Guest,
    from: Place,
    pairing: Pairing,
    options: &str,
) -> Result<String> {
    let environment = Environment::with_options(options);
    let flight = set_out(world.rig(), guest, from, pairing, &environment)?;
    let account = flight.finish(MIGRATION_TIMEOUT)?;
    account.require_success().with_context(|| format!("{options}: {pairing}"))?;
    require_settled(world, guest, from.other(), pairing.receiver)
        .with_context(|| format!("{options}: {pairing}"))?;
    Ok(account.sender.stderr_text())
}

/// It arrives with the configuration that was given in place of its own (`-C`), and is what it says
/// when it starts anew.
fn configuration(world: &mut World) -> Result<()> {
    let spec = small(GuestKind::Pv);
    for (pairing, memory_mib) in [(Pairing::XEND_TO_XL, 120), (Pairing::XEND_TCP, 124)] {
        let (guest, from) = world.guest(&spec)?;
        let own = format!("memory = {}\n", spec.memory_mib);
        let text = spec.xl_config().replace(&own, &format!("memory = {memory_mib}\n"));
        ensure!(text != spec.xl_config(), "the configuration says nothing of its memory");
        let text = format!("{text}on_watchdog = \"preserve\"\n");
        world.rig().host(from).put_bytes(text.as_bytes(), CONFIG, 0o644)?;
        migrate(world, &guest, from, pairing, &format!("-C {CONFIG}"))?;
        let host = world.rig().host(from.other());
        let config = Toolstack::Stock.config(host, &guest)?;
        let told = &config["config"]["on_watchdog"];
        ensure!(told == "preserve", "{pairing}: on_watchdog is {told}");
    }
    // Of what it now is, memory shows only after the start.
    let (guest, place) = world.guest(&spec)?;
    let host = world.rig().host(place);
    host.run_ok(&format!("xend reboot -w {}", guest.name()), ASK * 2)?;
    ensure!(guest.answers(ASK * 4)?, "the guest does not come up again");
    require_intact(&guest)?;
    require_monitor(host, &guest, Toolstack::Xend)
}

/// It keeps its id (`-D`), and gets another one when it starts anew.
fn same_id(world: &mut World) -> Result<()> {
    for pairing in [Pairing::XEND_TO_XL, Pairing::XEND_PIPE] {
        world.dismiss()?;
        let (guest, from) = world.guest(&small(GuestKind::Pv))?;
        let (source, dest) = (world.rig().host(from), world.rig().host(from.other()));
        // Ids are not used again for a minute; here that would be in the way.
        dest.run_ok("rm -f /run/xen/domid-history", ASK)?;
        let id = |host: &lab::Host| Toolstack::Stock.run(host, &format!("domid {}", guest.name()));
        let before = id(source)?;
        migrate(world, &guest, from, pairing, "-D")?;
        ensure!(id(dest)? == before, "{pairing}: it was {before} and is {}", id(dest)?);
        if pairing.receiver == Toolstack::Xend {
            dest.run_ok(&format!("xend reboot -w {}", guest.name()), ASK * 2)?;
            ensure!(guest.answers(ASK * 4)?, "the guest does not come up again");
            ensure!(find(world.rig(), &guest)? == from.other(), "the guest came up elsewhere");
            ensure!(id(dest)? != before, "it has its id again, which was in use a moment ago");
            require_monitor(dest, &guest, Toolstack::Xend)?;
        }
    }
    Ok(())
}

/// All memory is sent again while it is suspended (`--debug`), and the receiver finds no difference.
fn everything_twice(world: &mut World) -> Result<()> {
    for pairing in [Pairing::XEND_PIPE, Pairing::XEND_TO_XL] {
        let (guest, from) = world.guest(&small(GuestKind::Pv))?;
        migrate(world, &guest, from, pairing, "--debug")?;
    }
    Ok(())
}
