//! Guests that cannot be made, and what is said about it.

use anyhow::{Context, Result, ensure};
use lab::GuestKind;
use scenarios::rig::{ASK, Place};
use scenarios::traveller::small;

use super::SLOW;
use crate::world::World;

/// Settings that are in the way, the exit status, and what the one line has to name.
const CASES: [(&str, i32, &str); 9] = [
    ("kernel = \"/none/such\"", 3, "/none/such"),
    ("ramdisk = \"/none/such\"", 3, "/none/such"),
    ("disk = [ \"phy:/dev/nothing,xvda,w\" ]", 3, "disk xvda: /dev/nothing does not exist"),
    ("disk = [ \"format=qcow2,vdev=xvda,access=rw,target=/root/x\" ]", 3, "disk xvda"),
    ("vif = [ \"bridge=xenbr9\" ]", 3, "bridge xenbr9 does not exist"),
    ("vif = [ \"bridge=xenbr0,script=none-such\" ]", 3, "none-such"),
    ("memory = 100000", 3, "100"),
    ("memory = [", 1, ":"),
    ("type = \"nothing\"", 1, "nothing"),
];

pub(super) fn refused(world: &mut World) -> Result<()> {
    world.dismiss()?;
    let spec = small(GuestKind::Pv);
    let host = world.rig().host(Place::A);
    for (setting, status, named) in CASES {
        let config = super::put_config(host, &spec, &format!("{setting}\n"))?;
        let output = host.run(&format!("xend create -q {config}"), SLOW)?;
        let said = output.stderr_text();
        ensure!(output.status == status, "{setting}: exit status {}: {said}", output.status);
        let last = said.lines().last().with_context(|| format!("{setting}: nothing is said"))?;
        ensure!(last.contains(named), "{setting}: {said}");
        let guests = host.domains()?.len();
        ensure!(guests == 1, "{setting}: there are {guests} domains");
    }
    name_taken(world)?;
    no_such_files(world)
}

fn name_taken(world: &mut World) -> Result<()> {
    let spec = small(GuestKind::Pv);
    let host = world.rig().host(Place::A);
    let config = super::put_config(host, &spec, "")?;
    host.run_ok(&format!("xend create -p {config}"), SLOW)?;
    let output = host.run(&format!("xend create {config}"), SLOW)?;
    let said = output.stderr_text();
    ensure!(output.status == 3 && said.contains(&spec.name) && said.contains("taken"), "{said}");
    ensure!(host.domains()?.len() == 2, "there are other domains than the first");
    host.run_ok(&format!("xend destroy {}", spec.name), SLOW)?;
    Ok(())
}

fn no_such_files(world: &mut World) -> Result<()> {
    let host = world.rig().host(Place::A);
    for (command, status, said) in [
        ("create /none", 3, "Failed to read config file: /none: No such file or directory\n"),
        ("create", 6, "Config file not specified and none in save file\n"),
        ("destroy none", 1, "none is an invalid domain identifier (rc=-6)\n"),
    ] {
        for program in ["xl", "xend"] {
            let output = host.run(&format!("{program} {command}"), ASK)?;
            let found = (output.status, output.stderr_text());
            ensure!(found == (status, said.to_owned()), "{program} {command}: {found:?}");
        }
    }
    Ok(())
}
