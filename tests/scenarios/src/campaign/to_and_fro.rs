//! One guest goes to and fro many times, and nothing may be left of it on either host.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind, GuestSpec};

use super::sheet::keep;
use super::with_shadow;
use crate::census::Census;
use crate::clean;
use crate::compare::{markdown, table};
use crate::flight::{Flight, Route};
use crate::helper::Helper;
use crate::machine::Circumstances;
use crate::rig::{Place, Rig};
use crate::row;
use crate::statistics::Spread;
use crate::traveller::{LOST_PER_RESUME_MIB, require_intact, usual};

const MIGRATION_TIMEOUT: Duration = Duration::from_secs(180);
/// What Dom0's free memory may lose per migration, in KiB. It is not the helper's, which has ended
/// by then: Dom0's files are in its memory, and each migration leaves lines in its logs. Xen's own
/// helper, measured with `--stock`, lost 22 and 53 KiB per migration on the two hosts.
const DOM0_LOSS_KIB: u64 = 100;
/// The same once, for what Linux holds in its caches at one look and not at another, in KiB.
const DOM0_NOISE_KIB: u64 = 1024;

/// Boots two hosts and sends a guest to and fro.
///
/// # Errors
/// When a migration fails, a page is wrong, or something leaks.
pub fn run(migrations: u32, helper: Helper) -> Result<()> {
    // It ends where it began.
    let migrations = migrations.next_multiple_of(2);
    with_shadow(|rig| travel(rig, migrations, helper))?.verdict()
}

/// What was counted.
struct Outcome {
    migrations: u32,
    before: Vec<Census>,
    after: Vec<Census>,
    left: Vec<String>,
}

fn travel(rig: &Rig, migrations: u32, helper: Helper) -> Result<Outcome> {
    let usual = usual(GuestKind::Pv);
    let spec = GuestSpec {
        memory_mib: usual.memory_mib + (migrations + 4) * LOST_PER_RESUME_MIB,
        ..usual
    };
    let guest = rig.host(Place::A).create_guest(&spec)?;
    // What is made only once is there before the first look.
    for from in [Place::A, Place::B] {
        migrate(rig, &guest, from, helper).context("the first time to and fro")?;
    }
    let look = || rig.hosts().iter().map(Census::take).collect::<Result<Vec<_>>>();
    let before = look()?;
    let (mut total_ms, mut gap_ms) = (Vec::new(), Vec::new());
    for index in 1..=migrations {
        let from = if index % 2 == 1 { Place::A } else { Place::B };
        let (total, gap) = migrate(rig, &guest, from, helper)
            .with_context(|| format!("migration {index} of {migrations}"))?;
        println!("migration {index} of {migrations}: {:.1} s, gap {gap:.0} ms", total / 1000.0);
        total_ms.push(total);
        gap_ms.push(gap);
    }
    let outcome = Outcome {
        migrations,
        before,
        after: look()?,
        left: clean::leftovers(rig, &[guest.name()])?,
    };
    let rows = outcome.rows(rig);
    print!("\n{}", table(&rows));
    let spread = |values: Vec<f64>| Spread::of(values).context("no migration was measured");
    let (total, gap) = (spread(total_ms)?, spread(gap_ms)?);
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    let text = format!(
        "# One guest {migrations} times to and fro, {helper} on both sides\n\n\
         A PV guest of {} MiB, {} MiB of it verified after each migration, {} MiB written at {} \
         pages/s; live, over a link as fast as the emulation is.\n\n{}\n{}\n\
         - total time: median {:.1} s ({:.1} to {:.1} s)\n\
         - client gap: median {:.0} ms ({:.0} to {:.0} ms)\n\
         - wrong pages: 0\n- left behind: {}\n\n\
         Free memory of Dom0 may lose {DOM0_LOSS_KIB} KiB for each migration, and \
         {DOM0_NOISE_KIB} KiB on the whole.\n\n{}",
        spec.memory_mib,
        spec.workload.memory_mib,
        spec.workload.hot_mib,
        spec.workload.writes_per_s,
        "## Circumstances",
        circumstances.markdown() + "\n## Result",
        total.median / 1000.0,
        total.low / 1000.0,
        total.high / 1000.0,
        gap.median,
        gap.low,
        gap.high,
        if outcome.left.is_empty() { "nothing".to_owned() } else { outcome.left.join("; ") },
        markdown(&rows),
    );
    let name = match helper {
        Helper::Ours => "to-and-fro",
        Helper::Stock => "to-and-fro-stock",
    };
    println!("\nkept in {}", keep(name, &circumstances, &text)?.display());
    Ok(outcome)
}

/// Migrates once, and gives the total time and the client's gap in ms.
fn migrate(rig: &Rig, guest: &Guest, from: Place, helper: Helper) -> Result<(f64, f64)> {
    let route = Route { guest, from, sender: helper, receiver: helper };
    let account = Flight::start(rig, &route, false)?.finish(MIGRATION_TIMEOUT)?;
    account.require_success()?;
    require_intact(guest)?;
    Ok((account.total.as_secs_f64() * 1000.0, account.client.longest_gap_ms))
}

/// A figure, by its name.
type Column = (&'static str, fn(&Census) -> u64);

/// These have to be the same afterwards.
const EXACT: &[Column] = &[
    ("domains", |census| census.domains),
    ("xenstore nodes", |census| census.xenstore_nodes),
    ("Xen's free memory, MiB", |census| census.xen_free_mib),
    ("descriptors of xenstored", |census| census.xenstored_fds),
    ("descriptors of xenconsoled", |census| census.xenconsoled_fds),
    ("processes", |census| census.processes),
];

/// These may lose a little.
const MEMORY: &[Column] = &[
    ("Dom0 MemFree, KiB", |census| census.dom0_free_kib),
    ("Dom0 MemAvailable, KiB", |census| census.dom0_available_kib),
];

impl Outcome {
    fn rows(&self, rig: &Rig) -> Vec<Vec<String>> {
        let mut rows = vec![row!["host", "", "before", "after", "change"]];
        for (host, (before, after)) in rig.hosts().iter().zip(self.before.iter().zip(&self.after)) {
            for (name, value) in EXACT.iter().chain(MEMORY) {
                let change = i128::from(value(after)) - i128::from(value(before));
                rows.push(row![host.name(), name, value(before), value(after), change]);
            }
        }
        rows
    }

    fn verdict(&self) -> Result<()> {
        let allowed = DOM0_NOISE_KIB + DOM0_LOSS_KIB * u64::from(self.migrations);
        let mut leaks = self.left.clone();
        for (before, after) in self.before.iter().zip(&self.after) {
            for (name, value) in EXACT {
                if value(before) != value(after) {
                    leaks.push(format!("{name}: {} before, {} after", value(before), value(after)));
                }
            }
            for (name, value) in MEMORY {
                let loss = value(before).saturating_sub(value(after));
                if loss > allowed {
                    leaks.push(format!("{name}: {loss} KiB less, {allowed} are allowed"));
                }
            }
        }
        ensure!(leaks.is_empty(), "leaks: {}", leaks.join("; "));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Census, Outcome};

    fn census() -> Census {
        Census {
            domains: 1,
            xenstore_nodes: 100,
            dom0_free_kib: 100_000,
            dom0_available_kib: 90_000,
            xen_free_mib: 800,
            xenstored_fds: 20,
            xenconsoled_fds: 10,
            processes: 9,
        }
    }

    fn verdict(after: Census) -> bool {
        Outcome { migrations: 10, before: vec![census()], after: vec![after], left: Vec::new() }
            .verdict()
            .is_ok()
    }

    #[test]
    fn counts_are_exact_and_memory_has_a_tolerance() {
        assert!(verdict(census()));
        assert!(verdict(Census { dom0_free_kib: 98_500, ..census() }));
        assert!(!verdict(Census { dom0_free_kib: 97_500, ..census() }));
        assert!(!verdict(Census { xenstore_nodes: 101, ..census() }));
        assert!(!verdict(Census { xen_free_mib: 799, ..census() }));
        assert!(!verdict(Census { xenconsoled_fds: 11, ..census() }));
    }
}
