//! How a policy does over many traces, family by family, beside Xen's own rule.

use std::fmt;
use std::time::Duration;

use xend_rs::migration::policy::{Adaptive, Stock};

use crate::engine::Mechanics;
use crate::generate::FORESEEABLE;
use crate::hindsight::{Regret, regret};
use crate::trace::Trace;
use crate::voyage::{Stop, play};

/// Neither pages nor downtime may be more than so many times the best stop's.
pub const ALLOWED: f64 = 1.15;
/// The share of the traces of a family that must be within that, if what comes next cannot be told.
const MOST_OF: f64 = 0.85;

/// A trace, migrated by both policies.
#[derive(Clone, Debug)]
pub struct Row {
    /// The trace's.
    pub name: String,
    /// The trace's.
    pub family: String,
    /// Pages that the guest has.
    pub guest_pages: u32,
    /// Where our policy stopped, and how far that was from the best. `None` if it never did.
    pub ours: Option<(Stop, Regret)>,
    /// Where Xen's own rule stopped, with its own engine.
    pub stock: Stop,
}

impl Row {
    /// Plays both over a trace, ours after a probe of so long.
    pub fn of(trace: &Trace, policy: &Adaptive, probe: Duration) -> Self {
        let windows = trace.windows_in(probe);
        let voyage = play(trace, Mechanics::ours(trace.pages), policy, windows, true);
        let stock = play(trace, Mechanics::stock(trace.pages), &Stock, 0, false);
        Self {
            name: trace.name.clone(),
            family: trace.family.clone(),
            guest_pages: trace.pages,
            ours: voyage.stopped.zip(regret(&voyage, policy.settings().downtime_target)),
            stock: stock.stopped.expect("it stops after five rounds"),
        }
    }

    /// Whether ours was as good as is demanded.
    pub fn is_good(&self) -> bool {
        self.ours.is_some_and(|(_, regret)| regret.worst() <= ALLOWED)
    }

    /// The larger ratio to the best.
    pub fn worst(&self) -> f64 {
        self.ours.map_or(f64::INFINITY, |(_, regret)| regret.worst())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stop = |stop: &Stop| {
            format!(
                "{:>2} rounds {:.2} x memory {:>6} ms",
                stop.rounds,
                stop.pages as f64 / f64::from(self.guest_pages),
                stop.downtime.as_millis()
            )
        };
        match &self.ours {
            Some((ours, regret)) => write!(
                f,
                "{:.2} {:.2} | {} | best {} | stock {} | {}",
                regret.pages,
                regret.downtime,
                stop(ours),
                stop(&regret.best),
                stop(&self.stock),
                self.name
            ),
            None => write!(f, "it never stopped | {}", self.name),
        }
    }
}

/// All rows of a family.
#[derive(Clone, Debug)]
pub struct Family<'a> {
    /// What they are called.
    pub name: &'a str,
    /// They, the best first.
    pub rows: Vec<&'a Row>,
}

impl<'a> Family<'a> {
    /// The families of `rows`, as they come.
    pub fn all(rows: &'a [Row]) -> Vec<Self> {
        let mut families: Vec<Self> = Vec::new();
        for row in rows {
            match families.iter_mut().find(|family| family.name == row.family) {
                Some(family) => family.rows.push(row),
                None => families.push(Self { name: &row.family, rows: vec![row] }),
            }
        }
        for family in &mut families {
            family.rows.sort_by(|a, b| a.worst().total_cmp(&b.worst()));
        }
        families
    }

    /// How many are as good as is demanded, as a share.
    pub fn good(&self) -> f64 {
        self.rows.iter().filter(|row| row.is_good()).count() as f64 / self.rows.len() as f64
    }

    /// The larger ratio to the best, in the median.
    pub fn median(&self) -> f64 {
        self.rows[self.rows.len() / 2].worst()
    }

    /// What is missing of what is demanded, a line each: every trace within [`ALLOWED`] if its family
    /// is [`FORESEEABLE`], and otherwise most of them and the median.
    pub fn misses(&self) -> Vec<String> {
        if FORESEEABLE.contains(&self.name) {
            return self
                .rows
                .iter()
                .filter(|row| !row.is_good())
                .map(|row| row.to_string())
                .collect();
        }
        let mut misses = Vec::new();
        if self.good() < MOST_OF {
            misses.push(format!("{}: {:.2} of all are within", self.name, self.good()));
        }
        if self.median() > ALLOWED {
            misses.push(format!("{}: the median is {:.2}", self.name, self.median()));
        }
        misses
    }

    fn mean_to_stock(&self, of: impl Fn(&Stop) -> f64) -> f64 {
        let logs = |row: &&Row| row.ours.map(|(stop, _)| (of(&stop) / of(&row.stock)).ln());
        let logs: Vec<f64> = self.rows.iter().filter_map(logs).collect();
        (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp()
    }
}

/// The heading of a table of families.
pub const HEADING: &str =
    "family    traces  within 1.15  median  worst  bytes to stock  downtime to stock";

impl fmt::Display for Family<'_> {
    /// A line under [`HEADING`]. Ratios to stock are geometric means.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<9} {:>6}  {:>10.0}%  {:>6.2}  {:>5.2}  {:>14.2}  {:>17.2}",
            self.name,
            self.rows.len(),
            self.good() * 100.0,
            self.median(),
            self.rows.last().map_or(0.0, |row| row.worst()),
            self.mean_to_stock(|stop| stop.pages as f64),
            self.mean_to_stock(|stop| stop.downtime.as_secs_f64()),
        )
    }
}
