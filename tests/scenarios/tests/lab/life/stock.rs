//! Stock `xl` at work on a guest that `xend` made.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::GuestSpec;
use scenarios::rig::ASK;
use scenarios::toolstack::{Toolstack, require_known, require_monitor};
use scenarios::traveller::require_intact;

use super::SLOW;
use crate::world::World;

const FILE: &str = "/dev/shm/life.save";
const BACK: Duration = Duration::from_secs(30);

pub(super) fn manages_ours(world: &mut World, spec: &GuestSpec) -> Result<()> {
    let (guest, place) = world.guest_by(Toolstack::Xend, spec)?;
    let host = world.rig().host(place);
    require_known(host, &guest)?;
    require_monitor(host, &guest, Toolstack::Xend)?;
    let name = &spec.name;
    let list = host.run_ok(&format!("xl network-list {name}; xl block-list {name}"), ASK)?;
    let devices =
        list.stdout_text().lines().filter(|line| line.contains("/local/domain/0")).count();
    let expected = 1 + usize::from(spec.disk);
    ensure!(devices == expected, "xl lists {devices} devices:\n{}", list.stdout_text());

    host.run_ok(&format!("xl pause {name} && xl unpause {name}"), ASK)?;
    host.run_ok(
        &format!("xl save {name} {FILE} && xl restore {FILE}; e=$?; rm -f {FILE}; exit $e"),
        SLOW,
    )?;
    ensure!(guest.answers(BACK)?, "the guest does not answer after xl has saved and restored it");
    require_intact(&guest)?;
    host.run_ok(&format!("xl destroy {name}"), SLOW)?;
    Ok(())
}
