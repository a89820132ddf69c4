//! A guest most of whose memory is clean page cache, with and without an agent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{GuestKind, GuestSpec, SHARED_DISK};

use super::{MIGRATION_TIMEOUT, end, in_turn, make};
use crate::campaign::bound::{Wanted, told};
use crate::campaign::figures::rows;
use crate::campaign::sheet::Sheet;
use crate::comparison::{Column, newest_report};
use crate::machine::Circumstances;
use crate::rig::{Place, Rig};
use crate::statistics::Spread;
use crate::traveller::{require_intact, small};
use crate::voyage::{Environment, Pairing, set_out};

const LINK_MBIT: u32 = 80;
const MEMORY_MIB: u32 = 280;
/// 60 % of it.
const CACHE_MIB: u32 = 168;
const FILL_TIMEOUT: Duration = Duration::from_secs(180);
/// Bytes on the wire with an agent, through those without.
const MOST: f64 = 0.5;

/// One migration.
struct Run {
    agent: bool,
    free_before_mib: f64,
    wire_mib: f64,
    total_s: f64,
    gap_ms: f64,
    prepare_ms: f64,
}

const COLUMNS: &[Column<Run>] = &[
    ("on the wire, MiB", |run| run.wire_mib, 1),
    ("total time, s", |run| run.total_s, 1),
    ("client gap, ms", |run| run.gap_ms, 0),
    ("of the total, for the agent, ms", |run| run.prepare_ms, 0),
    ("free in the guest before, MiB", |run| run.free_before_mib, 1),
];

pub(super) fn compare(rig: &Rig, times: u32) -> Result<()> {
    let host = rig.host(Place::A);
    let circumstances = Circumstances::now(host)?;
    // Zeroes would not travel.
    let fill = format!("dd if=/dev/urandom of={SHARED_DISK} bs=1M count={CACHE_MIB} conv=fsync");
    host.run_ok(&fill, FILL_TIMEOUT)?;
    let mut runs = Vec::new();
    for turn in 0..times {
        for agent in in_turn(&[true, false], turn) {
            let run = migrate(rig, agent)?;
            println!(
                "cache, pair {}, {}: {:.1} MiB in {:.1} s, {:.1} MiB were free before",
                turn + 1,
                way(agent),
                run.wire_mib,
                run.total_s,
                run.free_before_mib,
            );
            runs.push(run);
        }
    }
    let of = |agent| runs.iter().filter(move |run| run.agent == agent);
    let median = |agent| Spread::of(of(agent).map(|run| run.wire_mib)).context("no run");
    let ratio = median(true)?.median / median(false)?.median;
    Sheet {
        name: "agent-cache",
        title: format!("A guest full of page cache, with an agent and without, {times} pairs"),
        what: format!(
            "A PV guest of {MEMORY_MIB} MiB reads {CACHE_MIB} MiB of its disk, which are random bytes, \
             into its page cache. A new one goes from host a to b by TCP each time, over {LINK_MBIT} \
             Mbit/s, in alternating order."
        ),
        circumstances: &circumstances,
        findings: told("bytes on the wire, with through without", ratio, 2, Wanted::AtMost(MOST)),
        rows: rows(COLUMNS, &[true, false].map(|agent| (way(agent), of(agent).collect())))?,
    }
    .keep()
}

fn way(agent: bool) -> &'static str {
    if agent { "with an agent" } else { "without" }
}

fn migrate(rig: &Rig, agent: bool) -> Result<Run> {
    let spec = GuestSpec {
        name: "cached".to_owned(),
        memory_mib: MEMORY_MIB,
        disk: true,
        cache_mib: CACHE_MIB,
        agent,
        ..small(GuestKind::Pv)
    };
    let guest = make(rig, &spec)?;
    let free_kib = guest.stats()?["mem_free_kib"].as_f64().context("no mem_free_kib")?;
    let free_before_mib = free_kib / 1024.0;
    let most = f64::from(MEMORY_MIB - CACHE_MIB);
    ensure!(free_before_mib < most, "{free_before_mib} MiB are free: there is no page cache");
    rig.lab().link().shape(Some(LINK_MBIT))?;
    let flight = set_out(rig, &guest, Place::A, Pairing::XEND_TCP, &Environment::default())?;
    let account = flight.finish(MIGRATION_TIMEOUT)?;
    account.require_success()?;
    let said = account.sender.stderr_text();
    ensure!(said.contains("agent has prepared") == agent, "the agent: {said}");
    require_intact(&guest)?;
    end(rig, &guest)?;
    let report = newest_report(rig.host(Place::A))?;
    let steps = report["source"].as_array().context("a report without steps")?;
    let prepare = steps.iter().find(|step| step["step"] == "prepare the guest");
    Ok(Run {
        agent,
        free_before_mib,
        wire_mib: account.wire_bytes as f64 / f64::from(1 << 20),
        total_s: account.total.as_secs_f64(),
        gap_ms: account.client.longest_gap_ms,
        prepare_ms: prepare.and_then(|step| step["ms"].as_f64()).unwrap_or_default(),
    })
}
