//! `xend` beside stock `xl`, in the same Dom0: standard output, standard error and exit status have
//! to be the same to the byte, but for what no two runs can have in common.

mod table;

use std::time::Duration;

use anyhow::{Result, bail};
use lab::{GuestKind, Host};
use scenarios::golden::{self, Line};
use scenarios::rig::{ASK, Place};
use scenarios::runner::Scenario;
use scenarios::traveller::small;

use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(400);

/// For hosts that have just booted: what Xen has logged is compared, and it keeps no more than so much.
pub(crate) const ALONE: &[Scenario<World>] =
    &[Scenario { name: "golden::on_a_host_without_guests", deadline: DEADLINE, run: alone }];

/// For when another scenario has left the same guest.
pub(crate) const WITH_A_GUEST: &[Scenario<World>] =
    &[Scenario { name: "golden::with_a_guest", deadline: DEADLINE, run: with_a_guest }];

fn alone(world: &mut World) -> Result<()> {
    world.dismiss()?;
    compare(world.rig().host(Place::A), &[table::USAGE, table::DOM0].concat())
}

fn with_a_guest(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&small(GuestKind::Pv))?;
    let host = world.rig().host(place);
    compare(host, &[table::GUEST, table::CHANGES].concat())?;
    host.run_ok(&format!("xl pause {}", guest.name()), ASK)?;
    let paused = compare(host, table::GUEST);
    host.run_ok(&format!("xl unpause {}", guest.name()), ASK)?;
    paused?;
    world.require_undisturbed(&guest, place)
}

/// Runs each line with both, and says of all that differ how.
fn compare(host: &Host, lines: &[Line]) -> Result<()> {
    let answers = golden::run(host, lines)?;
    let differences: Vec<String> =
        lines.iter().zip(answers).filter_map(|(line, answers)| answers.difference(line)).collect();
    if differences.is_empty() {
        return Ok(());
    }
    bail!("{} of {} differ:\n{}", differences.len(), lines.len(), differences.join("\n"))
}
