//! The ways to start a guest, and to say what it is to be the next time.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Guest, GuestKind, GuestSpec, Host};
use scenarios::rig::{ASK, Place};
use scenarios::traveller::small;

use super::SLOW;
use super::actions::{id, wait_for_answer, wait_for_other, wait_until_gone};
use crate::world::World;

fn prepare(world: &mut World) -> Result<(GuestSpec, Guest)> {
    world.dismiss()?;
    let spec = small(GuestKind::Pv);
    super::put_config(world.rig().host(Place::A), &spec, "")?;
    let guest = Guest::existing(&spec.name, spec.ip);
    Ok((spec, guest))
}

fn end(host: &Host, spec: &GuestSpec) -> Result<()> {
    host.run_ok(&format!("xend destroy {}", spec.name), SLOW)?;
    Ok(())
}

/// Whoever makes it sees its console from the first line on (`-c`).
pub(super) fn console(world: &mut World) -> Result<()> {
    let (spec, guest) = prepare(world)?;
    let host = world.rig().host(Place::A);
    let path = super::config_path(&spec);
    // It ends with the guest, or when it is left by its key, or its input ends.
    let command =
        format!("{{ sleep 60; printf '\\035'; }} | timeout 90 xend create -c {path} 2>&1");
    let watching = host.spawn(&format!("{{ {command}; }} >/root/console.txt"))?;
    wait_for_answer(&guest)?;
    end(host, &spec)?;
    std::thread::sleep(Duration::from_secs(2));
    watching.kill()?;
    let said = host.run_ok("cat /root/console.txt; rm /root/console.txt", ASK)?.stdout_text();
    ensure!(said.contains("guest-workload: ready"), "the console: {said}");
    Ok(())
}

/// Its monitor is the command that made it (`-F`), which ends with it.
pub(super) fn foreground(world: &mut World) -> Result<()> {
    let (spec, guest) = prepare(world)?;
    let host = world.rig().host(Place::A);
    let path = super::config_path(&spec);
    let making = host.spawn(&format!("xend create -F {path}; echo $? >/root/status.txt"))?;
    wait_for_answer(&guest)?;
    ensure!(host.run("test -e /root/status.txt", ASK)?.status != 0, "it did not stay");
    host.run_ok(&format!("xend shutdown {}", spec.name), ASK)?;
    wait_until_gone(host, &spec.name)?;
    let wait = "until test -s /root/status.txt; do sleep 0.2; done; cat /root/status.txt";
    let status = host.run_ok(wait, ASK)?.stdout_text();
    host.run_ok("rm /root/status.txt", ASK)?;
    making.kill()?;
    ensure!(status.trim() == "0", "it exited with {status}");
    Ok(())
}

/// What `config-update` says holds from the next start on, and not before.
pub(super) fn updated(world: &mut World) -> Result<()> {
    let (spec, guest) = prepare(world)?;
    let host = world.rig().host(Place::A);
    let path = super::config_path(&spec);
    host.run_ok(&format!("xend create {path}"), SLOW)?;
    wait_for_answer(&guest)?;
    let first = id(host, &spec.name)?;
    let memory_mib = |host: &Host| -> Result<Option<u64>> {
        let domains = host.domains()?;
        Ok(domains.iter().find(|d| d.name == spec.name).map(|d| d.memory_mib))
    };
    let (old, new) = (u64::from(spec.memory_mib), u64::from(spec.memory_mib) + 8);
    let update =
        format!("xend config-update {} {path} memory={new} 'on_reboot=\"destroy\"'", spec.name);
    host.run_ok(&update, ASK)?;
    ensure!(memory_mib(host)? == Some(old), "it has {:?} MiB at once", memory_mib(host)?);
    // That it restarts at all is said by what it was made with, as with xl.
    host.run_ok(&format!("xend reboot {}", spec.name), ASK)?;
    wait_for_other(host, &spec.name, &first)?;
    wait_for_answer(&guest)?;
    ensure!(memory_mib(host)? == Some(new), "it has {:?} MiB", memory_mib(host)?);
    // By now that is what it was made with.
    host.run_ok(&format!("xend reboot {}", spec.name), ASK)?;
    wait_until_gone(host, &spec.name)
}
