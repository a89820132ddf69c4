//! Stock `xl migrate` of one guest to and fro between two hosts, measured.
//!
//! `cargo run -p lab --example stock-migration -- [pv|pvh] [MIGRATIONS] [MBIT] [HOT_MIB WRITES_PER_S]`
//! with 0 for MBIT meaning an unshaped link.

#![forbid(unsafe_code)]

use std::env;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::shell::Door;
use lab::{
    GuestKind, GuestSpec, HostSpec, Hypervisor, Isolation, Lab, MigrateOptions, MigrateReport,
    WorkloadSpec, images,
};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |index: usize, default: u32| {
        arguments.get(index).map_or(Ok(default), |text| text.parse()).context("a number is meant")
    };
    let kind = match arguments.first().map_or("pv", String::as_str) {
        "pv" => GuestKind::Pv,
        "pvh" => GuestKind::Pvh,
        other => anyhow::bail!("`{other}` is no kind of guest: pv or pvh"),
    };
    let (migrations, mbit) = (number(1, 2)?, number(2, 0)?);
    let (hot_mib, writes_per_s) = (number(3, 4)?, number(4, 200)?);

    lab::check_machine()?;
    let door = Door::take()?;
    let images = images::ensure()?;
    let isolation = Isolation::enter()?;
    lab::end_tidily_on_signals()?;
    let start = Instant::now();
    let lab = Lab::up(isolation, &images, &[HostSpec::new(Hypervisor::Shadow); 2])?;
    println!("two hosts are up after {:.1} s", start.elapsed().as_secs_f32());
    // So that `lab shell a` works meanwhile.
    door.open(&lab);
    let result = to_and_fro(
        &lab,
        kind,
        WorkloadSpec { memory_mib: 48, hot_mib, writes_per_s },
        migrations,
        mbit,
    );
    if result.is_err() {
        lab.keep_logs();
    }
    result
}

fn to_and_fro(
    lab: &Lab,
    kind: GuestKind,
    workload: WorkloadSpec,
    migrations: u32,
    mbit: u32,
) -> Result<()> {
    let spec = GuestSpec {
        name: "traveller".to_owned(),
        kind,
        memory_mib: if kind == GuestKind::Pv { 160 } else { 224 },
        workload,
        ip: Ipv4Addr::new(10, 77, 0, 101),
        disk: true,
        processes: Vec::new(),
        cache_mib: 0,
        agent: false,
    };
    let start = Instant::now();
    let guest = lab.host("a")?.create_guest(&spec)?;
    println!("the guest answers after {:.1} s: {}", start.elapsed().as_secs_f32(), guest.stats()?);
    lab.link().shape((mbit > 0).then_some(mbit))?;
    for round in 0..migrations {
        let (from, to) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
        let report = lab.migrate(from, to, &guest, &MigrateOptions::default())?;
        print(from, to, &report);
        ensure!(report.succeeded(), "the migration failed: {report:#?}");
        let verified = guest.verify(Duration::from_secs(120))?;
        println!("  {} pages verified, {} wrong", verified.pages_verified, verified.pages_wrong);
        ensure!(verified.pages_wrong == 0, "wrong pages: {}", verified.answer);
        for host in lab.hosts() {
            println!(
                "  {}: {} domains, {} KiB available in Dom0, {} MiB left in Xen, {} xenstore nodes",
                host.name(),
                host.domains()?.len(),
                host.dom0_free_kib()?,
                host.xen_free_mib()?,
                host.xenstore_nodes()?
            );
        }
    }
    println!("{}", guest.stats()?);
    Ok(())
}

fn print(from: &str, to: &str, report: &MigrateReport) {
    println!(
        "{from} to {to}: total {:.1} s, client gap {:.0} ms ({} of {} probes lost), {:.1} MiB sent, \
         Dom0 CPU {:.1} + {:.1} s",
        report.total.as_secs_f32(),
        report.client.longest_gap_ms,
        report.client.lost,
        report.client.sent,
        report.wire_bytes as f64 / 1_048_576.0,
        report.source_cpu_seconds,
        report.dest_cpu_seconds
    );
}
