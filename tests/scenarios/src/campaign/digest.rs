//! Many migrations of a PV guest on a hypervisor that cannot track its writes, with unrest in the
//! guest, and some that suspend it first to compare with.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind, GuestSpec, HostSpec, Hypervisor};

use super::on_hosts;
use super::sheet::keep;
use crate::clean;
use crate::compare::{markdown, table};
use crate::flight::{Account, Flight, Route};
use crate::helper::Helper;
use crate::machine::Circumstances;
use crate::rig::{Place, Rig};
use crate::row;
use crate::statistics::Spread;
use crate::traveller::{LOST_PER_RESUME_MIB, UNREST_MIB, find, require_intact, usual};

const MIGRATION_TIMEOUT: Duration = Duration::from_secs(180);
const CHURN_PER_S: u32 = 5;
/// One of so many migrations goes over a slower link, and is followed by one with the guest suspended
/// first, to compare.
const COMPARE_EVERY: u32 = 6;
/// Slower than the emulated processors, as links are slower than real ones.
const COMPARE_MBIT: u32 = 40;
/// Every so many the receiver is Xen's own helper.
const STOCK_EVERY: u32 = 3;

/// Boots two hosts of so many processors without shadow paging and sends a guest to and fro,
/// `migrations` times live.
///
/// # Errors
/// When Xen's own helper can do it after all, a migration fails, a page is wrong, or something is
/// left behind.
pub fn run(migrations: u32, cpus: u32) -> Result<()> {
    let spec = HostSpec { cpus, ..HostSpec::new(Hypervisor::NoShadow) };
    on_hosts(spec, |rig| travel(rig, migrations, cpus))
}

/// What was measured of one way to migrate.
#[derive(Default)]
struct Measured {
    gap_ms: Vec<f64>,
    total_s: Vec<f64>,
    wire_mib: Vec<f64>,
    dom0_cpu_s: Vec<f64>,
}

impl Measured {
    fn add(&mut self, account: &Account) {
        self.gap_ms.push(account.client.longest_gap_ms);
        self.total_s.push(account.total.as_secs_f64());
        self.wire_mib.push(account.wire_bytes as f64 / f64::from(1 << 20));
        self.dom0_cpu_s.push(account.source_cpu_seconds);
    }

    fn columns(&self) -> [(&'static str, &[f64]); 4] {
        [
            ("client gap, ms", &self.gap_ms),
            ("total time, s", &self.total_s),
            ("on the wire, MiB", &self.wire_mib),
            ("Dom0 CPU source, s", &self.dom0_cpu_s),
        ]
    }
}

fn travel(rig: &Rig, migrations: u32, cpus: u32) -> Result<()> {
    let usual = usual(GuestKind::Pv);
    let resumes = migrations + migrations / COMPARE_EVERY;
    let memory_mib = usual.memory_mib + UNREST_MIB + resumes * LOST_PER_RESUME_MIB;
    let spec = GuestSpec { memory_mib, ..usual };
    let guest = rig.host(Place::A).create_guest(&spec)?;
    let refusal = stock_refuses(rig, &guest)?;
    guest.churn(CHURN_PER_S)?;
    let (mut gaps_ms, mut live, mut stopped) =
        (Vec::new(), Measured::default(), Measured::default());
    let mut said = String::new();
    for index in 1..=migrations {
        let receiver = if index % STOCK_EVERY == 0 { Helper::Stock } else { Helper::Ours };
        let name = format!("{index} of {migrations}");
        if index % COMPARE_EVERY == 0 {
            rig.lab().link().shape(Some(COMPARE_MBIT))?;
            live.add(&migrate(rig, &guest, receiver, "").context(name)?);
            stopped.add(&migrate(rig, &guest, receiver, "XEND_TRACKING=none")?);
            rig.lab().link().shape(None)?;
        } else {
            let account = migrate(rig, &guest, receiver, "").context(name)?;
            gaps_ms.push(account.client.longest_gap_ms);
            said = words_of_the_sender(&account);
        }
    }
    let churn = guest.stats()?["churn"].clone();
    guest.churn(0)?;
    let left = clean::leftovers(rig, &[guest.name()])?;
    let rows = rows(&live, &stopped);
    let gap = Spread::of(gaps_ms).context("no migration was measured")?;
    print!("\n{}", table(&rows));
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    let text = format!(
        "# A PV guest {migrations} times without shadow paging\n\n\
         Hosts of {cpus} processor(s). A PV guest of {memory_mib} MiB, {} MiB of it verified after each migration, {} MiB written \
         at {} pages/s; stock `xl` with our helper at the source, and Xen's own at every third \
         destination; over a link as fast as the emulation is. All the while, {CHURN_PER_S} times a \
         second, processes are forked and become other programs and threads come and go, and the \
         guest's balloon moves. One migration of {COMPARE_EVERY} goes over a link of {COMPARE_MBIT} Mbit/s, \
         followed by one with the guest suspended first.\n\n## Circumstances\n{}\n## Result\n\
         - with Xen's own helper at the source: {refusal}\n\
         - live migrations: {migrations}, tracked by digest\n- wrong pages: 0\n\
         - in the words of the sender, the last time: {said}\n\
         - unrest in the guest: {churn}\n- left behind: {}\n\
         - client gap over the fast link: median {:.0} ms ({:.0} to {:.0} ms)\n\n\
         Over the slower link, medians with lowest and highest:\n\n{}",
        spec.workload.memory_mib,
        spec.workload.hot_mib,
        spec.workload.writes_per_s,
        circumstances.markdown(),
        if left.is_empty() { "nothing".to_owned() } else { left.join("; ") },
        gap.median,
        gap.low,
        gap.high,
        markdown(&rows),
    );
    println!("\nkept in {}", keep("digest", &circumstances, &text)?.display());
    ensure!(left.is_empty(), "left behind: {}", left.join("; "));
    Ok(())
}

/// Xen's own helper cannot; gives what it says.
fn stock_refuses(rig: &Rig, guest: &Guest) -> Result<String> {
    let from = find(rig, guest)?;
    let route = Route { guest, from, sender: Helper::Stock, receiver: Helper::Stock };
    let account = Flight::start(rig, &route, false)?.finish(MIGRATION_TIMEOUT)?;
    ensure!(account.sender.status != 0, "Xen's own helper can track this guest's writes");
    require_intact(guest)?;
    let said = account.sender.stderr_text();
    let line = said.lines().find(|line| line.contains("logdirty"));
    let words = line.and_then(|line| line.find("Failed").map(|at| line[at..].trim()));
    Ok(format!("`{}`", words.unwrap_or("it fails")))
}

fn migrate(rig: &Rig, guest: &Guest, receiver: Helper, environment: &str) -> Result<Account> {
    let from = find(rig, guest)?;
    let route = Route { guest, from, sender: Helper::Ours, receiver };
    let flight = Flight::start_with(rig, &route, false, environment)?;
    let account = flight.finish(MIGRATION_TIMEOUT)?;
    account.require_success()?;
    require_intact(guest)?;
    let digest = account.sender.stderr_text().contains("tracked by digest");
    ensure!(digest == environment.is_empty(), "not tracked as wanted: {}", account.said());
    let (total, gap) = (account.total.as_secs_f64(), account.client.longest_gap_ms);
    println!("from {} to {receiver} {environment}: {total:.1} s, gap {gap:.0} ms", from.name());
    Ok(account)
}

/// How it tracked, what it foretold, and how long the stop was.
fn words_of_the_sender(account: &Account) -> String {
    let text = account.sender.stderr_text();
    let told = |line: &&str| {
        ["tracked by", "the last pass", "stopped_ms="].iter().any(|it| line.contains(it))
    };
    let lines: Vec<_> =
        text.lines().filter(told).map(|line| format!("`{}`", line.trim())).collect();
    lines.join("; ")
}

fn rows(live: &Measured, stopped: &Measured) -> Vec<Vec<String>> {
    let mut rows =
        vec![row!["", "digest", "low..high", "suspended first", "low..high", "of medians"]];
    for ((name, live), (_, stopped)) in live.columns().into_iter().zip(stopped.columns()) {
        // Fewer migrations than it takes for a comparison.
        let spread = |values: &[f64]| Spread::of(values.to_vec());
        let (Some(live), Some(stopped)) = (spread(live), spread(stopped)) else { continue };
        let median = |s: &Spread| format!("{:.1}", s.median);
        let range = |s: &Spread| format!("{:.1}..{:.1}", s.low, s.high);
        let ratio = format!("{:.2}", live.median / stopped.median);
        rows.push(row![
            name,
            median(&live),
            range(&live),
            median(&stopped),
            range(&stopped),
            ratio
        ]);
    }
    rows
}
