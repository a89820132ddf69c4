//! Saving through a pipe, and a save that is killed.

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind, Host};
use scenarios::rig::ASK;
use scenarios::toolstack::{Toolstack, recover, require_monitor};
use scenarios::traveller::{require_intact, small};

use super::SLOW;
use super::actions::id;
use crate::world::World;

const PIPE: &str = "/root/pipe";
const FILE: &str = "/dev/shm/saved";

/// What comes out of a pipe is a saved guest, and one that goes into a pipe comes back.
pub(super) fn by_pipe(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&small(GuestKind::Pv))?;
    let host = world.rig().host(place);
    host.run_ok(&format!("mkfifo {PIPE}"), ASK)?;
    let reader = host.spawn(&format!("cat {PIPE} >{FILE}"))?;
    host.run_ok(&format!("xend save {} {PIPE}", guest.name()), SLOW)?;
    reader.wait(ASK)?;
    host.run_ok(&format!("xend stream inspect --verify {FILE}"), SLOW)?;
    let writer = host.spawn(&format!("cat {FILE} >{PIPE}"))?;
    host.run_ok(&format!("xend restore {PIPE}"), SLOW)?;
    writer.wait(ASK)?;
    host.run_ok(&format!("rm {PIPE} {FILE}"), ASK)?;
    require_intact(&guest)?;
    world.require_undisturbed(&guest, place)
}

/// Killed while the guest stands still: the guest runs again once somebody says `xend recover`.
pub(super) fn killed(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&small(GuestKind::Pv))?;
    let host = world.rig().host(place);
    let id = id(host, guest.name())?;
    // Nobody reads what comes out of it.
    host.run_ok(&format!("mkfifo {PIPE}"), ASK)?;
    let nobody = host.spawn(&format!("exec sleep 600 <{PIPE}"))?;
    let saving = host.spawn(&format!("exec xend save {} {PIPE}", guest.name()))?;
    wait_until_suspended(host, &id)?;
    saving.kill()?;
    nobody.kill()?;
    ensure!(is_suspended(host, &id)?, "killed, it has been resumed by nobody knows whom");
    let said = recover(host)?;
    ensure!(said.contains(guest.name()), "it is not said whose guest it was: {said}");
    require_back(host, &guest, &id).with_context(|| format!("recover said: {said}"))?;
    let again = recover(host)?;
    ensure!(!again.contains(guest.name()), "it has more to say: {again}");
    host.run_ok(&format!("rm {PIPE}"), ASK)?;
    world.require_undisturbed(&guest, place)
}

fn require_back(host: &Host, guest: &Guest, id: &str) -> Result<()> {
    ensure!(!is_suspended(host, id)?, "it is suspended");
    require_intact(guest)?;
    require_monitor(host, guest, Toolstack::Xend)
}

fn is_suspended(host: &Host, id: &str) -> Result<bool> {
    Ok(host.run(&format!("xl list {id} | grep -q ' ...s.. '"), ASK)?.status == 0)
}

fn wait_until_suspended(host: &Host, id: &str) -> Result<()> {
    let is_suspended = format!("xl list {id} | grep -q ' ...s.. '");
    host.run_ok(&format!("until {is_suspended}; do sleep 0.1; done"), ASK)?;
    Ok(())
}
