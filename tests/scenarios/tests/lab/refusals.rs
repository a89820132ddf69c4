//! Guests that cannot be moved: no memory for them, or they do not suspend.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::GuestKind;
use scenarios::flight::{Flight, Route};
use scenarios::helper::Helper::Ours;
use scenarios::rig::ASK;
use scenarios::runner::Scenario;
use scenarios::traveller::small;

use crate::world::World;

pub(crate) const SCENARIOS: &[Scenario<World>] = &[
    Scenario {
        name: "refusal::no_memory_on_the_destination",
        deadline: Duration::from_secs(180),
        run: no_memory,
    },
    Scenario {
        name: "refusal::the_guest_does_not_suspend",
        deadline: Duration::from_secs(240),
        run: guest_does_not_suspend,
    },
];

/// Less than any guest here needs.
const LEFT_MIB: u64 = 40;

fn no_memory(world: &mut World) -> Result<()> {
    let (guest, from) = world.guest(&small(GuestKind::Pv))?;
    let dest = world.rig().host(from.other());
    let ballast = dest.xen_free_mib()? - LEFT_MIB;
    let config = format!(
        "name = \"ballast\"\ntype = \"pv\"\nmemory = {ballast}\nvcpus = 1\n\
         kernel = \"/lab/guest/vmlinux\"\nramdisk = \"/lab/guest/initramfs\"\n"
    );
    dest.put_bytes(config.as_bytes(), "/root/ballast.cfg", 0o644)?;
    dest.run_ok("xl create -p /root/ballast.cfg", ASK * 3).context("cannot fill the host")?;
    let route = Route { guest: &guest, from, sender: Ours, receiver: Ours };
    let account = Flight::start(world.rig(), &route, false)?.finish(Duration::from_secs(90))?;
    dest.run_ok("xl destroy ballast", ASK)?;
    ensure!(account.sender.status != 0, "the migration did not fail: {}", account.said());
    let receiver = account.receiver.as_ref().context("the receiver does not end by itself")?;
    let said = receiver.stderr_text().to_lowercase();
    ensure!(
        receiver.status != 0 && said.contains("memory"),
        "the receiver does not say that memory is short: {}",
        account.said()
    );
    world.require_undisturbed(&guest, from)
}

/// A paused guest cannot answer. libxl gives it 60 s, and the helper must wait that long for libxl.
fn guest_does_not_suspend(world: &mut World) -> Result<()> {
    let (guest, from) = world.guest(&small(GuestKind::Pv))?;
    let source = world.rig().host(from);
    source.run_ok(&format!("xl pause {}", guest.name()), ASK)?;
    let route = Route { guest: &guest, from, sender: Ours, receiver: Ours };
    let account = Flight::start(world.rig(), &route, false)?.finish(Duration::from_secs(150));
    source.run_ok(&format!("xl unpause {}", guest.name()), ASK)?;
    let account = account?;
    ensure!(account.sender.status != 0, "the migration did not fail: {}", account.said());
    ensure!(
        account.sender.stderr_text().contains("suspend"),
        "the sender does not say that the guest did not suspend: {}",
        account.said()
    );
    world.require_undisturbed(&guest, from)
}
