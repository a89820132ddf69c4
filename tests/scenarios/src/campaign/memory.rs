//! How much memory the helper takes: bounded, and the same however much a guest writes.

use anyhow::{Context, Result, ensure};
use lab::{GuestKind, GuestSpec, HostSpec, Hypervisor, WorkloadSpec};

use super::on_hosts;
use super::sheet::keep;
use crate::compare::{markdown, table};
use crate::comparison::{Run, measure};
use crate::helper::Helper;
use crate::machine::Circumstances;
use crate::rig::{Place, Rig};
use crate::row;
use crate::traveller::usual;

/// What the helper may take, whatever the guest.
const LIMIT_KIB: u64 = 64 * 1024;
/// How much more it may take for many rounds than for few: allocators differ that much between
/// two runs of the same thing.
const GROWTH_KIB: u64 = 4 * 1024;
const DOM0_MIB: u32 = 640;
/// What Xen itself keeps of a host's memory, with shadow memory for the guest.
const XEN_MIB: u32 = 400;
/// Less than the emulated link carries in one round, so that every round finds something to send.
const BUSY_HOT_MIB: u32 = 32;

/// Sends a large guest over that writes next to nothing, then another that writes a lot.
///
/// # Errors
/// When the helper takes too much, or a migration fails.
pub fn run(guest_mib: u32) -> Result<()> {
    let spec = HostSpec {
        memory_mib: DOM0_MIB + guest_mib + XEN_MIB,
        dom0_memory_mib: DOM0_MIB,
        ..HostSpec::new(Hypervisor::Shadow)
    };
    verdict(&on_hosts(spec, |rig| both(rig, guest_mib))?)
}

fn both(rig: &Rig, guest_mib: u32) -> Result<Vec<(&'static str, Run)>> {
    let mut runs = Vec::new();
    for (name, hot_mib, writes_per_s) in [("idle", 1, 2), ("busy", BUSY_HOT_MIB, 2000)] {
        let guest = GuestSpec {
            name: name.to_owned(),
            memory_mib: guest_mib,
            workload: WorkloadSpec { memory_mib: 64, hot_mib, writes_per_s },
            ..usual(GuestKind::Pv)
        };
        let guest = rig.host(Place::A).create_guest(&guest)?;
        let run = measure(rig, &guest, Place::A, Helper::Ours)
            .with_context(|| format!("the {name} guest"))?;
        println!("{name}: {} rounds, {} pages, {:.0} s", run.rounds, run.pages, run.total_ms / 1e3);
        rig.host(Place::B).run_ok(&format!("xl destroy {name}"), crate::rig::ASK)?;
        runs.push((name, run));
    }
    let mut rows = vec![row![
        "guest",
        "rounds",
        "pages sent",
        "peak of the sender, KiB",
        "peak of the receiver, KiB"
    ]];
    for (name, run) in &runs {
        let Run { source_helper_peak_rss_kib: source, dest_helper_peak_rss_kib: dest, .. } = run;
        rows.push(row![name, run.rounds, run.pages, source, dest]);
    }
    print!("\n{}", table(&rows));
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    let text = format!(
        "# Memory of the helper for a guest of {guest_mib} MiB\n\n\
         The most that was resident at once (`ru_maxrss`), guest memory that is mapped left out. \
         The limit is {LIMIT_KIB} KiB.\n\n## Circumstances\n{}\n## Result\n{}",
        circumstances.markdown(),
        markdown(&rows)
    );
    println!("\nkept in {}", keep("helper-memory", &circumstances, &text)?.display());
    Ok(runs)
}

fn verdict(runs: &[(&str, Run)]) -> Result<()> {
    for side in
        [|run: &Run| run.source_helper_peak_rss_kib, |run: &Run| run.dest_helper_peak_rss_kib]
    {
        let peaks: Vec<u64> = runs.iter().map(|(_, run)| side(run)).collect();
        ensure!(peaks.iter().all(|&peak| peak < LIMIT_KIB), "more than {LIMIT_KIB} KiB: {peaks:?}");
        let growth = peaks.last().copied().unwrap_or(0).saturating_sub(peaks[0]);
        ensure!(growth <= GROWTH_KIB, "it grows with what the guest writes: {peaks:?}");
    }
    Ok(())
}
