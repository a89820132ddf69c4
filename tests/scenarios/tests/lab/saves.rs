//! `xl save` and `xl restore`, ours and stock in all roles.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{GuestKind, Host};
use scenarios::helper::Helper::{self, Ours, Stock};
use scenarios::programs::workspace;
use scenarios::rig::ASK;
use scenarios::runner::Scenario;
use scenarios::savefile::{self, FILE};
use scenarios::toolstack::XEND;
use scenarios::traveller::{require_intact, small};

use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(240);

pub(crate) const PV: &[Scenario<World>] = &[
    Scenario {
        name: "pv::save::ours_restored_by_ours",
        deadline: DEADLINE,
        run: |world| save_and_restore(world, GuestKind::Pv, Ours, Ours),
    },
    Scenario {
        name: "pv::save::ours_restored_by_stock",
        deadline: DEADLINE,
        run: |world| save_and_restore(world, GuestKind::Pv, Ours, Stock),
    },
    Scenario {
        name: "pv::save::stock_restored_by_ours",
        deadline: DEADLINE,
        run: |world| save_and_restore(world, GuestKind::Pv, Stock, Ours),
    },
];

pub(crate) const PVH: &[Scenario<World>] = &[
    Scenario {
        name: "pvh::save::ours_restored_by_ours",
        deadline: DEADLINE,
        run: |world| save_and_restore(world, GuestKind::Pvh, Ours, Ours),
    },
    Scenario {
        name: "pvh::save::ours_restored_by_stock",
        deadline: DEADLINE,
        run: |world| save_and_restore(world, GuestKind::Pvh, Ours, Stock),
    },
    Scenario {
        name: "pvh::save::stock_restored_by_ours",
        deadline: DEADLINE,
        run: |world| save_and_restore(world, GuestKind::Pvh, Stock, Ours),
    },
];

fn save_and_restore(
    world: &mut World,
    kind: GuestKind,
    saver: Helper,
    restorer: Helper,
) -> Result<()> {
    let (guest, place) = world.guest(&small(kind))?;
    let host = world.rig().host(place);
    savefile::save(host, &guest, saver)?;
    if saver == Ours {
        check(host)?;
    }
    savefile::restore(host, restorer)?;
    host.run_ok(&format!("rm {FILE}"), ASK)?;
    world.require_undisturbed(&guest, place)?;
    require_intact(&guest)?;
    Ok(())
}

/// What we saved has to please Xen's own checker, and ours.
fn check(host: &Host) -> Result<()> {
    host.run_ok(&format!("{XEND} stream inspect --verify {FILE}"), ASK * 2)
        .context("`xend stream inspect` does not accept the file")?;
    let local = workspace().join("target/saved-by-ours");
    savefile::fetch(host, &local)?;
    let verdict = savefile::check_with_stock(&local);
    let _ = fs::remove_file(&local);
    verdict
}
