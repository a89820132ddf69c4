//! Whether each second has the rate that its round was given, by the counters of the link.

mod seconds;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Guest, Link, WorkloadSpec};

use self::seconds::{Meter, Round, Second, rounds};
use super::bound::told_of_all;
use super::sheet::Sheet;
use super::{require_nothing_left, with_shadow};
use crate::comparison::newest_report;
use crate::machine::Circumstances;
use crate::rig::{Place, Rig};
use crate::row;
use crate::statistics::Spread;
use crate::traveller::{require_intact, working};
use crate::voyage::{Environment, Pairing, set_out};

const MIGRATION_TIMEOUT: Duration = Duration::from_secs(300);
/// How often the counters are looked at.
const LOOK: Duration = Duration::from_millis(20);
const HOT_MIB: u32 = 64;
const WRITES_PER_S: u32 = 1200;
const PAGE_BITS: f64 = 4096.0 * 8.0;
/// Journeys that do not count, one in each direction: the emulator translates a program when it first
/// runs, and that takes it longer than a second may be off by.
const WARMING: u32 = 2;
/// How far a second may be off.
const TOLERANCE: f64 = 0.05;
/// Too short for one round: so that there are several.
const DOWNTIME_MS: u32 = 50;

/// One migration.
struct Run {
    rounds: Vec<Round>,
    seconds: Vec<Second>,
}

/// Boots two hosts with shadow paging and sends a guest to and fro `runs` times, over a link that is as
/// fast as the emulation is.
///
/// # Errors
/// When a migration fails, a page is wrong or something is left behind. That a second is too fast or too
/// slow is told, and no error: it is a measurement.
pub fn run(runs: u32, min_mbit: u32, max_mbit: u32) -> Result<()> {
    ensure!(min_mbit <= max_mbit, "--min-mbit {min_mbit} is more than --max-mbit {max_mbit}");
    with_shadow(|rig| measure(rig, runs, min_mbit, max_mbit))
}

fn measure(rig: &Rig, runs: u32, min_mbit: u32, max_mbit: u32) -> Result<()> {
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    let workload =
        WorkloadSpec { memory_mib: HOT_MIB, hot_mib: HOT_MIB, writes_per_s: WRITES_PER_S };
    let spec = working(workload, WARMING + runs);
    let guest = rig.host(Place::A).create_guest(&spec)?;
    let options =
        format!("--bandwidth-min {min_mbit} --bandwidth-max {max_mbit} --downtime {DOWNTIME_MS}");
    let mut from = Place::A;
    let mut done = Vec::new();
    for index in 0..WARMING + runs {
        let run = migrate(rig, &guest, from, &options)?;
        from = from.other();
        if index >= WARMING {
            say(index + 1 - WARMING, runs, &run);
            done.push(run);
        }
    }
    require_nothing_left(rig, &guest)?;
    Sheet {
        name: "pacing",
        title: format!("The rate of each second, in {runs} migrations"),
        what: format!(
            "A PV guest of {} MiB that writes {WRITES_PER_S} pages/s ({:.0} Mbit/s), evenly at \
             random from {HOT_MIB} MiB, goes to and fro by TCP with `{options}`, over a link that is \
             as fast as the emulation is. The counters of the sending host's network card are read \
             every {} ms, but for those of a first journey in each direction, in which the emulator still \
             translates the programs; what is compared is each full second within a pass, with the rate \
             that the pass was given by xend's report. The law: the first round at the minimum, each \
             further one at what was written in the round before and 50 Mbit/s more, none above the maximum, \
             and the last pass at the maximum.",
            spec.memory_mib,
            f64::from(WRITES_PER_S) * PAGE_BITS / 1e6,
            LOOK.as_millis(),
        ),
        circumstances: &circumstances,
        findings: verdict(&done)?,
        rows: rows(&done)?,
    }
    .keep()
}

fn migrate(rig: &Rig, guest: &Guest, from: Place, options: &str) -> Result<Run> {
    let stop = AtomicBool::new(false);
    let link = rig.lab().link();
    let (meter, account) = thread::scope(|scope| {
        let meter = scope.spawn(|| watch(link, from.name(), &stop));
        let environment = Environment::with_options(options);
        let account = set_out(rig, guest, from, Pairing::XEND_TCP, &environment)
            .and_then(|flight| flight.finish(MIGRATION_TIMEOUT));
        stop.store(true, Ordering::Relaxed);
        (meter.join().expect("the thread that reads the counters"), account)
    });
    let (meter, account) = (meter?, account?);
    account.require_success()?;
    require_intact(guest)?;
    let rounds = rounds(&newest_report(rig.host(from))?)?;
    let first = rounds.first().context("no round was held to a rate")?;
    let onset = meter.onset(first.limit_mbit).context("the first round cannot be seen")?;
    let start = onset.checked_sub(first.began).context("a round before its migration")?;
    let seconds = meter.seconds(start, &rounds);
    Ok(Run { rounds, seconds })
}

/// Reads the counters until `stop`.
fn watch(link: &Link, host: &str, stop: &AtomicBool) -> Result<Meter> {
    let mut meter = Meter::default();
    while !stop.load(Ordering::Relaxed) {
        meter.add(Instant::now(), link.counters(host)?.sent_bytes);
        thread::sleep(LOOK);
    }
    Ok(meter)
}

fn say(index: u32, runs: u32, run: &Run) {
    let limits: Vec<String> = run
        .rounds
        .iter()
        .map(|round| format!("{:.1} s at {:.1}", round.length.as_secs_f64(), round.limit_mbit))
        .collect();
    println!("{index} of {runs}: {} Mbit/s", limits.join(", "));
    for second in &run.seconds {
        println!("  {:.1} of {:.1} Mbit/s", second.mbit, second.limit_mbit);
    }
}

fn verdict(runs: &[Run]) -> Result<String> {
    let seconds = || runs.iter().flat_map(|run| &run.seconds);
    let within = seconds().filter(|second| second.error().abs() <= TOLERANCE).count();
    // Where the hosts have not the processors for more, it is slower; faster it must never be.
    let not_above = seconds().filter(|second| second.error() <= TOLERANCE).count();
    let all = seconds().count();
    let errors =
        Spread::of(seconds().map(Second::error)).context("no round lasted for a second")?;
    Ok(format!(
        "{}{}- share of seconds within: {:.1} %\n- off by {:+.1} % in the median, the slowest by {:+.1} %, \
         the fastest by {:+.1} %\n",
        told_of_all("seconds within 5 % of the law", within, all),
        told_of_all("seconds at most 5 % above it", not_above, all),
        within as f64 / all as f64 * 100.0,
        errors.median * 100.0,
        errors.low * 100.0,
        errors.high * 100.0,
    ))
}

/// One row for each pass of each migration that had full seconds.
fn rows(runs: &[Run]) -> Result<Vec<Vec<String>>> {
    let mut rows = vec![row![
        "migration",
        "law, Mbit/s",
        "full seconds",
        "median, Mbit/s",
        "slowest..fastest"
    ]];
    for (index, run) in runs.iter().enumerate() {
        // Those of one rate follow each other.
        for seconds in run.seconds.chunk_by(|a, b| a.limit_mbit.to_bits() == b.limit_mbit.to_bits())
        {
            let rates = Spread::of(seconds.iter().map(|second| second.mbit)).context("a second")?;
            rows.push(row![
                index + 1,
                format!("{:.1}", seconds[0].limit_mbit),
                seconds.len(),
                format!("{:.2}", rates.median),
                format!("{:.2}..{:.2}", rates.low, rates.high)
            ]);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::{Run, Second, rows, verdict};

    #[test]
    fn a_second_that_is_off_is_counted_and_named() {
        let second = |limit_mbit, mbit| Second { limit_mbit, mbit };
        let seconds = vec![second(30.0, 29.4), second(30.0, 31.8), second(80.0, 80.0)];
        let runs = [Run { rounds: Vec::new(), seconds }];
        let text = verdict(&runs).unwrap();
        assert!(text.contains("2 of 3, all were wanted: missed"), "{text}");
        assert!(text.contains("above it: 2 of 3"), "{text}");
        assert!(text.contains("66.7 %") && text.contains("-2.0 %") && text.contains("+6.0 %"));
        let rows = rows(&runs).unwrap();
        assert_eq!(rows[1], ["1", "30.0", "2", "30.60", "29.40..31.80"]);
        assert_eq!(rows[2], ["1", "80.0", "1", "80.00", "80.00..80.00"]);
        assert!(verdict(&[]).is_err());
    }
}
