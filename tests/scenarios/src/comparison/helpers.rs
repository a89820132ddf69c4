//! Stock `xl` with our helper, or with Xen's own.

use anyhow::{Context, Result};
use lab::Guest;
use serde::Serialize;

use super::{Column, MIGRATION_TIMEOUT};
use crate::flight::{Flight, Route};
use crate::helper::Helper;
use crate::rig::{Place, Rig};
use crate::traveller::require_intact;

/// One migration, in figures.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// `xend` or `stock`, on both sides.
    pub helper: String,
    /// From the start of `xl migrate` to its end.
    pub total_ms: f64,
    /// The longest time in which a client of the guest had no answer.
    pub client_gap_ms: f64,
    /// Bytes the sending host put on the link.
    pub wire_bytes: u64,
    /// CPU time of the sender's Dom0.
    pub source_cpu_s: f64,
    /// CPU time of the receiver's Dom0.
    pub dest_cpu_s: f64,
    /// CPU time of the sending helper alone.
    pub source_helper_cpu_s: f64,
    /// CPU time of the receiving helper alone.
    pub dest_helper_cpu_s: f64,
    /// The most memory the sending helper had resident.
    pub source_helper_peak_rss_kib: u64,
    /// The same of the receiving helper.
    pub dest_helper_peak_rss_kib: u64,
    /// Rounds with the guest running.
    pub rounds: usize,
    /// Pages sent in all, the last pass included.
    pub pages: u64,
    /// Pages sent with the guest standing still.
    pub last_pass_pages: u64,
    /// Pages verified afterwards; none was wrong, or there would be no figures.
    pub pages_verified: u64,
}

/// Migrates once and measures. The guest is verified before this returns.
///
/// # Errors
/// When the migration fails or a page is wrong.
pub fn measure(rig: &Rig, guest: &Guest, from: Place, helper: Helper) -> Result<Run> {
    let route = Route { guest, from, sender: helper, receiver: helper };
    let account = Flight::start(rig, &route, true)?.finish(MIGRATION_TIMEOUT)?;
    account.require_success()?;
    let verified = require_intact(guest)?;
    let passes = account.passes();
    let (last, rounds) = passes.split_last().context("the helper told of no progress")?;
    let source = account.source_record.as_ref().context("the sender was not recorded")?.cost;
    let dest = account.dest_record.as_ref().context("the receiver was not recorded")?.cost;
    Ok(Run {
        helper: helper.to_string(),
        total_ms: account.total.as_secs_f64() * 1000.0,
        client_gap_ms: account.client.longest_gap_ms,
        wire_bytes: account.wire_bytes,
        source_cpu_s: account.source_cpu_seconds,
        dest_cpu_s: account.dest_cpu_seconds,
        source_helper_cpu_s: source.cpu_seconds,
        dest_helper_cpu_s: dest.cpu_seconds,
        source_helper_peak_rss_kib: source.peak_rss_kib,
        dest_helper_peak_rss_kib: dest.peak_rss_kib,
        rounds: rounds.len(),
        pages: passes.iter().map(|pass| pass.total_pages).sum(),
        last_pass_pages: last.total_pages,
        pages_verified: verified.pages_verified,
    })
}

/// What is told of helpers.
pub const COLUMNS: &[Column<Run>] = &[
    ("total time, s", |run| run.total_ms / 1000.0, 1),
    ("client gap, ms", |run| run.client_gap_ms, 0),
    ("on the wire, MiB", |run| run.wire_bytes as f64 / 1_048_576.0, 1),
    ("Dom0 CPU source, s", |run| run.source_cpu_s, 1),
    ("Dom0 CPU destination, s", |run| run.dest_cpu_s, 1),
    ("Dom0 CPU both, s", |run| run.source_cpu_s + run.dest_cpu_s, 1),
    ("helper CPU source, s", |run| run.source_helper_cpu_s, 2),
    ("helper CPU destination, s", |run| run.dest_helper_cpu_s, 2),
    ("helper peak RSS source, MiB", |run| run.source_helper_peak_rss_kib as f64 / 1024.0, 1),
    ("helper peak RSS destination, MiB", |run| run.dest_helper_peak_rss_kib as f64 / 1024.0, 1),
    ("rounds", |run| run.rounds as f64, 0),
    ("pages sent", |run| run.pages as f64, 0),
    ("pages in the last pass", |run| run.last_pass_pages as f64, 0),
];
