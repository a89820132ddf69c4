//! What becomes of a guest when it shuts down, reboots or crashes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::{Guest, GuestKind, GuestSpec, Host};
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

/// Makes a small guest with this said of its end, and waits until it has booted.
fn make(world: &mut World, more: &str) -> Result<(GuestSpec, Guest, String)> {
    world.dismiss()?;
    let spec = small(GuestKind::Pv);
    let host = world.rig().host(Place::A);
    let text = spec.xl_config().replace("on_crash = \"preserve\"\n", "");
    let config = super::config_path(&spec);
    host.put_bytes(format!("{text}{more}\n").as_bytes(), &config, 0o644)?;
    let guest = Guest::existing(&spec.name, spec.ip);
    host.run_ok(&format!("xend create {config}"), SLOW)?;
    wait_for_answer(&guest)?;
    let id = id(host, &spec.name)?;
    Ok((spec, guest, id))
}

/// Of a guest that crashes its memory is kept; it is gone then, or starts anew.
pub(super) fn core(world: &mut World) -> Result<()> {
    for (action, comes_again) in [("coredump-destroy", false), ("coredump-restart", true)] {
        let (spec, guest, first) = make(world, &format!("on_crash = \"{action}\""))?;
        let host = world.rig().host(Place::A);
        let path = format!("/var/lib/xen/dump/{}", spec.name);
        host.run_ok(&format!("rm -f {path}"), ASK)?;
        host.run_ok(&format!("xend sysrq {} c", spec.name), ASK)?;
        if comes_again {
            wait_for_other(host, &spec.name, &first)?;
            wait_for_answer(&guest)?;
        } else {
            wait_until_gone(host, &spec.name)?;
        }
        let magic = host.run_ok(&format!("head -c 4 {path}"), ASK)?.stdout;
        ensure!(magic == b"\x7fELF", "{action}: {path} begins with {magic:?}");
        let bytes = host.run_ok(&format!("stat -c %s {path}"), ASK)?.stdout_text();
        let bytes: u64 = bytes.trim().parse()?;
        let least_bytes = u64::from(spec.memory_mib) << 20;
        ensure!(bytes >= least_bytes, "{action}: {path} has {bytes} bytes");
        host.run_ok(&format!("rm {path}"), ASK)?;
        if comes_again {
            host.run_ok(&format!("xend destroy {}", spec.name), SLOW)?;
        }
    }
    Ok(())
}

/// A guest that has shut down, rebooted or crashed stays as it is where it is to.
pub(super) fn preserved(world: &mut World) -> Result<()> {
    for (action, command, letter) in [
        ("on_poweroff", "xend shutdown", 's'),
        ("on_reboot", "xend reboot", 's'),
        ("on_crash", "xend sysrq", 'c'),
    ] {
        let (spec, _, first) = make(world, &format!("{action} = \"preserve\""))?;
        let host = world.rig().host(Place::A);
        let key = if letter == 'c' { " c" } else { "" };
        host.run_ok(&format!("{command} {}{key}", spec.name), ASK)?;
        let deadline = Instant::now() + SLOW;
        // Once its monitor has nothing more to do, it ends.
        let watched = format!("test -e /run/xend/monitor-{first}.lock");
        while host.run(&watched, ASK)?.status == 0 {
            ensure!(Instant::now() < deadline, "{action}: its monitor goes on");
            std::thread::sleep(Duration::from_millis(200));
        }
        let domains = host.domains()?;
        let found = domains.iter().find(|domain| domain.name == spec.name);
        let state = found.map(|domain| (domain.id.to_string(), domain.state.clone()));
        let is_kept = state.as_ref().is_some_and(|(id, s)| *id == first && s.contains(letter));
        ensure!(is_kept, "{action}: domain {first} is {state:?}");
        host.run_ok(&format!("xend destroy {first}"), SLOW)?;
    }
    Ok(())
}

/// A guest that reboots is kept under another name, with its devices taken down by who destroys it, and a
/// new one takes its place.
pub(super) fn renamed(world: &mut World) -> Result<()> {
    let (spec, guest, first) = make(world, "on_reboot = \"rename-restart\"")?;
    let host = world.rig().host(Place::A);
    host.run_ok(&format!("xend reboot {}", spec.name), ASK)?;
    let second = wait_for_other(host, &spec.name, &first)?;
    wait_for_answer(&guest)?;
    let kept = host.run_ok(&format!("xl domname {first}"), ASK)?.stdout_text();
    ensure!(kept.starts_with(&format!("{}-2", spec.name)), "the old one is named {kept}");
    let both = host.run_ok(&format!("xl list -l {first} && xl list -l {second}"), ASK)?;
    let both = both.stdout_text();
    ensure!(both.contains(kept.trim()), "stock does not know it by its new name: {both}");
    host.run_ok(&format!("xend destroy {first} && xend destroy {}", spec.name), SLOW)?;
    Ok(())
}

pub(super) fn id(host: &Host, name: &str) -> Result<String> {
    Ok(host.run_ok(&format!("xl domid {name}"), ASK)?.stdout_text().trim().to_owned())
}

pub(super) fn wait_for_other(host: &Host, name: &str, old: &str) -> Result<String> {
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

pub(super) fn wait_until_gone(host: &Host, name: &str) -> Result<()> {
    let deadline = Instant::now() + SLOW;
    while host.domains()?.iter().any(|domain| domain.name == name) {
        ensure!(Instant::now() < deadline, "{name} is still there");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

pub(super) fn wait_for_answer(guest: &Guest) -> Result<()> {
    let deadline = Instant::now() + SLOW;
    while !guest.answers(Duration::from_secs(1))? {
        ensure!(Instant::now() < deadline, "{} does not answer", guest.name());
    }
    Ok(())
}
