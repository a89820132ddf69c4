//! Pairs of migrations, ours and Xen's own in turn, and what they amount to.

mod helpers;
mod pairs;
mod toolstacks;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{GuestKind, GuestSpec, WorkloadSpec};
use serde::Serialize;

pub use helpers::{COLUMNS, Run, measure};
pub use pairs::in_pairs;
pub use toolstacks::{
    TOOLSTACK_COLUMNS, ToolstackRun, measure_toolstack, newest_report, own_account,
};

use crate::compare::table;
use crate::machine::Circumstances;
use crate::row;
use crate::statistics::Spread;
use crate::traveller::{LOST_PER_RESUME_MIB, SYSTEM_MIB, usual};

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

impl Plan {
    /// Refuses a guest that would run out of memory on the way, which looks like a failed
    /// migration.
    ///
    /// # Errors
    /// When it would, with the memory it needs.
    pub fn check(&self) -> Result<()> {
        let needed = self.verified_mib + SYSTEM_MIB + 2 * self.pairs * LOST_PER_RESUME_MIB;
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

/// All that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison<R> {
    /// Where and when.
    pub circumstances: Circumstances,
    /// What.
    pub plan: Plan,
    /// Every migration, in pairs, ours first in each.
    pub pairs: Vec<(R, R)>,
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

/// For a large and busy guest over a slow link.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(900);

/// What is compared: a name with its unit, how to get it from a run, digits to show.
pub type Column<R> = (&'static str, fn(&R) -> f64, usize);

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

/// The figures as rows, with a heading.
#[must_use]
pub fn rows(figures: &[Figure]) -> Vec<Vec<String>> {
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
    rows
}

/// The figures as a table.
#[must_use]
pub fn show(figures: &[Figure]) -> String {
    table(&rows(figures))
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
