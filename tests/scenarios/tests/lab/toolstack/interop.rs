//! A guest that one toolstack made is managed by the other.

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind, Host};
use scenarios::rig::{ASK, Place};
use scenarios::runner::Scenario;
use scenarios::savefile::FILE;
use scenarios::toolstack::{
    Toolstack::{self, Stock, Xend},
    require_known,
};
use scenarios::traveller::{equipped, require_intact};
use scenarios::voyage::{Environment, Pairing, Way, set_out};

use super::{DEADLINE, MIGRATION_TIMEOUT, domains, require_settled, theme};
use crate::world::World;

macro_rules! interop {
    ($prefix:literal, $kind:ident) => {
        theme!($prefix, $kind, DEADLINE, {
            "made_by_xend::listed_by_xl" => |world, kind| manage(world, kind, Xend, list),
            "made_by_xend::paused_by_xl" => |world, kind| manage(world, kind, Xend, pause),
            "made_by_xend::saved_and_restored_by_xl" => |w, kind| manage(w, kind, Xend, save),
            "made_by_xend::migrated_by_xl" => |world, kind| manage(world, kind, Xend, migrate),
            "made_by_xend::destroyed_by_xl" => |world, kind| manage(world, kind, Xend, destroy),
            "made_by_xl::listed_by_xend" => |world, kind| manage(world, kind, Stock, list),
            "made_by_xl::paused_by_xend" => |world, kind| manage(world, kind, Stock, pause),
            "made_by_xl::saved_and_restored_by_xend" => |w, kind| manage(w, kind, Stock, save),
            "made_by_xl::migrated_by_xend" => |world, kind| manage(world, kind, Stock, migrate),
            "made_by_xl::destroyed_by_xend" => |world, kind| manage(world, kind, Stock, destroy),
        })
    };
}

pub(super) const PV: &[Scenario<World>] = interop!("pv::interop", Pv);
pub(super) const PVH: &[Scenario<World>] = interop!("pvh::interop", Pvh);

/// What the other toolstack does: given the guest, where it is, and who does it.
type Deed = fn(&World, &Guest, Place, Toolstack) -> Result<()>;

fn manage(world: &mut World, kind: GuestKind, maker: Toolstack, deed: Deed) -> Result<()> {
    let (guest, place) = world.guest_by(maker, &equipped(kind))?;
    let manager = match maker {
        Stock => Xend,
        Xend => Stock,
    };
    deed(world, &guest, place, manager)
}

fn list(world: &World, guest: &Guest, place: Place, manager: Toolstack) -> Result<()> {
    let host = world.rig().host(place);
    require_known(host, guest)?;
    let listing = manager.run(host, &format!("list {}", guest.name()))?;
    ensure!(listing.lines().count() == 2, "`{manager} list` printed {listing}");
    let (by_stock, by_xend) = (Stock.config(host, guest)?, Xend.config(host, guest)?);
    ensure!(by_stock == by_xend, "xl tells {by_stock} and xend {by_xend}");
    for devices in ["network-list", "block-list"] {
        let listing = manager.run(host, &format!("{devices} {}", guest.name()))?;
        ensure!(listing.lines().count() == 2, "`{manager} {devices}` printed {listing}");
    }
    Ok(())
}

fn pause(world: &World, guest: &Guest, place: Place, manager: Toolstack) -> Result<()> {
    let host = world.rig().host(place);
    manager.run(host, &format!("pause {}", guest.name()))?;
    let state = |host: &Host| -> Result<String> {
        let domains = host.domains()?;
        let domain = domains.iter().find(|domain| domain.name == guest.name());
        Ok(domain.context("the guest is gone")?.state.clone())
    };
    let paused = state(host)?;
    manager.run(host, &format!("unpause {}", guest.name()))?;
    ensure!(paused.contains('p'), "its state was {paused}");
    world.require_undisturbed(guest, place)
}

fn save(world: &World, guest: &Guest, place: Place, manager: Toolstack) -> Result<()> {
    let host = world.rig().host(place);
    manager.run(host, &format!("save {} {FILE}", guest.name()))?;
    ensure!(domains(host)?.is_empty(), "the guest is still there");
    manager.run(host, &format!("restore {FILE}"))?;
    host.run_ok(&format!("rm {FILE}"), ASK)?;
    require_settled(world, guest, place, manager)
}

fn migrate(world: &World, guest: &Guest, place: Place, manager: Toolstack) -> Result<()> {
    let pairing = Pairing { sender: manager, receiver: manager, way: Way::Pipe };
    for from in [place, place.other()] {
        let flight = set_out(world.rig(), guest, from, pairing, &Environment::default())?;
        flight.finish(MIGRATION_TIMEOUT)?.require_success()?;
        require_settled(world, guest, from.other(), manager)?;
    }
    Ok(())
}

/// What is left of it, the end of the scenario finds.
fn destroy(world: &World, guest: &Guest, place: Place, manager: Toolstack) -> Result<()> {
    require_intact(guest)?;
    let host = world.rig().host(place);
    manager.run(host, &format!("destroy {}", guest.name()))?;
    ensure!(domains(host)?.is_empty(), "the guest is still there");
    Ok(())
}
