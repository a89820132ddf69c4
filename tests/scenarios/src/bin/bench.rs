//! Compares our helper with Xen's own, as data: pairs of migrations in alternating order.

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use lab::{GuestKind, HostSpec, Hypervisor};
use scenarios::clean;
use scenarios::comparison::{Comparison, Plan, Run, measure, show, summarise};
use scenarios::helper::Helper;
use scenarios::machine::Circumstances;
use scenarios::programs::workspace;
use scenarios::rig::{Ground, Place, Rig};

/// Compares xend-save-helper with Xen's own helper: one guest goes to and fro between two hosts,
/// in turn with each helper on both sides.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Migrations with each helper.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: u32,
    /// The kind of guest.
    #[arg(long, value_enum, default_value_t = Kind::Pv)]
    kind: Kind,
    /// The guest's memory, in MiB [default: 128 for pv, 192 for pvh].
    #[arg(long)]
    memory_mib: Option<u32>,
    /// Memory of the guest whose contents are verified, in MiB.
    #[arg(long, default_value_t = 32)]
    verified_mib: u32,
    /// Of that, memory that is written all the time, in MiB.
    #[arg(long, default_value_t = 4)]
    hot_mib: u32,
    /// Pages written per second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// What the link carries, in Mbit/s; 0 leaves it as fast as the emulation is. Below some 50
    /// the link is the bottleneck, and not the emulated processor.
    #[arg(long, default_value_t = 40)]
    link_mbit: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// On a hypervisor with shadow paging, which stock tools need.
    Pv,
    /// On one without.
    Pvh,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let (kind, name, hypervisor, usual_mib) = match arguments.kind {
        Kind::Pv => (GuestKind::Pv, "pv", Hypervisor::Shadow, 128),
        Kind::Pvh => (GuestKind::Pvh, "pvh", Hypervisor::NoShadow, 192),
    };
    let plan = Plan {
        pairs: arguments.pairs,
        kind: name.to_owned(),
        memory_mib: arguments.memory_mib.unwrap_or(usual_mib),
        verified_mib: arguments.verified_mib,
        hot_mib: arguments.hot_mib,
        writes_per_s: arguments.rate,
        link_mbit: arguments.link_mbit,
    };
    plan.check()?;
    let ground = Ground::prepare()?;
    let mut spec = HostSpec::new(hypervisor);
    // The rest is for Xen and a reserve of 200 MiB.
    spec.memory_mib = spec.memory_mib.max(spec.dom0_memory_mib + plan.memory_mib + 300);
    let rig = ground.boot(spec)?;
    lab::end_tidily_on_signals()?;
    compare(&rig, kind, plan).inspect_err(|_| rig.lab().keep_logs())
}

fn compare(rig: &Rig, kind: GuestKind, plan: Plan) -> Result<()> {
    let guest = rig.host(Place::A).create_guest(&plan.guest(kind))?;
    rig.lab().link().shape((plan.link_mbit > 0).then_some(plan.link_mbit))?;
    let mut runs = Vec::new();
    let mut pairs = Vec::new();
    for pair in 1..=plan.pairs {
        // Who is first changes, and with it the direction each of them goes in.
        let order = if pair % 2 == 1 {
            [Helper::Ours, Helper::Stock]
        } else {
            [Helper::Stock, Helper::Ours]
        };
        let first = measure(rig, &guest, Place::A, order[0])?;
        say(pair, &first);
        let second = measure(rig, &guest, Place::B, order[1])?;
        say(pair, &second);
        runs.extend([first.clone(), second.clone()]);
        pairs.push(if order[0] == Helper::Ours { (first, second) } else { (second, first) });
    }
    let left = clean::leftovers(rig, &[guest.name()])?;
    ensure!(left.is_empty(), "something was left behind: {}", left.join("; "));
    let summary = summarise(&pairs)?;
    print!("\n{}", show(&summary));
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    let path = keep(&Comparison { circumstances, plan, runs, summary })?;
    println!("\nkept in {}", path.display());
    Ok(())
}

fn say(pair: u32, run: &Run) {
    println!(
        "pair {pair}, {:>5}: {:.1} s, gap {:.0} ms, {:.1} MiB, Dom0 CPU {:.1} + {:.1} s, {} pages \
         verified, 0 wrong",
        run.helper,
        run.total_ms / 1000.0,
        run.client_gap_ms,
        run.wire_bytes as f64 / 1_048_576.0,
        run.source_cpu_s,
        run.dest_cpu_s,
        run.pages_verified
    );
}

fn keep(comparison: &Comparison) -> Result<PathBuf> {
    let folder = workspace().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let name = comparison.circumstances.date.replace(':', "");
    let path = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(comparison).context("cannot write JSON")?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
