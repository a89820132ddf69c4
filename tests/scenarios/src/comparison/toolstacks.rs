//! `xend`, or stock `xl` with Xen's own helper.

use anyhow::{Context, Result};
use lab::{Guest, Host};
use serde::Serialize;
use serde_json::Value;

use super::{Column, MIGRATION_TIMEOUT};
use crate::rig::{ASK, Place, Rig};
use crate::toolstack::Toolstack;
use crate::traveller::require_intact;
use crate::voyage::{Environment, Pairing, set_out};

/// One migration by a whole toolstack, in figures.
#[derive(Debug, Clone, Serialize)]
pub struct ToolstackRun {
    /// `xend` or `xl`, on both sides.
    pub toolstack: String,
    /// From the start of the sender to its end.
    pub total_ms: f64,
    /// The longest time in which a client of the guest had no answer.
    pub client_gap_ms: f64,
    /// Bytes the sending host put on the link.
    pub wire_bytes: u64,
    /// CPU time of the sender's Dom0.
    pub source_cpu_s: f64,
    /// CPU time of the receiver's Dom0.
    pub dest_cpu_s: f64,
    /// Rounds with the guest running.
    pub rounds: usize,
    /// Pages sent in all, the last pass included.
    pub pages: u64,
    /// Pages sent with the guest standing still.
    pub last_pass_pages: u64,
    /// Pages verified afterwards; none was wrong, or there would be no figures.
    pub pages_verified: u64,
    /// xend's own account, with the parts of the time that the guest stood still.
    pub report: Option<Value>,
}

impl ToolstackRun {
    /// What xend's report says of the passes and of the stop, in two lines. None for xl.
    #[must_use]
    pub fn own_account(&self) -> Vec<String> {
        self.report.as_ref().map_or_else(Vec::new, own_account)
    }
}

/// What xend's report says of the passes and of the stop, in two lines.
#[must_use]
pub fn own_account(report: &Value) -> Vec<String> {
    let all = |name: &str| report[name].as_array().into_iter().flatten();
    let mut ended_ms = None;
    let passes: Vec<String> = all("passes")
        .map(|pass| {
            let number = |name: &str| pass[name].as_f64().unwrap_or(0.0);
            let (began_ms, ms) = (number("began_ms"), number("ms"));
            let between_ms = began_ms - ended_ms.replace(began_ms + ms).unwrap_or(began_ms);
            let (data, put_off) = (number("data_pages"), number("put_off_pages"));
            format!(
                "{data} in {ms:.0} ms ({put_off} put off in {} looks), {between_ms:.0} ms after the last",
                number("looks"),
            )
        })
        .collect();
    let steps = |side: &str| {
        let told = all(side).map(|step| {
            let ms = step["ms"].as_f64().unwrap_or(0.0);
            format!("{} {ms:.0}", step["step"].as_str().unwrap_or("?"))
        });
        told.collect::<Vec<_>>().join(", ")
    };
    vec![
        format!("{}: pages {}", report["ends"], passes.join("; ")),
        format!(
            "stopped {:.0} ms; source: {}; destination: {}",
            report["stopped_ms"].as_f64().unwrap_or(0.0),
            steps("source"),
            steps("destination")
        ),
    ]
}

/// Migrates once with the same toolstack on both sides, `xend` over TCP and `xl` through a pipe, and
/// measures. Of what is `asked`, options are for xend. The guest is verified before this returns.
///
/// # Errors
/// When the migration fails or a page is wrong.
pub fn measure_toolstack(
    rig: &Rig,
    guest: &Guest,
    from: Place,
    toolstack: Toolstack,
    asked: &Environment,
) -> Result<ToolstackRun> {
    let (pairing, environment) = match toolstack {
        Toolstack::Xend => (Pairing::XEND_TCP, asked.clone()),
        Toolstack::Stock => {
            (Pairing::XL, Environment::recorded().watched_every(asked.watch_period))
        }
    };
    let flight = set_out(rig, guest, from, pairing, &environment)?;
    let account = flight.finish(MIGRATION_TIMEOUT)?;
    account.require_success()?;
    let verified = require_intact(guest)?;
    let report = match toolstack {
        Toolstack::Xend => Some(newest_report(rig.host(from))?),
        Toolstack::Stock => None,
    };
    let passes = match &report {
        Some(report) => told_passes(report)?,
        None => account.passes().iter().map(|pass| pass.total_pages).collect(),
    };
    let (last_pass_pages, rounds) = passes.split_last().context("nobody told of a pass")?;
    Ok(ToolstackRun {
        toolstack: toolstack.to_string(),
        total_ms: account.total.as_secs_f64() * 1000.0,
        client_gap_ms: account.client.longest_gap_ms,
        wire_bytes: account.wire_bytes,
        source_cpu_s: account.source_cpu_seconds,
        dest_cpu_s: account.dest_cpu_seconds,
        pages_verified: verified.pages_verified,
        rounds: rounds.len(),
        pages: passes.iter().sum(),
        last_pass_pages: *last_pass_pages,
        report,
    })
}

/// The account that xend gave of its last migration from this host.
///
/// # Errors
/// When there is none.
pub fn newest_report(host: &Host) -> Result<Value> {
    let command = "cat $(ls -t /var/lib/xend/reports/*.json | head -n 1)";
    let text = host.run_ok(command, ASK)?.stdout_text();
    serde_json::from_str(&text).with_context(|| format!("a report of xend: {text}"))
}

/// The pages with contents that each pass sent, by xend's account.
fn told_passes(report: &Value) -> Result<Vec<u64>> {
    let passes = report["passes"].as_array().context("a report without passes")?;
    let pages = |pass: &Value| pass["data_pages"].as_u64().context("a pass without its pages");
    passes.iter().map(pages).collect()
}

/// What is told of whole toolstacks.
pub const TOOLSTACK_COLUMNS: &[Column<ToolstackRun>] = &[
    ("total time, s", |run| run.total_ms / 1000.0, 1),
    ("client gap, ms", |run| run.client_gap_ms, 0),
    ("on the wire, MiB", |run| run.wire_bytes as f64 / 1_048_576.0, 1),
    ("Dom0 CPU source, s", |run| run.source_cpu_s, 1),
    ("Dom0 CPU destination, s", |run| run.dest_cpu_s, 1),
    ("rounds", |run| run.rounds as f64, 0),
    ("pages sent", |run| run.pages as f64, 0),
    ("pages in the last pass", |run| run.last_pass_pages as f64, 0),
];
