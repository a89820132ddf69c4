//! What becomes of a guest when it shuts down, reboots or crashes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::{Guest, GuestKind, Host};
use scenarios::rig::{ASK, Place};
use scenarios::traveller::{equipped, small};

use super::SLOW;
use crate::world::World;

/// It boots anew, reboots with the same devices, and is gone with all that belongs to it once it
/// powers off.
pub(super) fn reboot_and_poweroff(world: &mut World) -> Result<()> {
    world.dismiss()?;
    let spec = equipped(GuestKind::Pv);
    let host = world.rig().host(Place::A);
    let config = super::put_config(host, &spec, "")?;
    let guest = Guest::existing(&spec.name, spec.ip);
    host.run_ok(&format!("xend create {config}"), SLOW)?;
    wait_for_answer(&guest)?;
    let first = id(host, &spec.name)?;
    host.run_ok(&format!("xend reboot {}", spec.name), ASK)?;
    let second = wait_for_other(host, &spec.name, &first)?;
    wait_for_answer(&guest)?;
    ensure!(second != first, "the guest has kept its id");
    host.run_ok(&format!("xend shutdown {}", spec.name), ASK)?;
    wait_until_gone(host, &spec.name)
}

/// A guest that crashes is kept under another name, and a new one takes its place.
pub(super) fn crash(world: &mut World) -> Result<()> {
    world.dismiss()?;
    let spec = small(GuestKind::Pv);
    let host = world.rig().host(Place::A);
    let more = "on_crash = \"rename-restart\"\n";
    let text = spec.xl_config().replace("on_crash = \"preserve\"\n", more);
    let config = super::config_path(&spec);
    host.put_bytes(text.as_bytes(), &config, 0o644)?;
    let guest = Guest::existing(&spec.name, spec.ip);
    host.run_ok(&format!("xend create {config}"), SLOW)?;
    wait_for_answer(&guest)?;
    let first = id(host, &spec.name)?;
    host.run_ok(&format!("xl sysrq {} c", spec.name), ASK)?;
    wait_for_other(host, &spec.name, &first)?;
    wait_for_answer(&guest)?;
    let kept = host.run_ok(&format!("xl domname {first}"), ASK)?.stdout_text();
    ensure!(kept.starts_with(&format!("{}-2", spec.name)), "the old one is named {kept}");
    host.run_ok(&format!("xend destroy {first} && xend destroy {}", spec.name), SLOW)?;
    Ok(())
}

fn id(host: &Host, name: &str) -> Result<String> {
    Ok(host.run_ok(&format!("xl domid {name}"), ASK)?.stdout_text().trim().to_owned())
}

fn wait_for_other(host: &Host, name: &str, old: &str) -> Result<String> {
    let deadline = Instant::now() + SLOW;
    loop {
        let found = host.run(&format!("xl domid {name}"), ASK)?;
        let found = found.stdout_text().trim().to_owned();
        if !found.is_empty() && found != old {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "no new domain is named {name}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn wait_until_gone(host: &Host, name: &str) -> Result<()> {
    let deadline = Instant::now() + SLOW;
    while host.domains()?.iter().any(|domain| domain.name == name) {
        ensure!(Instant::now() < deadline, "{name} is still there");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn wait_for_answer(guest: &Guest) -> Result<()> {
    let deadline = Instant::now() + SLOW;
    while !guest.answers(Duration::from_secs(1))? {
        ensure!(Instant::now() < deadline, "{} does not answer", guest.name());
    }
    Ok(())
}
