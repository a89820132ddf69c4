//! A guest that suspends when nobody wants it to any more.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Guest, GuestKind, Host};
use scenarios::rig::ASK;
use scenarios::toolstack::{Toolstack, require_monitor};
use scenarios::traveller::{require_intact, small};

use super::SLOW;
use super::actions::id;
use crate::world::World;

const FILE: &str = "/root/late.save";

/// It is resumed, and watched over; but not if somebody has asked it anew.
pub(super) fn suspends(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&small(GuestKind::Pv))?;
    let host = world.rig().host(place);
    let id = id(host, guest.name())?;
    resumed(host, &guest, &id)?;
    left_alone(host, &guest, &id)
}

fn resumed(host: &Host, guest: &Guest, id: &str) -> Result<()> {
    host.run_ok(&format!("xenstore-write /local/domain/{id}/control/shutdown suspend"), ASK)?;
    let is_suspended = format!("xl list {id} | grep -q ' ...ss- '");
    host.run_ok(&format!("until {is_suspended}; do sleep 0.1; done"), ASK)?;
    ensure!(!guest.answers(Duration::from_secs(1))?, "it answers");
    host.run_ok(&format!("xend monitor --late {id}"), ASK)?;
    require_intact(guest)?;
    require_monitor(host, guest, Toolstack::Xend)
}

/// A stock xl saves it and lets it go on, and nobody resumes it in between.
fn left_alone(host: &Host, guest: &Guest, id: &str) -> Result<()> {
    let lock = format!("/run/xend/late-suspend-{id}.lock");
    let waiting = host.spawn(&format!("exec xend monitor --late {id}"))?;
    host.run_ok(&format!("until test -e {lock}; do sleep 0.1; done; sleep 0.5"), ASK)?;
    host.run_ok(&format!("xl save -c {id} {FILE}"), SLOW)?;
    ensure!(host.run(&format!("test -e {lock}"), ASK)?.status != 0, "it goes on waiting");
    let said = waiting.kill()?.stdout_text();
    ensure!(!said.contains("resuming"), "it interfered: {said}");
    host.run_ok(&format!("rm {FILE}"), ASK)?;
    require_intact(guest)?;
    Ok(())
}
