//! Compares ours with Xen's own, helpers or whole toolstacks, as data: pairs of migrations in
//! alternating order.

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use lab::{Guest, GuestKind, HostSpec, Hypervisor};
use scenarios::clean;
use scenarios::comparison::{
    COLUMNS, Column, Comparison, Plan, Run, TOOLSTACK_COLUMNS, ToolstackRun, in_pairs, measure,
    measure_toolstack, show, summarise,
};
use scenarios::helper::Helper;
use scenarios::machine::Circumstances;
use scenarios::programs::workspace;
use scenarios::rig::{Ground, Place, Rig};
use scenarios::toolstack::Toolstack;
use scenarios::voyage::Environment;
use serde::Serialize;

/// Compares xend-save-helper with Xen's own helper, or xend with xl: one guest goes to and fro
/// between two hosts, in turn with each on both sides.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Compare whole toolstacks, with an idle guest, instead of helpers behind xl.
    #[arg(long)]
    toolstack: bool,
    /// Give the guest a disk, which it uses all the time.
    #[arg(long)]
    disk: bool,
    /// Migrations with each of the two.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: u32,
    /// The kind of guest.
    #[arg(long, value_enum, default_value_t = Kind::Pv)]
    kind: Kind,
    /// The guest's memory, in MiB [default: 136 for pv, 200 for pvh].
    #[arg(long)]
    memory_mib: Option<u32>,
    /// Memory of the guest whose contents are verified, in MiB.
    #[arg(long, default_value_t = 32)]
    verified_mib: u32,
    /// Of that, memory that is written all the time, in MiB.
    #[arg(long, default_value_t = 4)]
    hot_mib: u32,
    /// Pages written per second [default: 200, and 0 with --toolstack].
    #[arg(long)]
    rate: Option<u32>,
    /// With --toolstack: further options of `xend migrate`, as one word.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    options: String,
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
        Kind::Pv => (GuestKind::Pv, "pv", Hypervisor::Shadow, 136),
        Kind::Pvh => (GuestKind::Pvh, "pvh", Hypervisor::NoShadow, 200),
    };
    let writes_per_s = arguments.rate.unwrap_or(if arguments.toolstack { 0 } else { 200 });
    let plan = Plan {
        pairs: arguments.pairs,
        kind: name.to_owned(),
        memory_mib: arguments.memory_mib.unwrap_or(usual_mib),
        verified_mib: arguments.verified_mib,
        hot_mib: if writes_per_s == 0 { 0 } else { arguments.hot_mib },
        writes_per_s,
        link_mbit: arguments.link_mbit,
        disk: arguments.disk,
        options: arguments.options.clone(),
    };
    plan.check()?;
    let ground = Ground::prepare()?;
    let mut spec = HostSpec::new(hypervisor);
    // The rest is for Xen and a reserve of 200 MiB.
    spec.memory_mib = spec.memory_mib.max(spec.dom0_memory_mib + plan.memory_mib + 300);
    let rig = ground.boot(spec)?;
    lab::end_tidily_on_signals()?;
    let compared = if arguments.toolstack {
        let both = [Toolstack::Xend, Toolstack::Stock];
        let asked = Environment::with_options(&arguments.options);
        let measure = |rig: &Rig, guest: &Guest, from, toolstack| {
            measure_toolstack(rig, guest, from, toolstack, &asked)
        };
        compare(&rig, kind, plan, both, measure, say_toolstack, TOOLSTACK_COLUMNS)
    } else {
        compare(&rig, kind, plan, [Helper::Ours, Helper::Stock], measure, say, COLUMNS)
    };
    compared.inspect_err(|_| rig.lab().keep_logs())
}

/// Of the two that are compared, ours comes first.
fn compare<S: Copy, R: Serialize>(
    rig: &Rig,
    kind: GuestKind,
    plan: Plan,
    both: [S; 2],
    measure: impl Fn(&Rig, &Guest, Place, S) -> Result<R>,
    say: fn(u32, &R),
    columns: &[Column<R>],
) -> Result<()> {
    let guest = rig.host(Place::A).create_guest(&plan.guest(kind))?;
    rig.lab().link().shape((plan.link_mbit > 0).then_some(plan.link_mbit))?;
    let pairs = in_pairs(rig, &guest, plan.pairs, both, measure, say)?;
    let left = clean::leftovers(rig, &[guest.name()])?;
    ensure!(left.is_empty(), "something was left behind: {}", left.join("; "));
    let summary = summarise(columns, &pairs)?;
    print!("\n{}", show(&summary));
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    let path = keep(&Comparison { circumstances, plan, pairs, summary })?;
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

fn say_toolstack(pair: u32, run: &ToolstackRun) {
    println!(
        "pair {pair}, {:>4}: {:.1} s, gap {:.0} ms, {:.1} MiB, Dom0 CPU {:.1} + {:.1} s, {} pages \
         verified, 0 wrong",
        run.toolstack,
        run.total_ms / 1000.0,
        run.client_gap_ms,
        run.wire_bytes as f64 / 1_048_576.0,
        run.source_cpu_s,
        run.dest_cpu_s,
        run.pages_verified
    );
    for line in run.own_account() {
        println!("    {line}");
    }
}

fn keep<R: Serialize>(comparison: &Comparison<R>) -> Result<PathBuf> {
    let folder = workspace().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let name = comparison.circumstances.date.replace(':', "");
    let path = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(comparison).context("cannot write JSON")?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
