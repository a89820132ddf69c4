//! Pairs of migrations, one with each helper, and what they amount to.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind, GuestSpec, Host, WorkloadSpec};
use serde::Serialize;
use serde_json::Value;

use crate::compare::table;
use crate::flight::{Flight, Route};
use crate::helper::Helper;
use crate::machine::Circumstances;
use crate::rig::{ASK, Place, Rig};
use crate::row;
use crate::statistics::Spread;
use crate::toolstack::Toolstack;
use crate::traveller::{require_intact, usual};
use crate::voyage::{Environment, Pairing, set_out};

/// What is compared, and how often.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Migrations with each helper.
    pub pairs: u32,
    /// `pv` or `pvh`.
    pub kind: String,
    /// The guest's memory in MiB.
    pub memory_mib: u32,
    /// Of that, memory with verified contents, in MiB.
    pub verified_mib: u32,
    /// Of that, memory that is written all the time, in MiB.
    pub hot_mib: u32,
    /// Pages written per second.
    pub writes_per_s: u32,
    /// What the link carries, in Mbit/s; 0 is as much as the emulation can.
    pub link_mbit: u32,
    /// Whether the guest has a disk and uses it.
    pub disk: bool,
    /// Further options of `xend migrate`.
    pub options: String,
}

/// What a guest needs besides the memory that is verified, in MiB.
const SYSTEM_MIB: u32 = 85;
/// What Linux 6.1 loses of it at each resume, whoever migrates it.
const LOST_PER_MIGRATION_MIB: u32 = 1;

impl Plan {
    /// Refuses a guest that would run out of memory on the way, which looks like a failed
    /// migration.
    ///
    /// # Errors
    /// When it would, with the memory it needs.
    pub fn check(&self) -> Result<()> {
        let needed = self.verified_mib + SYSTEM_MIB + 2 * self.pairs * LOST_PER_MIGRATION_MIB;
        ensure!(
            self.memory_mib >= needed,
            "a guest with {} MiB of verified memory needs {needed} MiB for {} migrations, since it \
             loses some at each: more --memory-mib or less --verified-mib",
            self.verified_mib,
            2 * self.pairs
        );
        Ok(())
    }

    /// The guest of this plan.
    #[must_use]
    pub fn guest(&self, kind: GuestKind) -> GuestSpec {
        GuestSpec {
            memory_mib: self.memory_mib,
            workload: WorkloadSpec {
                memory_mib: self.verified_mib,
                hot_mib: self.hot_mib,
                writes_per_s: self.writes_per_s,
            },
            disk: self.disk,
            ..usual(kind)
        }
    }
}

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

/// All that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison<R> {
    /// Where and when.
    pub circumstances: Circumstances,
    /// What.
    pub plan: Plan,
    /// Every migration, in order.
    pub runs: Vec<R>,
    /// One entry per figure.
    pub summary: Vec<Figure>,
}

/// One figure of both sides of a comparison, over all runs.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What, with its unit.
    pub name: &'static str,
    /// How many digits after the point mean something.
    #[serde(skip)]
    digits: usize,
    /// Ours.
    pub ours: Spread,
    /// Xen's own.
    pub stock: Spread,
    /// Our median through Xen's.
    pub ratio_of_medians: f64,
    /// The ratios of the pairs.
    pub pair_ratios: Spread,
}

const MIGRATION_TIMEOUT: Duration = Duration::from_secs(900);

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

/// Migrates once with the same toolstack on both sides, `xend` over TCP and `xl` through a pipe, and
/// measures. The guest is verified before this returns.
///
/// # Errors
/// When the migration fails or a page is wrong.
pub fn measure_toolstack(
    rig: &Rig,
    guest: &Guest,
    from: Place,
    toolstack: Toolstack,
    options: &str,
) -> Result<ToolstackRun> {
    let (pairing, environment) = match toolstack {
        Toolstack::Xend => (Pairing::XEND_TCP, Environment::with_options(options)),
        Toolstack::Stock => (Pairing::XL, Environment::recorded()),
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
fn newest_report(host: &Host) -> Result<Value> {
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

/// What is compared: a name with its unit, how to get it from a run, digits to show.
pub type Column<R> = (&'static str, fn(&R) -> f64, usize);

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

/// Sums up pairs of runs, ours first in each.
///
/// # Errors
/// When there is no pair.
pub fn summarise<R>(columns: &[Column<R>], pairs: &[(R, R)]) -> Result<Vec<Figure>> {
    ensure!(!pairs.is_empty(), "there is no pair to compare");
    let figure = |&(name, value, digits): &Column<R>| {
        let ours = Spread::of(pairs.iter().map(|(ours, _)| value(ours)))?;
        let stock = Spread::of(pairs.iter().map(|(_, stock)| value(stock)))?;
        let pair_ratios = Spread::of(pairs.iter().map(|(ours, stock)| value(ours) / value(stock)))?;
        let ratio_of_medians = ours.median / stock.median;
        Some(Figure { name, digits, ours, stock, ratio_of_medians, pair_ratios })
    };
    columns.iter().map(|column| figure(column).context("no figures")).collect()
}

/// The figures as a table.
#[must_use]
pub fn show(figures: &[Figure]) -> String {
    let mut rows = vec![row![
        "",
        "xend",
        "low..high",
        "stock",
        "low..high",
        "of medians",
        "of pairs",
        "low..high"
    ]];
    for figure in figures {
        let number = |value: f64| format!("{value:.0$}", figure.digits);
        let ratio = |value: f64| format!("{value:.2}");
        rows.push(row![
            figure.name,
            number(figure.ours.median),
            format!("{}..{}", number(figure.ours.low), number(figure.ours.high)),
            number(figure.stock.median),
            format!("{}..{}", number(figure.stock.low), number(figure.stock.high)),
            ratio(figure.ratio_of_medians),
            ratio(figure.pair_ratios.median),
            format!("{}..{}", ratio(figure.pair_ratios.low), ratio(figure.pair_ratios.high)),
        ]);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, Run, show, summarise};

    fn run(helper: &str, total_ms: f64) -> Run {
        Run {
            helper: helper.to_owned(),
            total_ms,
            client_gap_ms: 100.0,
            wire_bytes: 1 << 20,
            source_cpu_s: 1.0,
            dest_cpu_s: 2.0,
            source_helper_cpu_s: 0.5,
            dest_helper_cpu_s: 0.5,
            source_helper_peak_rss_kib: 2048,
            dest_helper_peak_rss_kib: 1024,
            rounds: 5,
            pages: 1000,
            last_pass_pages: 10,
            pages_verified: 1,
        }
    }

    #[test]
    fn ratios_are_taken_in_both_ways() {
        let pairs: Vec<(Run, Run)> = [(1000.0, 2000.0), (3000.0, 4000.0), (8000.0, 8000.0)]
            .map(|(ours, stock)| (run("xend", ours), run("stock", stock)))
            .into();
        let figures = summarise(COLUMNS, &pairs).expect("three pairs");
        let total = &figures[0];
        assert_eq!((total.ours.median, total.stock.median), (3.0, 4.0));
        assert_eq!((total.ratio_of_medians, total.pair_ratios.median), (0.75, 0.75));
        assert_eq!((total.pair_ratios.low, total.pair_ratios.high), (0.5, 1.0));
        let table = show(&figures);
        assert!(table.contains("total time, s"), "{table}");
        assert!(table.contains("0.50..1.00"), "{table}");
        assert!(summarise(COLUMNS, &[]).is_err());
    }
}
