//! A guest that is mostly empty: how much more than what it holds goes over the wire, and how much
//! stock `xl` sends of it.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Guest, GuestKind, GuestSpec, WorkloadSpec};
use serde_json::Value;

use super::bound::{Wanted, told};
use super::figures::{add_ratios, rows};
use super::sheet::Sheet;
use super::{require_nothing_left, with_shadow};
use crate::comparison::{Column, ToolstackRun, in_pairs, measure_toolstack};
use crate::machine::Circumstances;
use crate::rig::{Place, Rig};
use crate::row;
use crate::statistics::Spread;
use crate::toolstack::Toolstack;
use crate::traveller::usual;
use crate::voyage::Environment;

const MEMORY_MIB: u32 = 512;
const WORKLOAD_MIB: u32 = 8;
const PAGE_BYTES: u64 = 4096;
/// For a look at all of the memory.
const CENSUS_TIMEOUT: Duration = Duration::from_secs(120);
/// The most that may travel, through what the guest holds.
const MOST: f64 = 1.05;

/// One migration.
struct Run {
    toolstack: ToolstackRun,
    /// What the guest held before, in bytes of pages that were not zero.
    held_bytes: u64,
}

impl Run {
    fn ratio(&self) -> f64 {
        self.toolstack.wire_bytes as f64 / self.held_bytes as f64
    }

    /// What xend says to have sent as pages with contents, through what the guest held.
    fn told_ratio(&self) -> Option<f64> {
        self.toolstack.report.as_ref()?;
        Some((self.toolstack.pages * PAGE_BYTES) as f64 / self.held_bytes as f64)
    }
}

/// Boots two hosts with shadow paging and migrates a guest `pairs` times with xend and with xl.
///
/// # Errors
/// When a migration fails, a page is wrong or something is left behind. That more travels than was
/// wanted is told, and no error: it is a measurement.
pub fn run(pairs: u32) -> Result<()> {
    with_shadow(|rig| compare(rig, pairs))
}

fn compare(rig: &Rig, pairs: u32) -> Result<()> {
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    let spec = GuestSpec {
        memory_mib: MEMORY_MIB,
        workload: WorkloadSpec { memory_mib: WORKLOAD_MIB, hot_mib: 0, writes_per_s: 0 },
        ..usual(GuestKind::Pv)
    };
    let guest = rig.host(Place::A).create_guest(&spec)?;
    let both = [Toolstack::Xend, Toolstack::Stock];
    let pairs = in_pairs(rig, &guest, pairs, both, migrate, say)?;
    require_nothing_left(rig, &guest)?;
    let ours = Spread::of(pairs.iter().map(|(ours, _)| ours.ratio())).context("no pair")?;
    Sheet {
        name: "empty",
        title: format!("A mostly empty guest: xend against xl, {} pairs", pairs.len()),
        what: format!(
            "A PV guest of {MEMORY_MIB} MiB, of which a workload holds {WORKLOAD_MIB} and writes \
             nothing; the rest is its kernel's, and free. Just before each migration `xend dirty-rate` \
             counts the pages that are not zero. The link is as fast as the emulation is; xend by TCP, \
             xl through a pipe, in alternating order. What is on the wire has its headers, and what a \
             client says to the guest."
        ),
        circumstances: &circumstances,
        findings: told(
            "on the wire, through the bytes of pages that are not zero",
            ours.median,
            3,
            Wanted::AtMost(MOST),
        ),
        rows: figures(&pairs)?,
    }
    .keep()
}

fn migrate(rig: &Rig, guest: &Guest, from: Place, toolstack: Toolstack) -> Result<Run> {
    let command = format!("xend dirty-rate --json --seconds 1 {}", guest.name());
    let told = rig.host(from).run_ok(&command, CENSUS_TIMEOUT)?.stdout_text();
    let held_bytes = held_bytes(&told)?;
    let toolstack = measure_toolstack(rig, guest, from, toolstack, &Environment::default())?;
    Ok(Run { toolstack, held_bytes })
}

/// By the account of `xend dirty-rate`.
fn held_bytes(told: &str) -> Result<u64> {
    let account: Value =
        serde_json::from_str(told).with_context(|| format!("xend dirty-rate: {told}"))?;
    let memory = &account["memory"];
    let pages = |name: &str| {
        memory[name].as_u64().with_context(|| format!("no {name} in what xend says: {account}"))
    };
    let held = pages("populated_pages")?.checked_sub(pages("zero_pages")?);
    let held = held.filter(|&pages| pages > 0).context("the guest holds nothing")?;
    Ok(held * PAGE_BYTES)
}

fn say(pair: u32, run: &Run) {
    println!(
        "pair {pair}, {:>4}: {:.1} MiB of {:.1} that are held, {:.3} of it, in {:.1} s",
        run.toolstack.toolstack,
        mib(run.toolstack.wire_bytes as f64),
        mib(run.held_bytes as f64),
        run.ratio(),
        run.toolstack.total_ms / 1000.0,
    );
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

const COLUMNS: &[Column<Run>] = &[
    ("held, MiB", |run| mib(run.held_bytes as f64), 1),
    ("on the wire, MiB", |run| mib(run.toolstack.wire_bytes as f64), 1),
    ("on the wire, through what is held", Run::ratio, 3),
    ("total time, s", |run| run.toolstack.total_ms / 1000.0, 1),
    ("client gap, ms", |run| run.toolstack.client_gap_ms, 0),
];

fn figures(pairs: &[(Run, Run)]) -> Result<Vec<Vec<String>>> {
    let (ours, stock): (Vec<&Run>, Vec<&Run>) =
        pairs.iter().map(|(ours, stock)| (ours, stock)).unzip();
    let mut rows = rows(COLUMNS, &[("xend", ours.clone()), ("xl", stock.clone())])?;
    add_ratios(&mut rows, COLUMNS, &ours, &stock)?;
    if let Some(told) = Spread::of(pairs.iter().filter_map(|(ours, _)| ours.told_ratio())) {
        let range = format!("{:.3}..{:.3}", told.low, told.high);
        rows.push(row![
            "pages sent, through what is held",
            format!("{:.3}", told.median),
            range,
            "",
            "",
            ""
        ]);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::held_bytes;

    #[test]
    fn what_is_held_is_what_is_not_zero() {
        let told = r#"{"memory": {"populated_pages": 100, "zero_pages": 60}}"#;
        assert_eq!(held_bytes(told).unwrap(), 40 * 4096);
        for nonsense in [
            r#"{"memory": null}"#,
            r#"{"memory": {"populated_pages": 60, "zero_pages": 60}}"#,
            r#"{"memory": {"populated_pages": 60, "zero_pages": 61}}"#,
            "xend: no such domain",
        ] {
            assert!(held_bytes(nonsense).is_err(), "{nonsense}");
        }
    }
}
