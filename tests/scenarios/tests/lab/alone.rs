//! The helper started where there is nothing to help with.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scenarios::helper::OURS;
use scenarios::ipc::{self, Said};
use scenarios::rig::{ASK, Place};
use scenarios::runner::Scenario;

use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(60);
/// No domain of the lab has such an id.
const NO_DOMAIN: u16 = 31999;

pub(crate) const SCENARIOS: &[Scenario<World>] = &[
    Scenario { name: "alone::no_xen_at_all", deadline: DEADLINE, run: no_xen },
    Scenario {
        name: "alone::saving_a_domain_that_does_not_exist",
        deadline: DEADLINE,
        run: save_no_domain,
    },
    Scenario {
        name: "alone::restoring_into_a_domain_that_does_not_exist",
        deadline: DEADLINE,
        run: restore_no_domain,
    },
];

/// This machine has Xen's libraries and no Xen.
fn no_xen(world: &mut World) -> Result<()> {
    let output = Command::new("timeout")
        .args(["20", "sh", "-c", "exec \"$0\" --save-domain 3 -1 5 1 8 0 3>/dev/null </dev/null"])
        .arg(&world.programs().helper)
        .output()
        .context("cannot run the helper")?;
    let error = last_error(&output.stdout)?;
    ensure!(
        ["Xen", "/dev/xen", "privcmd", "hypervisor"].iter().any(|sign| error.contains(sign)),
        "the error does not say that there is no Xen: {error}"
    );
    Ok(())
}

fn save_no_domain(world: &mut World) -> Result<()> {
    let arguments = format!("--save-domain 3 -1 {NO_DOMAIN} 1 8 0 3>/dev/null");
    require_named(&in_dom0(world, &arguments)?)
}

fn restore_no_domain(world: &mut World) -> Result<()> {
    // A good beginning, so that it comes as far as the domain: both headers of a PV image.
    let stream = "printf '\\377\\377\\377\\377\\377\\377\\377\\377XENF\\0\\0\\0\\3\\0\\0\\0\\0\\0\\0\\0\\0\
                  \\1\\0\\0\\0\\14\\0\\0\\0\\4\\0\\0\\0\\21\\0\\0\\0' >/tmp/headers; ";
    let arguments = format!("--restore-domain 3 -1 {NO_DOMAIN} 1 0 2 0 256 0 3</tmp/headers");
    let said = world.rig().host(Place::A).run(&format!("{stream}{OURS} {arguments}"), ASK)?;
    require_named(&last_error(&said.stdout)?)
}

fn in_dom0(world: &World, arguments: &str) -> Result<String> {
    let output = world.rig().host(Place::A).run(&format!("{OURS} {arguments}"), ASK)?;
    last_error(&output.stdout)
}

fn require_named(error: &str) -> Result<()> {
    ensure!(error.contains(&NO_DOMAIN.to_string()), "the error does not name the domain: {error}");
    Ok(())
}

/// The last error line the helper told libxl of, after which it has to say that it failed. Xen's
/// libraries may have told of theirs before it.
fn last_error(said: &[u8]) -> Result<String> {
    let said = ipc::read_all(said)?;
    let error = said.iter().rev().find_map(|said| match said {
        Said::Log { level: 8.., text } => Some(text.clone()),
        _ => None,
    });
    let failed = matches!(said.last(), Some(Said::Complete { retval, .. }) if *retval != 0);
    ensure!(failed, "the helper does not say that it failed: {said:?}");
    error.with_context(|| format!("the helper does not say why it failed: {said:?}"))
}
