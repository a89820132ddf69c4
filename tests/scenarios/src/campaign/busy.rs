//! xend against stock `xl` with a guest that writes to half of its memory all the time, more slowly
//! and faster than the link carries it away.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::GuestKind;
use serde_json::Value;

use super::sheet::keep;
use super::{require_nothing_left, with_shadow};
use crate::compare::markdown;
use crate::comparison::{
    Figure, Plan, TOOLSTACK_COLUMNS, ToolstackRun, in_pairs, measure_toolstack, rows, show,
    summarise,
};
use crate::machine::Circumstances;
use crate::rig::{ASK, Place, Rig};
use crate::toolstack::Toolstack;
use crate::voyage::Environment;

const PAGE_BITS: f64 = 4096.0 * 8.0;
/// What is verified besides what is written.
const COLD_MIB: u32 = 4;

/// A writer, and what is asked of its migration.
struct Case {
    /// In the name of what is kept of it.
    name: &'static str,
    /// Of the guest, which writes to half of it.
    memory_mib: u32,
    /// What the link is shaped to: so slow that it is the bottleneck, and not the emulated processors,
    /// which have more to do where rounds are many.
    link_mbit: u32,
    /// What it writes, through what the link carries.
    speed: f64,
    /// Further options of `xend migrate`.
    options: &'static str,
    /// How often a client asks the guest for an answer. That makes the guest write, too: about two pages
    /// each time, never the same ones. Where what a writer leaves is to be seen, that has to be little.
    watch_period: Duration,
    /// Ratios that are to be reached: the name of a column, and the most that it may be.
    bounds: &'static [(&'static str, f64)],
}

const LAST_PASS: &str = "pages in the last pass";
const WIRE: &str = "on the wire, MiB";
const GAP: &str = "client gap, ms";

const CASES: &[Case] = &[
    Case {
        name: "busy-slow",
        // What is the guest's own, besides its writer's, is a hundred pages whatever its size.
        memory_mib: 300,
        link_mbit: 24,
        speed: 0.8,
        options: "",
        watch_period: Duration::from_millis(200),
        bounds: &[(LAST_PASS, 0.10), (WIRE, 1.05)],
    },
    Case {
        name: "busy-fast",
        memory_mib: 208,
        link_mbit: 40,
        speed: 2.0,
        options: "",
        watch_period: Duration::from_millis(20),
        bounds: &[(WIRE, 0.55), (GAP, 1.15)],
    },
];

/// Boots two hosts with shadow paging and migrates a guest `pairs` times with xend and with xl for
/// each speed of its writer, or `only` that one.
///
/// # Errors
/// When a migration fails, a page is wrong or something is left behind. That a ratio is missed is
/// told, and no error: it is a measurement.
pub fn run(pairs: u32, only: Option<f64>) -> Result<()> {
    with_shadow(|rig| compare(rig, pairs, only))
}

fn compare(rig: &Rig, pairs: u32, only: Option<f64>) -> Result<()> {
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    for case in CASES.iter().filter(|case| only.is_none_or(|speed| speed == case.speed)) {
        let carried = case.carried_pages_per_s(rig)?;
        println!("{} Mbit/s carry {carried:.0} pages/s of such a guest", case.link_mbit);
        let plan = case.plan(pairs, carried);
        let figures = case.measure(rig, &plan)?;
        let text = case.told(&plan, carried, &circumstances, &figures);
        println!("\nkept in {}", keep(case.name, &circumstances, &text)?.display());
    }
    Ok(())
}

impl Case {
    /// What the shaped link carries of such a guest's pages while it writes about as fast. Headers, the
    /// time between two rounds, and hosts that are emulated take their part of what it is shaped to.
    fn carried_pages_per_s(&self, rig: &Rig) -> Result<f64> {
        let shaped = f64::from(self.link_mbit) * 1e6 / PAGE_BITS;
        let guest = rig.host(Place::A).create_guest(&self.plan(1, shaped).guest(GuestKind::Pv))?;
        rig.lab().link().shape(Some(self.link_mbit))?;
        let run = measure_toolstack(rig, &guest, Place::A, Toolstack::Xend, &self.asked())?;
        rig.lab().link().shape(None)?;
        rig.host(Place::B).run_ok(&format!("xl destroy {}", guest.name()), ASK)?;
        let report = run.report.context("xend kept no report")?;
        let passes = report["passes"].as_array().context("a report without passes")?;
        let began_ms = |pass: Option<&Value>| pass.and_then(|pass| pass["began_ms"].as_f64());
        let live_ms = began_ms(passes.last()).zip(began_ms(passes.first())).map(|(a, b)| a - b);
        let live_pages = run.pages - run.last_pass_pages;
        Ok(live_pages as f64 / live_ms.context("passes without times")? * 1000.0)
    }

    fn asked(&self) -> Environment {
        Environment::with_options(self.options).watched_every(self.watch_period)
    }

    fn plan(&self, pairs: u32, link_pages_per_s: f64) -> Plan {
        let pages_per_s = self.speed * link_pages_per_s;
        Plan {
            pairs,
            kind: "pv".to_owned(),
            memory_mib: self.memory_mib,
            verified_mib: self.memory_mib / 2 + COLD_MIB,
            hot_mib: self.memory_mib / 2,
            writes_per_s: pages_per_s as u32,
            link_mbit: self.link_mbit,
            disk: false,
            options: self.options.to_owned(),
        }
    }

    fn measure(&self, rig: &Rig, plan: &Plan) -> Result<Vec<Figure>> {
        plan.check()?;
        let guest = rig.host(Place::A).create_guest(&plan.guest(GuestKind::Pv))?;
        rig.lab().link().shape(Some(self.link_mbit))?;
        let both = [Toolstack::Xend, Toolstack::Stock];
        let measure = |rig: &Rig, guest: &lab::Guest, from, toolstack| {
            measure_toolstack(rig, guest, from, toolstack, &self.asked())
        };
        let say = |pair, run: &ToolstackRun| self.say(pair, run);
        let pairs = in_pairs(rig, &guest, plan.pairs, both, measure, say)?;
        rig.lab().link().shape(None)?;
        require_nothing_left(rig, &guest)?;
        rig.host(Place::A).run_ok(&format!("xl destroy {}", guest.name()), ASK)?;
        let figures = summarise(TOOLSTACK_COLUMNS, &pairs)?;
        print!("\n{}", show(&figures));
        Ok(figures)
    }

    fn say(&self, pair: u32, run: &ToolstackRun) {
        println!(
            "{} x the link, pair {pair}, {:>4}: {:.1} s, gap {:.0} ms, {:.1} MiB, {} rounds, {} \
             pages, {} of them in the last pass",
            self.speed,
            run.toolstack,
            run.total_ms / 1000.0,
            run.client_gap_ms,
            run.wire_bytes as f64 / 1_048_576.0,
            run.rounds,
            run.pages,
            run.last_pass_pages,
        );
        for line in run.own_account() {
            println!("    {line}");
        }
    }

    fn told(
        &self,
        plan: &Plan,
        carried: f64,
        circumstances: &Circumstances,
        figures: &[Figure],
    ) -> String {
        let ratio = |name: &str| {
            figures.iter().find(|figure| figure.name == name).map(|it| it.ratio_of_medians)
        };
        let bounds: Vec<String> = self
            .bounds
            .iter()
            .map(|&(name, most)| match ratio(name) {
                Some(ratio) if ratio <= most => {
                    format!("- {name}: {ratio:.2} x stock's, at most {most} was wanted: reached\n")
                }
                Some(ratio) => {
                    format!("- {name}: {ratio:.2} x stock's, at most {most} was wanted: missed\n")
                }
                None => format!("- {name}: not measured\n"),
            })
            .collect();
        format!(
            "# A guest that writes at {} x the link's speed{}: xend against xl, {} pairs\n\n\
             A PV guest of {} MiB writes {} pages/s, chosen evenly at random from {} MiB, each anew as a \
             whole; {} MiB of it are verified after each migration. The link is shaped to {} Mbit/s, which \
             carry {carried:.0} pages/s: so many came through in the live rounds of a migration before \
             these, with the guest writing. A client asks the guest for an answer every {} ms. xend by TCP, \
             xl through a pipe, in alternating order.\n\n\
             ## Circumstances\n{}\n\
             ## Result\n{}\n{}\n",
            self.speed,
            if self.options.is_empty() { String::new() } else { format!(", `{}`", self.options) },
            plan.pairs,
            plan.memory_mib,
            plan.writes_per_s,
            plan.hot_mib,
            plan.verified_mib,
            self.link_mbit,
            self.watch_period.as_millis(),
            circumstances.markdown(),
            bounds.concat(),
            markdown(&rows(figures)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{CASES, TOOLSTACK_COLUMNS};

    #[test]
    fn each_bound_is_on_a_figure_that_is_measured() {
        let is_measured = |name| TOOLSTACK_COLUMNS.iter().any(|column| column.0 == name);
        assert!(CASES.iter().flat_map(|case| case.bounds).all(|bound| is_measured(bound.0)));
        assert!(CASES.iter().all(|case| case.plan(5, 700.0).check().is_ok()));
    }
}
