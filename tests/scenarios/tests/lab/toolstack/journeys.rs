//! Live migration of a guest whose network and disk are in use, there and back again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::GuestKind;
use scenarios::rig::ASK;
use scenarios::runner::Scenario;
use scenarios::toolstack::{Toolstack, require_monitor};
use scenarios::traveller::{equipped, find, require_intact};
use scenarios::voyage::{Environment, Pairing, set_out};

use super::{DEADLINE, MIGRATION_TIMEOUT, require_settled, theme};
use crate::world::World;

macro_rules! journeys {
    ($prefix:literal, $kind:ident) => {
        theme!($prefix, $kind, DEADLINE, {
            "xend_to_xend_by_tcp" => |world, kind| there_and_back(world, kind, Pairing::XEND_TCP),
            "xend_to_xend_by_pipe" => |world, kind| there_and_back(world, kind, Pairing::XEND_PIPE),
            "xend_to_xl" => |world, kind| there_and_back(world, kind, Pairing::XEND_TO_XL),
            "xl_to_xend" => |world, kind| there_and_back(world, kind, Pairing::XL_TO_XEND),
            "the_network_is_told_where_it_is" => announced,
            "to_xl_and_back_to_xend" => one_host_converted,
            "reboots_where_it_arrived" => reboot_after_arrival,
            "shuts_down_where_it_arrived" => shutdown_after_arrival,
        })
    };
}

pub(super) const PV: &[Scenario<World>] = journeys!("pv::toolstack", Pv);
pub(super) const PVH: &[Scenario<World>] = journeys!("pvh::toolstack", Pvh);

fn there_and_back(world: &mut World, kind: GuestKind, pairing: Pairing) -> Result<()> {
    migrate(world, kind, pairing).context("on the way there")?;
    migrate(world, kind, pairing).context("on the way back")
}

/// Between a host that runs `xend` and one that still runs `xl`.
fn one_host_converted(world: &mut World, kind: GuestKind) -> Result<()> {
    migrate(world, kind, Pairing::XEND_TO_XL).context("to xl")?;
    migrate(world, kind, Pairing::XEND_TO_XL.reversed()).context("back to xend")
}

fn migrate(world: &mut World, kind: GuestKind, pairing: Pairing) -> Result<()> {
    let (guest, from) = world.guest(&equipped(kind))?;
    let flight = set_out(world.rig(), &guest, from, pairing, &Environment::default())?;
    flight.finish(MIGRATION_TIMEOUT)?.require_success()?;
    require_settled(world, &guest, from.other(), pairing.receiver)
}

/// The destination tells switches (RARP) and neighbours (ARP, IPv6) five times each. The guest's own
/// kernel has something to say to neighbours too.
fn announced(world: &mut World, kind: GuestKind) -> Result<()> {
    const RARP: u16 = 0x8035;
    let capture = world.rig().lab().link().capture()?;
    migrate(world, kind, Pairing::XEND_TCP)?;
    let (guest, _) = world.guest(&equipped(kind))?;
    let mut seen = capture.finish();
    seen.retain(|frame| frame.mac == guest.mac());
    for (name, ethertype) in [("RARP", RARP), ("ARP", 0x0806), ("IPv6", 0x86dd)] {
        let times: Vec<Duration> = seen
            .iter()
            .filter(|frame| frame.ethertype == ethertype)
            .map(|frame| frame.after)
            .collect();
        let enough = if ethertype == RARP { times.len() == 5 } else { times.len() >= 5 };
        ensure!(enough, "{name} was sent at {times:?}");
    }
    Ok(())
}

/// The monitor that came with the migration makes the guest anew.
fn reboot_after_arrival(world: &mut World, kind: GuestKind) -> Result<()> {
    migrate(world, kind, Pairing::XEND_TCP)?;
    let (guest, place) = world.guest(&equipped(kind))?;
    let host = world.rig().host(place);
    host.run_ok(&format!("xl reboot -w {}", guest.name()), ASK * 2)?;
    ensure!(guest.answers(ASK * 4)?, "the guest does not come up again");
    ensure!(find(world.rig(), &guest)? == place, "the guest came up elsewhere");
    require_intact(&guest)?;
    require_monitor(host, &guest, Toolstack::Xend)
}

/// The monitor clears up after it. What is left of it anywhere, the end of the scenario finds.
fn shutdown_after_arrival(world: &mut World, kind: GuestKind) -> Result<()> {
    migrate(world, kind, Pairing::XEND_TCP)?;
    let (guest, place) = world.guest(&equipped(kind))?;
    let host = world.rig().host(place);
    host.run_ok(&format!("xl shutdown -w {}", guest.name()), ASK * 2)?;
    let gone = format!("while xl domid {}; do sleep 0.2; done", guest.name());
    host.run_ok(&gone, ASK).context("the domain has shut down and stays")?;
    Ok(())
}
