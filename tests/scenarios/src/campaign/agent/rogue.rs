//! One process writes faster than the link carries, another one reads and does no harm. With an agent,
//! with Dom0's stun in its place, and with neither.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind, GuestSpec, ProcessRole, ProcessSpec};

use super::lookout::{PERIOD, Track, follow, knock, longest_silence};
use super::{MIGRATION_TIMEOUT, end, in_turn, make};
use crate::campaign::bound::{Wanted, told, told_of_all};
use crate::campaign::figures::rows;
use crate::campaign::sheet::Sheet;
use crate::comparison::{Column, newest_report, own_account};
use crate::flight::Account;
use crate::machine::Circumstances;
use crate::rig::{Place, Rig};
use crate::statistics::Spread;
use crate::traveller::{require_intact, small};
use crate::voyage::{Environment, Pairing, set_out};

const LINK_MBIT: u32 = 40;
const ROGUE: u16 = 7101;
const READER: u16 = 7102;
/// 98 Mbit/s, if the emulated processor does it.
const ROGUE_PAGES_PER_S: u32 = 3000;
const ROGUE_MIB: u32 = 16;
const READER_PAGES_PER_S: u32 = 200;
const READER_MIB: u32 = 4;
const MEMORY_MIB: u32 = 156;
/// How long is looked before the migration, and after it.
const BEFORE: Duration = Duration::from_secs(8);
const AFTER: Duration = Duration::from_secs(3);
/// It may take a moment until a guest that has just booted is quiet.
const SETTLE: Duration = Duration::from_secs(2);

/// Of what the reader did before.
const LEAST_READER: f64 = 0.90;
const MOST_RELEASE_MS: f64 = 1000.0;
const MOST_ROUNDS: f64 = 8.0;

/// What helps to move the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Help {
    Agent,
    Stun,
    Nothing,
}

const ALL: [Help; 3] = [Help::Agent, Help::Stun, Help::Nothing];

impl Help {
    fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Stun => "stun",
            Self::Nothing => "neither",
        }
    }

    fn options(self, downtime_ms: u32) -> String {
        let stun = if self == Self::Stun { "--stun " } else { "" };
        format!("{stun}--downtime {downtime_ms}")
    }
}

/// One migration. Parts are of what the process did in a second before.
struct Run {
    help: Help,
    free_rogue: f64,
    reader_part: f64,
    reader_part_to_the_end: f64,
    rogue_part: f64,
    release_ms: f64,
    stopped_ms: f64,
    gap_ms: f64,
    total_s: f64,
    wire_mib: f64,
    rounds: f64,
}

const COLUMNS: &[Column<Run>] = &[
    ("reader's rate until the stop, through before", |run| run.reader_part, 2),
    ("reader's rate until arrival, through before", |run| run.reader_part_to_the_end, 2),
    ("rogue's rate until the stop, through before", |run| run.rogue_part, 2),
    ("rogue runs again after arrival, ms", |run| run.release_ms, 0),
    ("stopped, ms", |run| run.stopped_ms, 0),
    ("client gap, ms", |run| run.gap_ms, 0),
    ("total time, s", |run| run.total_s, 1),
    ("rounds", |run| run.rounds, 0),
    ("on the wire, MiB", |run| run.wire_mib, 1),
    ("rogue before, pages/s", |run| run.free_rogue, 0),
];

pub(super) fn compare(rig: &Rig, times: u32, downtime_ms: u32) -> Result<()> {
    let circumstances = Circumstances::now(rig.host(Place::A))?;
    let mut runs = Vec::new();
    for turn in 0..times {
        for help in in_turn(&ALL, turn) {
            let run = migrate(rig, help, downtime_ms)?;
            println!(
                "rogue, turn {}, {}: reader {:.2}, rogue {:.2} of {:.0} pages/s, runs again after \
                 {:.0} ms; stopped {:.0} ms, gap {:.0} ms, {:.1} s, {} rounds",
                turn + 1,
                help.name(),
                run.reader_part,
                run.rogue_part,
                run.free_rogue,
                run.release_ms,
                run.stopped_ms,
                run.gap_ms,
                run.total_s,
                run.rounds,
            );
            runs.push(run);
        }
    }
    let of = |help| runs.iter().filter(|run| run.help == help).collect();
    Sheet {
        name: "agent-rogue",
        title: format!(
            "A rogue writer and a good reader: with an agent, with stun, with neither, {times} times each"
        ),
        what: format!(
            "A PV guest of {MEMORY_MIB} MiB. A process in it writes to {ROGUE_MIB} MiB, \
             {ROGUE_PAGES_PER_S} pages/s if it can; another one reads {READER_PAGES_PER_S} pages/s of \
             {READER_MIB} MiB. A new guest goes from host a to b by TCP each time, over {LINK_MBIT} \
             Mbit/s, in changing order, with `{}`, and for the stun `{}`. What the processes do is \
             asked for from outside, every {} ms; the rogue runs again when it does 0.6 of what it did \
             before, for half a second; the guest has arrived when it first answers again. Stopped is \
             from the request to suspend to the destination's word that the guest runs.",
            Help::Agent.options(downtime_ms),
            Help::Stun.options(downtime_ms),
            PERIOD.as_millis(),
        ),
        circumstances: &circumstances,
        findings: bounds(&runs, downtime_ms)?,
        rows: rows(COLUMNS, &ALL.map(|help| (help.name(), of(help))))?,
    }
    .keep()
}

fn bounds(runs: &[Run], downtime_ms: u32) -> Result<String> {
    let of = |help| runs.iter().filter(move |run| run.help == help);
    let median = |help, value: fn(&Run) -> f64| {
        Spread::of(of(help).map(value)).map(|it| it.median).context("no run")
    };
    let met = |help: Help| {
        let met = of(help).filter(|run| run.stopped_ms <= f64::from(downtime_ms)).count();
        let what = format!("{}: stopped for {downtime_ms} ms or less", help.name());
        told_of_all(&what, met, of(help).count())
    };
    let reader = median(Help::Agent, |run| run.reader_part)?;
    let release = median(Help::Agent, |run| run.release_ms)?;
    let rounds = median(Help::Stun, |run| run.rounds)?;
    Ok([
        told("agent: the reader's rate, through before", reader, 2, Wanted::AtLeast(LEAST_READER)),
        told("agent: the rogue runs again, ms", release, 0, Wanted::AtMost(MOST_RELEASE_MS)),
        met(Help::Agent),
        told("stun: rounds", rounds, 0, Wanted::AtMost(MOST_ROUNDS)),
        met(Help::Stun),
    ]
    .concat())
}

fn spec(help: Help) -> GuestSpec {
    let process =
        |role, memory_mib, pages_per_s, port| ProcessSpec { role, memory_mib, pages_per_s, port };
    GuestSpec {
        name: "rogue".to_owned(),
        memory_mib: MEMORY_MIB,
        ip: Ipv4Addr::new(10, 77, 0, 106),
        processes: vec![
            process(ProcessRole::Writer, ROGUE_MIB, ROGUE_PAGES_PER_S, ROGUE),
            process(ProcessRole::Reader, READER_MIB, READER_PAGES_PER_S, READER),
        ],
        agent: help == Help::Agent,
        ..small(GuestKind::Pv)
    }
}

/// What was seen of the guest.
struct Sight {
    rogue: Track,
    reader: Track,
    answers: Vec<Instant>,
    set_out: Instant,
    account: Account,
}

fn migrate(rig: &Rig, help: Help, downtime_ms: u32) -> Result<Run> {
    let guest = make(rig, &spec(help))?;
    rig.lab().link().shape(Some(LINK_MBIT))?;
    thread::sleep(SETTLE);
    let sight = watch(rig, &guest, &help.options(downtime_ms))?;
    sight.account.require_success()?;
    let said = sight.account.sender.stderr_text();
    ensure!(said.contains("agent has prepared") == (help == Help::Agent), "the agent: {said}");
    require_intact(&guest)?;
    end(rig, &guest)?;
    let report = newest_report(rig.host(Place::A))?;
    for line in said.lines().filter(|line| line.starts_with("migration sender: ")) {
        println!("    {line}");
    }
    for line in own_account(&report) {
        println!("    {line}");
    }
    let passes = report["passes"].as_array().context("a report without passes")?;
    let stopped_ms = report["stopped_ms"].as_f64().context("a report without stopped_ms")?;
    let rounds = passes.len().saturating_sub(1) as f64;
    let run = sight.run(help, stopped_ms, rounds);
    run.with_context(|| format!("{} answers were seen of the guest", sight.answers.len()))
}

/// Looks at the guest for a while, migrates it, and looks on.
fn watch(rig: &Rig, guest: &Guest, options: &str) -> Result<Sight> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let rogue = follow(scope, guest, ROGUE, &stop);
        let reader = follow(scope, guest, READER, &stop);
        let answers = knock(scope, guest, &stop);
        let fly = || {
            thread::sleep(BEFORE);
            let set_out_at = Instant::now();
            let environment = Environment::with_options(options);
            let flight = set_out(rig, guest, Place::A, Pairing::XEND_TCP, &environment)?;
            let account = flight.finish(MIGRATION_TIMEOUT)?;
            thread::sleep(AFTER);
            Ok::<_, anyhow::Error>((set_out_at, account))
        };
        let flown = fly();
        stop.store(true, Ordering::Relaxed);
        let panicked = "a thread that asks the guest";
        let (rogue, reader) = (rogue.join().expect(panicked), reader.join().expect(panicked));
        let answers = answers.join().expect(panicked);
        let (set_out, account) = flown?;
        Ok(Sight { rogue: rogue?, reader: reader?, answers: answers?, set_out, account })
    })
}

impl Sight {
    fn run(&self, help: Help, stopped_ms: f64, rounds: f64) -> Option<Run> {
        let Self { rogue, reader, set_out, account, .. } = self;
        let (stopped, arrived) = longest_silence(&self.answers)?;
        let first = *self.answers.first()?;
        let part = |track: &Track, until| {
            Some(track.rate(*set_out, until)? / track.rate(first, *set_out)?)
        };
        let free_rogue = rogue.rate(first, *set_out)?;
        let after = |at: Instant| (at - *set_out).as_secs_f64();
        println!(
            "  stopped at {:.1} s, arrived at {:.1} s; each second, rogue: {}; reader: {}",
            after(stopped),
            after(arrived),
            rogue.each_second(*set_out),
            reader.each_second(*set_out),
        );
        // One that does not come back at all is not seen to within the time that is looked.
        let release =
            rogue.runs_again(arrived, free_rogue).map_or(f64::INFINITY, |it| it.as_secs_f64());
        let end = arrived + Duration::from_millis(100);
        Some(Run {
            help,
            free_rogue,
            reader_part: part(reader, stopped)?,
            reader_part_to_the_end: part(reader, end)?,
            // Held, it may never have answered.
            rogue_part: part(rogue, stopped).unwrap_or(0.0),
            release_ms: release * 1000.0,
            stopped_ms,
            gap_ms: account.client.longest_gap_ms,
            total_s: account.total.as_secs_f64(),
            wire_mib: account.wire_bytes as f64 / f64::from(1 << 20),
            rounds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Help, Run, bounds};

    fn run(help: Help, reader_part: f64, stopped_ms: f64) -> Run {
        Run {
            help,
            free_rogue: 2000.0,
            reader_part,
            reader_part_to_the_end: 0.8,
            rogue_part: 0.1,
            release_ms: 400.0,
            stopped_ms,
            gap_ms: 900.0,
            total_s: 20.0,
            wire_mib: 100.0,
            rounds: 4.0,
        }
    }

    #[test]
    fn each_bound_is_told_of_its_own_help() {
        let runs = [
            run(Help::Agent, 0.95, 900.0),
            run(Help::Stun, 0.3, 2100.0),
            run(Help::Nothing, 0.9, 5000.0),
        ];
        let text = bounds(&runs, 2000).unwrap();
        let ends: Vec<bool> = text.lines().map(|line| line.ends_with("reached")).collect();
        assert_eq!(ends, [true, true, true, true, false], "{text}");
        assert!(bounds(&runs[1..], 2000).is_err());
    }
}
