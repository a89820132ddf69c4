//! Live-migrates a running guest with our helper, and back with Xen's own, and shows both.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lab::{Guest, GuestKind, HostSpec, Hypervisor, VerifyReport};
use scenarios::compare::{mib, table};
use scenarios::flight::{Account, Flight, Route};
use scenarios::helper::Helper;
use scenarios::rig::{Ground, Place, Rig};
use scenarios::show::follow;
use scenarios::traveller::{self, require_intact};
use scenarios::{clean, row};

/// A link that is slower than the emulated processors: time then means something.
const LINK_MBIT: u32 = 40;
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(100);

/// Live-migrates a guest between two real Xen hosts, with xend and with Xen's own helper.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {}

fn main() -> ExitCode {
    Arguments::parse();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let ground = Ground::prepare()?;
    println!("booting two Xen hosts in QEMU");
    let rig = ground.boot(HostSpec::new(Hypervisor::Shadow))?;
    lab::end_tidily_on_signals()?;
    show(&rig).inspect_err(|_| rig.lab().keep_logs())
}

fn show(rig: &Rig) -> Result<()> {
    let spec = traveller::usual(GuestKind::Pv);
    println!(
        "starting a PV guest of {} MiB on host a: {} MiB are verified, {} MiB of them written at \
         {} pages/s",
        spec.memory_mib,
        spec.workload.memory_mib,
        spec.workload.hot_mib,
        spec.workload.writes_per_s
    );
    let guest = rig.host(Place::A).create_guest(&spec)?;
    rig.lab().link().shape(Some(LINK_MBIT))?;
    println!("the guest runs; the link between the hosts carries {LINK_MBIT} Mbit/s");
    let ours = journey(rig, &guest, Place::A, Helper::Ours)?;
    let stock = journey(rig, &guest, Place::B, Helper::Stock)?;
    print!("\n{}", table(&rows(&ours, &stock)));
    let leftovers = clean::leftovers(rig, &[guest.name()])?;
    ensure!(leftovers.is_empty(), "something was left behind: {}", leftovers.join("; "));
    Ok(())
}

fn journey(
    rig: &Rig,
    guest: &Guest,
    from: Place,
    helper: Helper,
) -> Result<(Account, VerifyReport)> {
    let to = from.other();
    let label = format!("{helper} {} -> {}", from.name(), to.name());
    let route = Route { guest, from, sender: helper, receiver: helper };
    let flight = Flight::start(rig, &route, true)?;
    let account = follow(flight, &label, MIGRATION_TIMEOUT)?;
    account.require_success().with_context(|| label.clone())?;
    let verified = require_intact(guest).with_context(|| label.clone())?;
    ensure!(traveller::find(rig, guest)? == to, "{label}: the guest is not where it should be");
    println!(
        "{label}: done in {:.1} s, {} pages verified, {} wrong",
        account.total.as_secs_f32(),
        verified.pages_verified,
        verified.pages_wrong
    );
    Ok((account, verified))
}

fn rows(ours: &(Account, VerifyReport), stock: &(Account, VerifyReport)) -> Vec<Vec<String>> {
    let row = |name: &str, value: &dyn Fn(&Account, &VerifyReport) -> String| {
        row![name, value(&ours.0, &ours.1), value(&stock.0, &stock.1)]
    };
    vec![
        row!["", Helper::Ours, Helper::Stock],
        // The last pass is not a round: the guest stands still.
        row("rounds", &|account, _| account.passes().len().saturating_sub(1).to_string()),
        row("pages", &|account, _| {
            account.passes().iter().map(|pass| pass.total_pages).sum::<u64>().to_string()
        }),
        row("bytes on the wire", &|account, _| mib(account.wire_bytes)),
        row("total time", &|account, _| format!("{:.1} s", account.total.as_secs_f32())),
        row("client-visible gap", &|account, _| format!("{:.0} ms", account.client.longest_gap_ms)),
        row("Dom0 CPU, both", &|account, _| {
            format!("{:.1} s", account.source_cpu_seconds + account.dest_cpu_seconds)
        }),
        row("pages verified", &|_, verified| verified.pages_verified.to_string()),
        row("pages wrong", &|_, verified| verified.pages_wrong.to_string()),
    ]
}
