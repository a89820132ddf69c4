//! Scenarios on two real Xen hosts: first on a hypervisor with shadow paging, then on one without.
//!
//! `cargo test -p scenarios --test lab [-- FILTER... | --full | --list | --help]`, as root. A filter is part
//! of the names of the scenarios to run; without one, those of [`every_time`] are run, and with `--full`
//! all. Hosts that none of them needs are not booted.

#![forbid(unsafe_code)]

mod agent;
mod alone;
mod damage;
mod digest;
mod every_time;
mod golden;
mod journeys;
mod kills;
mod life;
mod power;
mod probe;
mod refusals;
mod saves;
mod toolstack;
mod world;

use std::env;
use std::process::ExitCode;

use lab::{HostSpec, Hypervisor};
use scenarios::arguments::{self, Wish};
use scenarios::rig::Ground;
use scenarios::runner::{Scenario, Totals};

use world::World;

fn main() -> ExitCode {
    let with_shadow: Vec<Scenario<World>> = [
        golden::ALONE,
        power::SCENARIOS,
        &agent::scenarios(),
        alone::SCENARIOS,
        journeys::PV,
        saves::PV,
        damage::SCENARIOS,
        refusals::SCENARIOS,
        kills::SCENARIOS,
        life::SCENARIOS,
        probe::WITH_SHADOW,
        golden::WITH_A_GUEST,
        &toolstack::with_shadow(),
    ]
    .concat();
    let without_shadow: Vec<Scenario<World>> = [
        journeys::PVH,
        saves::PVH,
        &digest::scenarios(),
        &toolstack::without_shadow(),
        probe::WITHOUT_SHADOW,
    ]
    .concat();
    let names: Vec<&str> =
        with_shadow.iter().chain(&without_shadow).map(|scenario| scenario.name).collect();
    if let Some(name) = every_time::NAMES.iter().find(|name| !names.contains(name)) {
        println!("there is no scenario {name}, which should be run every time");
        return ExitCode::FAILURE;
    }
    let selection = match arguments::read(env::args_os().skip(1), &names, every_time::NAMES) {
        Ok(Wish::Run(selection)) => selection,
        Ok(Wish::List(selection)) => {
            names.iter().filter(|name| selection.takes(name)).for_each(|name| {
                println!("{name}: test");
            });
            return ExitCode::SUCCESS;
        }
        Err(instead) => instead.exit(),
    };
    let ground = match Ground::prepare() {
        Ok(ground) => ground,
        Err(error) => {
            println!("the scenarios cannot be run here: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut totals = Totals::new(selection);
    run(&ground, Hypervisor::Shadow, &with_shadow, &mut totals);
    run(&ground, Hypervisor::NoShadow, &without_shadow, &mut totals);
    if totals.finish() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(
    ground: &Ground,
    hypervisor: Hypervisor,
    scenarios: &[Scenario<World>],
    totals: &mut Totals,
) {
    if !totals.wants(scenarios) {
        totals.leave_out(scenarios);
        return;
    }
    println!(
        "\nscenarios on a hypervisor {}",
        match hypervisor {
            Hypervisor::Shadow => "with shadow paging",
            Hypervisor::NoShadow => "without shadow paging",
        }
    );
    let rig = ground.boot(HostSpec::new(hypervisor)).and_then(|rig| {
        lab::end_tidily_on_signals()?;
        Ok(rig)
    });
    match rig {
        Ok(rig) => {
            let failed_before = totals.failed();
            let mut world = World::new(rig, ground.programs().clone());
            totals.run(&mut world, scenarios, World::settle);
            if totals.failed() > failed_before {
                world.rig().lab().keep_logs();
            }
        }
        Err(error) => totals.could_not_run(scenarios, &error),
    }
}
