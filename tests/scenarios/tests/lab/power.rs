//! `xend reboot` and `xend shutdown` of a guest that stock `xl` made and looks after.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{GuestKind, Host};
use scenarios::rig::ASK;
use scenarios::runner::Scenario;
use scenarios::toolstack::XEND;
use scenarios::traveller::small;

use crate::world::World;

/// A guest takes some 5 s to shut down, and 20 s to boot.
const ENDING: Duration = Duration::from_secs(90);

pub(crate) const SCENARIOS: &[Scenario<World>] = &[
    Scenario {
        name: "power::a_guest_reboots_and_shuts_down",
        deadline: Duration::from_secs(300),
        run: reboot_and_shut_down,
    },
    Scenario {
        name: "power::a_guest_that_does_not_hear_is_not_waited_for_forever",
        deadline: Duration::from_secs(240),
        run: deaf,
    },
];

fn reboot_and_shut_down(world: &mut World) -> Result<()> {
    world.dismiss()?;
    let (guest, place) = world.guest(&small(GuestKind::Pv))?;
    let host = world.rig().host(place);
    let before = domid(host, guest.name())?.context("the guest is not there")?;
    host.run_ok(&format!("{XEND} reboot {}", guest.name()), ENDING)?;
    let after = wait_for(|| domid(host, guest.name()), |now| now.is_some_and(|now| now != before))
        .context("the guest is not made anew")?
        .context("the guest is not there")?;

    let started = Instant::now();
    while !guest.answers(Duration::from_secs(1))? {
        ensure!(started.elapsed() < ENDING, "the guest does not answer after its reboot");
    }
    let output = host.run_ok(&format!("{XEND} shutdown -w {}", guest.name()), ENDING)?;
    let said = output.stderr_text();
    let announced = format!("Shutting down domain {after}\nWaiting for 1 domains\n");
    let ended = [
        format!("Domain {after} has been shut down, reason code 0\n"),
        // Its keeper may be quicker than we are.
        format!("Domain {after} has been destroyed\n"),
    ];
    let rest = said.strip_prefix(&announced).unwrap_or_default();
    ensure!(ended.iter().any(|line| line == rest), "xend says:\n{said}");
    wait_for(|| domid(host, guest.name()), Option::is_none).context("the guest stays")?;
    world.dismiss()
}

/// A paused guest cannot take a request.
fn deaf(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&small(GuestKind::Pv))?;
    let host = world.rig().host(place);
    host.run_ok(&format!("{XEND} pause {}", guest.name()), ASK)?;
    let output = host.run(&format!("{XEND} shutdown {}", guest.name()), ENDING)?;
    host.run_ok(&format!("{XEND} unpause {}", guest.name()), ASK)?;
    let said = output.stderr_text();
    ensure!(
        output.status == 1 && said.ends_with("\nshutdown failed (rc=-9)\n"),
        "status {}, xend says:\n{said}",
        output.status
    );
    // The request is still there, and the guest obeys it now.
    wait_for(|| domid(host, guest.name()), Option::is_none).context("the guest stays")?;
    world.dismiss()
}

fn domid(host: &Host, name: &str) -> Result<Option<u16>> {
    let domains = host.domains()?;
    Ok(domains.iter().find(|domain| domain.name == name).map(|domain| domain.id))
}

fn wait_for<T>(look: impl Fn() -> Result<T>, is_good: impl Fn(&T) -> bool) -> Result<T> {
    let started = Instant::now();
    loop {
        let seen = look()?;
        if is_good(&seen) {
            return Ok(seen);
        }
        ensure!(started.elapsed() < ENDING, "not within {} s", ENDING.as_secs());
        thread::sleep(Duration::from_millis(500));
    }
}
