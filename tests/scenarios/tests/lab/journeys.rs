//! Live migration, ours and stock in all roles, with memory being written all the while.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::GuestKind;
use scenarios::flight::{Flight, Route};
use scenarios::helper::Helper::{self, Ours, Stock};
use scenarios::runner::Scenario;
use scenarios::traveller::{find, require_intact, usual};

use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(240);
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) const PV: &[Scenario<World>] = &[
    Scenario {
        name: "pv::migrate::ours_to_ours",
        deadline: DEADLINE,
        run: |world| migrate(world, GuestKind::Pv, Ours, Ours),
    },
    Scenario {
        name: "pv::migrate::ours_to_stock",
        deadline: DEADLINE,
        run: |world| migrate(world, GuestKind::Pv, Ours, Stock),
    },
    Scenario {
        name: "pv::migrate::stock_to_ours",
        deadline: DEADLINE,
        run: |world| migrate(world, GuestKind::Pv, Stock, Ours),
    },
];

pub(crate) const PVH: &[Scenario<World>] = &[
    Scenario {
        name: "pvh::migrate::ours_to_ours",
        deadline: DEADLINE,
        run: |world| migrate(world, GuestKind::Pvh, Ours, Ours),
    },
    Scenario {
        name: "pvh::migrate::ours_to_stock",
        deadline: DEADLINE,
        run: |world| migrate(world, GuestKind::Pvh, Ours, Stock),
    },
    Scenario {
        name: "pvh::migrate::stock_to_ours",
        deadline: DEADLINE,
        run: |world| migrate(world, GuestKind::Pvh, Stock, Ours),
    },
];

fn migrate(world: &mut World, kind: GuestKind, sender: Helper, receiver: Helper) -> Result<()> {
    let (guest, from) = world.guest(&usual(kind))?;
    let writes = || -> Result<u64> {
        guest.stats()?["writes"].as_u64().context("the workload does not count its writes")
    };
    let before = writes()?;
    let route = Route { guest: &guest, from, sender, receiver };
    let account = Flight::start(world.rig(), &route, false)?.finish(MIGRATION_TIMEOUT)?;
    account.require_success()?;
    require_intact(&guest)?;
    ensure!(find(world.rig(), &guest)? == from.other(), "the guest is where it was");

    // It wrote on the way, so that there was something to track: half the rate at least.
    let written = writes()? - before;
    let least = account.total.as_secs() * u64::from(usual(kind).workload.writes_per_s) / 2;
    ensure!(written >= least, "only {written} pages were written in {:?}", account.total);
    if sender == Ours {
        ensure!(
            account.sender.stderr_text().contains("rounds="),
            "the sender does not say what it did: {}",
            account.said()
        );
    }
    Ok(())
}
