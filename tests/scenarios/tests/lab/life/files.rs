//! Disks that are files, which the block script puts behind loop devices.

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind, GuestSpec, Host};
use scenarios::rig::{ASK, Place};
use scenarios::toolstack::{Toolstack, require_known};
use scenarios::traveller::{equipped, find, require_intact, small};
use scenarios::voyage::{Environment, Pairing, set_out};

use super::SLOW;
use super::actions::{wait_for_answer, wait_until_gone};
use crate::world::World;

const IMAGE: &str = "/root/disk.img";
const IMAGE_MIB: u32 = 64;

fn make_image(host: &Host) -> Result<()> {
    host.run_ok(&format!("dd if=/dev/zero of={IMAGE} bs=1M count={IMAGE_MIB} 2>/dev/null"), ASK)?;
    Ok(())
}

/// Loop devices on the image.
fn loops(host: &Host) -> Result<String> {
    let listed = host.run_ok("losetup -a", ASK)?.stdout_text();
    Ok(listed.lines().filter(|line| line.contains(IMAGE)).collect())
}

fn make(host: &Host, spec: &GuestSpec, disk: &str) -> Result<Guest> {
    let text = spec.xl_config();
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("disk"))
        .fold(String::new(), |text, line| text + line + "\n");
    let path = super::config_path(spec);
    host.put_bytes(format!("{text}disk = [ \"{disk}\" ]\n").as_bytes(), &path, 0o644)?;
    host.run_ok(&format!("xend create {path}"), SLOW)?;
    let guest = Guest::existing(&spec.name, spec.ip);
    wait_for_answer(&guest)?;
    Ok(guest)
}

/// A guest works on its file, and once it is gone, by itself or by force, the loop device is free.
pub(super) fn disk(world: &mut World) -> Result<()> {
    world.dismiss()?;
    let host = world.rig().host(Place::A);
    let spec = equipped(GuestKind::Pv);
    for (disk, by_force) in [
        (format!("file:{IMAGE},xvda,w"), false),
        (format!("{IMAGE},raw,xvda,rw"), true),
        (format!("format=raw, vdev=xvda, access=rw, target={IMAGE}"), true),
    ] {
        make_image(host)?;
        let guest = make(host, &spec, &disk)?;
        require_intact(&guest).with_context(|| disk.clone())?;
        require_known(host, &guest)?;
        ensure!(!loops(host)?.is_empty(), "{disk}: there is no loop device");
        let listed = Toolstack::Xend.run(host, &format!("block-list {}", guest.name()))?;
        ensure!(listed.contains("51712"), "{disk}: {listed}");
        if by_force {
            host.run_ok(&format!("xend destroy {}", guest.name()), SLOW)?;
        } else {
            host.run_ok(&format!("xend shutdown {}", guest.name()), ASK)?;
            wait_until_gone(host, guest.name())?;
        }
        let left = loops(host)?;
        ensure!(left.is_empty(), "{disk}: left behind: {left}");
    }
    host.run_ok(&format!("rm {IMAGE}"), ASK)?;
    Ok(())
}

/// It goes where the file is too, and nowhere else.
pub(super) fn travel(world: &mut World) -> Result<()> {
    world.dismiss()?;
    let (source, dest) = (world.rig().host(Place::A), world.rig().host(Place::B));
    make_image(source)?;
    let guest = make(source, &small(GuestKind::Pv), &format!("{IMAGE},raw,xvda,rw"))?;
    let set_out = |options| {
        let environment = Environment::with_options(options);
        set_out(world.rig(), &guest, Place::A, Pairing::XEND_TCP, &environment)?.finish(SLOW)
    };
    let account = set_out("")?;
    let said = account.sender.stderr_text();
    ensure!(account.sender.status != 0, "it went where its disk is not: {said}");
    let why = format!("{IMAGE} does not exist");
    ensure!(said.contains(&why), "that its disk is not there was not said: {said}");
    ensure!(find(world.rig(), &guest)? == Place::A, "it is not where it was");
    // What is in the file is the administrator's business.
    make_image(dest)?;
    set_out("")?.require_success()?;
    require_intact(&guest)?;
    ensure!(find(world.rig(), &guest)? == Place::B, "it has not come");
    ensure!(loops(source)?.is_empty(), "left at the source: {}", loops(source)?);
    ensure!(!loops(dest)?.is_empty(), "there is no loop device at the destination");
    dest.run_ok(&format!("xend destroy {}", guest.name()), SLOW)?;
    ensure!(loops(dest)?.is_empty(), "left at the destination: {}", loops(dest)?);
    for host in [source, dest] {
        host.run_ok(&format!("rm {IMAGE}"), ASK)?;
    }
    Ok(())
}
