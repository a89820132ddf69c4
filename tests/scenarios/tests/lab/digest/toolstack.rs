//! The same with `xend` as the toolstack: it says what it will do before it touches anything, and
//! its report what it did.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind};
use scenarios::flight::Account;
use scenarios::rig::{ASK, Place};
use scenarios::runner::Scenario;
use scenarios::traveller::equipped;
use scenarios::voyage::{Environment, Pairing, set_out};
use serde_json::Value;

use super::{DEADLINE, MIGRATION_TIMEOUT};
use crate::toolstack::{require_refusal, require_settled};
use crate::world::World;

pub(super) const SCENARIOS: &[Scenario<World>] = &[
    Scenario {
        name: "digest::xend_to_xend_by_tcp",
        deadline: DEADLINE,
        run: |world| there_and_back(world, Pairing::XEND_TCP),
    },
    Scenario {
        name: "digest::xend_to_xend_by_pipe",
        deadline: DEADLINE,
        run: |world| there_and_back(world, Pairing::XEND_PIPE),
    },
    Scenario {
        name: "digest::xend_to_xl",
        deadline: DEADLINE,
        run: |world| there_and_back(world, Pairing::XEND_TO_XL),
    },
    Scenario {
        name: "digest::xend_suspends_it_first_if_asked_to",
        deadline: DEADLINE,
        run: suspended_first,
    },
    Scenario { name: "digest::xend_refuses_by_name", deadline: DEADLINE, run: refusals },
    Scenario {
        name: "digest::xend_has_it_back_if_the_receiver_dies",
        deadline: DEADLINE,
        run: receiver_dies,
    },
];

/// Where the report of a migration is written to.
const REPORT: &str = "/root/report.json";
/// What a command leaves that was run as the receiver.
const CONTACTED: &str = "/root/contacted";

fn there_and_back(world: &mut World, pairing: Pairing) -> Result<()> {
    for way in ["there", "back"] {
        let (guest, from) = world.guest(&equipped(GuestKind::Pv))?;
        let (account, report) = migrate(world, &guest, from, pairing, "")
            .with_context(|| format!("on the way {way}"))?;
        require_line(&account.sender.stderr_text())?;
        ensure!(report["tracking"] == "digest", "the report: {report}");
        let predicted_ms = report["predicted_last_pass_ms"].as_f64();
        ensure!(predicted_ms.is_some_and(|ms| ms > 0.0), "the report: {report}");
    }
    Ok(())
}

fn suspended_first(world: &mut World) -> Result<()> {
    let (guest, from) = world.guest(&equipped(GuestKind::Pv))?;
    let (_, report) = migrate(world, &guest, from, Pairing::XEND_TCP, "--tracking none")?;
    ensure!(report["tracking"] == "none", "the report: {report}");
    let passes = report["passes"].as_array().map(Vec::len);
    ensure!(passes == Some(1), "it was not suspended first: {report}");
    Ok(())
}

/// Migrates, and gives the report as well.
fn migrate(
    world: &World,
    guest: &Guest,
    from: Place,
    pairing: Pairing,
    options: &str,
) -> Result<(Account, Value)> {
    let environment = Environment::with_options(&format!("{options} --report {REPORT}"));
    let flight = set_out(world.rig(), guest, from, pairing, &environment)?;
    let account = flight.finish(MIGRATION_TIMEOUT)?;
    account.require_success()?;
    require_settled(world, guest, from.other(), pairing.receiver)?;
    let host = world.rig().host(from);
    let report = serde_json::from_slice(&host.get(REPORT)?)?;
    host.run_ok(&format!("rm {REPORT}"), ASK)?;
    Ok((account, report))
}

/// One line says that it is tracked by digest, and for lack of what.
fn require_line(said: &str) -> Result<()> {
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("tracked by")).collect();
    ensure!(
        matches!(lines[..], [line] if line.contains("digest") && line.contains("CONFIG_SHADOW_PAGING")),
        "it says of tracking {lines:?}"
    );
    Ok(())
}

/// What cannot be had is refused before the receiver is started.
fn refusals(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&equipped(GuestKind::Pv))?;
    let host = world.rig().host(place);
    for (word, reasons) in
        [("log-dirty", ["log-dirty", "CONFIG_SHADOW_PAGING"]), ("magic", ["--tracking", "magic"])]
    {
        for option in ["--dry-run", ""] {
            let receiver = format!("touch {CONTACTED}");
            let command = format!(
                "xend migrate {option} --tracking {word} -s '' {} '{receiver}'",
                guest.name()
            );
            require_refusal(&host.run(&command, ASK)?, &reasons)
                .with_context(|| command.clone())?;
            let contacted = host.run(&format!("rm {CONTACTED}"), ASK)?.status == 0;
            ensure!(!contacted, "{command}: the receiver was started");
        }
    }
    world.require_undisturbed(&guest, place)
}

/// Xen has nothing to turn off here, which must not keep the guest from going on.
fn receiver_dies(world: &mut World) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(60);
    const RECEIVER: &str = "printf 'xl migration receiver ready, send binary domain data.\\n'; \
                            head -c 20000000 >/dev/null";
    let (guest, place) = world.guest(&equipped(GuestKind::Pv))?;
    let host = world.rig().host(place);
    host.put_bytes(format!("#!/bin/sh\n{RECEIVER}\n").as_bytes(), "/root/receiver", 0o755)?;
    let output =
        host.run(&format!("xend migrate -s '' {} /root/receiver", guest.name()), PATIENCE)?;
    let said = output.stderr_text();
    ensure!((1..=100).contains(&output.status), "status {}, it said: {said}", output.status);
    require_line(&said)?;
    world.require_undisturbed(&guest, place).context(said)
}
