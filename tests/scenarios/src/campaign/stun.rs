//! A guest that writes twice as fast as the link carries, stunned until it can be moved in time.

use anyhow::{Context, Result, ensure};
use lab::{GuestKind, GuestSpec, HostSpec, Hypervisor, WorkloadSpec};

use crate::clean;
use crate::compare::{markdown, table};
use crate::comparison::{ToolstackRun, measure_toolstack};
use crate::machine::Circumstances;
use crate::rig::{Ground, Place, Rig};
use crate::row;
use crate::statistics::Spread;
use crate::toolstack::Toolstack;
use crate::traveller::usual;

const LINK_MBIT: u32 = 40;
/// Pages per second: twice what the link carries.
const WRITES_PER_S: u32 = 2441;
const HOT_MIB: u32 = 64;
/// What the rest of the guest needs, with room for its network while it is busy.
const SYSTEM_MIB: u32 = 110;
const GUEST_LOSS_MIB: u32 = 1;

/// Boots two hosts with shadow paging and migrates a guest `runs` times, to stand still for no more
/// than `downtime_ms`.
///
/// # Errors
/// When a migration fails, a page is wrong or something is left behind. That the guest stood still
/// for longer is told, and no error: it is a measurement.
pub fn run(runs: u32, downtime_ms: u32) -> Result<()> {
    let ground = Ground::prepare()?;
    let rig = ground.boot(HostSpec::new(Hypervisor::Shadow))?;
    lab::end_tidily_on_signals()?;
    migrate(&rig, runs, downtime_ms).inspect_err(|_| rig.lab().keep_logs())
}

fn migrate(rig: &Rig, runs: u32, downtime_ms: u32) -> Result<()> {
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    let memory_mib = HOT_MIB + SYSTEM_MIB + runs * GUEST_LOSS_MIB;
    let spec = GuestSpec {
        memory_mib,
        workload: WorkloadSpec {
            memory_mib: HOT_MIB,
            hot_mib: HOT_MIB,
            writes_per_s: WRITES_PER_S,
        },
        ..usual(GuestKind::Pv)
    };
    let guest = rig.host(Place::A).create_guest(&spec)?;
    rig.lab().link().shape(Some(LINK_MBIT))?;
    let options = format!("--stun --downtime {downtime_ms}");
    let mut from = Place::A;
    let mut done = Vec::new();
    for index in 1..=runs {
        let run = measure_toolstack(rig, &guest, from, Toolstack::Xend, &options)?;
        println!(
            "{index} of {runs}: {:.1} s, {} rounds, stopped for {:.0} ms, gap {:.0} ms",
            run.total_ms / 1000.0,
            run.rounds,
            stopped_ms(&run)?,
            run.client_gap_ms
        );
        done.push(run);
        from = from.other();
    }
    rig.lab().link().shape(None)?;
    let left = clean::leftovers(rig, &[guest.name()])?;
    ensure!(left.is_empty(), "left behind: {}", left.join("; "));
    let stops = done.iter().map(stopped_ms).collect::<Result<Vec<f64>>>()?;
    let met = stops.iter().filter(|&&ms| ms <= f64::from(downtime_ms)).count();
    let spread = |values: Vec<f64>| Spread::of(values).context("nothing was measured");
    let column = |value: fn(&ToolstackRun) -> f64| spread(done.iter().map(value).collect());
    let mut rows = vec![row!["", "median", "low..high"]];
    for (name, spread) in [
        ("stopped, ms", spread(stops)?),
        ("client gap, ms", column(|run| run.client_gap_ms)?),
        ("total time, s", column(|run| run.total_ms / 1000.0)?),
        ("rounds", column(|run| run.rounds as f64)?),
        ("pages in the last pass", column(|run| run.last_pass_pages as f64)?),
    ] {
        let range = format!("{:.0}..{:.0}", spread.low, spread.high);
        rows.push(row![name, format!("{:.0}", spread.median), range]);
    }
    print!("\n{}", table(&rows));
    let text = format!(
        "# Stunned: {runs} migrations of a guest that writes twice as fast as the link carries\n\n\
         A PV guest of {memory_mib} MiB, {WRITES_PER_S} pages/s written to {HOT_MIB} MiB, over \
         {LINK_MBIT} Mbit/s, with `{options}`. Stopped is from the request to suspend to the \
         destination's word that the guest runs.\n\n## Circumstances\n{}\n## Result\n\
         - the downtime target was met in {met} of {runs}\n- wrong pages: 0\n\n{}",
        circumstances.markdown(),
        markdown(&rows),
    );
    println!("\nkept in {}", super::keep("stun", &circumstances, &text)?.display());
    Ok(())
}

fn stopped_ms(run: &ToolstackRun) -> Result<f64> {
    let report = run.report.as_ref().context("xend kept no report")?;
    report["stopped_ms"].as_f64().context("a report without stopped_ms")
}
