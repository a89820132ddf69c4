//! Guests in the hands of whole toolstacks: `xend` on one side or both, `xl` on the other.

mod interop;
mod journeys;
mod kills;
mod options;
mod peers;
mod refusals;
mod savefiles;
mod zero_pages;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Guest, Host, Output};
use scenarios::rig::Place;
use scenarios::runner::Scenario;
use scenarios::toolstack::{Toolstack, require_known, require_monitor};
use scenarios::traveller::{find, require_intact};

use crate::world::World;

/// For scenarios of two journeys or a few commands.
const DEADLINE: Duration = Duration::from_secs(300);
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(120);

/// The scenarios on a hypervisor with shadow paging.
pub(crate) fn with_shadow() -> Vec<Scenario<World>> {
    [
        journeys::PV,
        interop::PV,
        kills::PV,
        options::SCENARIOS,
        refusals::SCENARIOS,
        savefiles::SCENARIOS,
        peers::SCENARIOS,
        zero_pages::PV,
    ]
    .concat()
}

/// The scenarios on a hypervisor without.
pub(crate) fn without_shadow() -> Vec<Scenario<World>> {
    [journeys::PVH, interop::PVH, kills::PVH, zero_pages::PVH].concat()
}

/// A table of scenarios that share the beginning of their names, their deadline and the kind of
/// their guest.
macro_rules! theme {
    ($prefix:literal, $kind:ident, $deadline:expr, { $($name:literal => $run:expr),* $(,)? }) => {
        &[$(Scenario {
            name: concat!($prefix, "::", $name),
            deadline: $deadline,
            run: |world| {
                let run: fn(&mut World, GuestKind) -> Result<()> = $run;
                run(world, GuestKind::$kind)
            },
        }),*]
    };
}
use theme;

/// The guest has to run on this host, whole, known to both toolstacks, and with a monitor of the one
/// that brought it there.
pub(crate) fn require_settled(
    world: &World,
    guest: &Guest,
    place: Place,
    brought_by: Toolstack,
) -> Result<()> {
    let found = find(world.rig(), guest)?;
    ensure!(found == place, "the guest is on host {}", found.name());
    require_intact(guest)?;
    let host = world.rig().host(place);
    require_known(host, guest)?;
    require_monitor(host, guest, brought_by)
}

/// What xl and xend say before they look at a configuration.
const PARSING: &str = "Parsing config from ";

/// A command has to fail in one line that has all of these words in it, whatever their case.
pub(crate) fn require_refusal(output: &Output, words: &[&str]) -> Result<()> {
    let said = output.stderr_text();
    let context = || format!("status {}, it said: {}", output.status, said.trim());
    // Above that are a panic and signals.
    ensure!((1..=100).contains(&output.status), "no refusal: {}", context());
    let line = said
        .lines()
        .map(str::to_lowercase)
        .find(|line| words.iter().all(|word| line.contains(&word.to_lowercase())));
    line.with_context(|| format!("no line has {words:?} in it: {}", context()))?;
    let counts = |line: &&str| !line.trim().is_empty() && !line.starts_with(PARSING);
    let lines = said.lines().filter(counts).count();
    ensure!(lines == 1, "{lines} lines instead of one: {}", context());
    Ok(())
}

/// The domains of a host besides Dom0, as far as they must not change.
fn domains(host: &Host) -> Result<Vec<(u16, String)>> {
    let guests = host.domains()?.into_iter().filter(|domain| domain.id != 0);
    Ok(guests.map(|domain| (domain.id, domain.name)).collect())
}

/// Tries all cases, and fails with all that failed.
fn try_all<C>(
    cases: &[C],
    name: impl Fn(&C) -> &str,
    mut attempt: impl FnMut(&C) -> Result<()>,
) -> Result<()> {
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let error = attempt(case).err()?;
            Some(format!("{}: {error:#}", name(case)))
        })
        .collect();
    ensure!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
    Ok(())
}
