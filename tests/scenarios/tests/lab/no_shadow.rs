//! A PV guest on a hypervisor that cannot track its writes.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::GuestKind;
use scenarios::flight::{Flight, Route};
use scenarios::helper::Helper::Ours;
use scenarios::runner::Scenario;
use scenarios::traveller::small;

use crate::world::World;

pub(crate) const SCENARIOS: &[Scenario<World>] = &[Scenario {
    name: "no_shadow::a_pv_guest_is_refused_with_the_reason",
    deadline: Duration::from_secs(150),
    run: pv_guest_is_refused,
}];

fn pv_guest_is_refused(world: &mut World) -> Result<()> {
    let (guest, from) = world.guest(&small(GuestKind::Pv))?;
    let route = Route { guest: &guest, from, sender: Ours, receiver: Ours };
    let account = Flight::start(world.rig(), &route, false)?.finish(Duration::from_secs(60))?;
    ensure!(account.sender.status != 0, "the migration did not fail: {}", account.said());
    ensure!(
        account.sender.stderr_text().contains("CONFIG_SHADOW_PAGING"),
        "the reason is not named: {}",
        account.said()
    );
    world.require_undisturbed(&guest, from)
}
