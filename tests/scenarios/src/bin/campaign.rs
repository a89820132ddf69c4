//! Long runs: the same thing many times, or with much memory, and what is left of it afterwards.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use scenarios::campaign::{
    agent, busy, digest, empty, memory, pacing, prediction, record, stun, to_and_fro, trackers,
};
use scenarios::helper::Helper;

/// Long runs on real Xen hosts. The results are written to docs/results, and traces to
/// tests/replay/traces.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    campaign: Campaign,
}

#[derive(Debug, Subcommand)]
enum Campaign {
    /// One guest goes to and fro; everything a leak would show in is counted before and after.
    ToAndFro {
        /// How many migrations.
        #[arg(default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=1000))]
        migrations: u32,
        /// Use Xen's own helper, to see what is not ours.
        #[arg(long)]
        stock: bool,
    },
    /// A PV guest with unrest in it goes to and fro on hosts that cannot track its writes.
    Digest {
        /// How many live migrations.
        #[arg(default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
        migrations: u32,
        /// Processors of each host, and so threads that read.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
        cpus: u32,
    },
    /// Log-dirty and digest in turn, on hosts that have both.
    Trackers {
        /// How many migrations with each.
        #[arg(default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        pairs: u32,
    },
    /// xend against xl, with a guest that writes to half of its memory all the time.
    Busy {
        /// How many migrations with each.
        #[arg(default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        pairs: u32,
        /// Only the writer of this speed, through what the link carries: 0.8 or 2.
        #[arg(long)]
        only: Option<f64>,
    },
    /// What xend foretells of a migration, beside what comes of it.
    Prediction {
        /// How many migrations.
        #[arg(default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=200))]
        runs: u32,
    },
    /// A guest that writes faster than the link carries, stunned.
    Stun {
        /// How many migrations.
        #[arg(default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
        runs: u32,
        /// How long the guest may stand still, in milliseconds. Emulated hosts take half a second
        /// or more for what is not memory.
        #[arg(long, default_value_t = 2000)]
        downtime_ms: u32,
    },
    /// A guest with an agent, and the same without: a process that writes too fast, and a guest full
    /// of page cache.
    Agent {
        /// How many migrations with each.
        #[arg(default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        times: u32,
        /// How long the guest with the writer may stand still, in milliseconds.
        #[arg(long, default_value_t = 2000)]
        downtime_ms: u32,
        /// Only one of the two.
        #[arg(long)]
        only: Option<agent::Part>,
    },
    /// Whether each second of each round has the rate that the round was given.
    Pacing {
        /// How many migrations.
        #[arg(default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        runs: u32,
        /// The rate of the first round, in Mbit/s.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        min_mbit: u32,
        /// The rate that no round exceeds, in Mbit/s.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        max_mbit: u32,
    },
    /// What is sent of a guest that is mostly empty, through what it holds; xl beside it.
    Empty {
        /// How many migrations with each.
        #[arg(default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        pairs: u32,
    },
    /// What a PV guest writes as it does one thing after the other, as traces for tests/replay. On one
    /// host.
    Record {
        /// How long it is looked at for each, in seconds.
        #[arg(default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=600))]
        seconds: u32,
    },
    /// How much memory the helper takes for a large guest, idle and busy.
    Memory {
        /// The guest's memory, in MiB.
        #[arg(default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..=8192))]
        guest_mib: u32,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().campaign) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("campaign: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(campaign: &Campaign) -> Result<()> {
    match *campaign {
        Campaign::ToAndFro { migrations, stock } => {
            to_and_fro::run(migrations, if stock { Helper::Stock } else { Helper::Ours })
        }
        Campaign::Digest { migrations, cpus } => digest::run(migrations, cpus),
        Campaign::Trackers { pairs } => trackers::run(pairs),
        Campaign::Busy { pairs, only } => busy::run(pairs, only),
        Campaign::Prediction { runs } => prediction::run(runs),
        Campaign::Stun { runs, downtime_ms } => stun::run(runs, downtime_ms),
        Campaign::Agent { times, downtime_ms, only } => agent::run(times, downtime_ms, only),
        Campaign::Pacing { runs, min_mbit, max_mbit } => pacing::run(runs, min_mbit, max_mbit),
        Campaign::Empty { pairs } => empty::run(pairs),
        Campaign::Record { seconds } => record::run(seconds),
        Campaign::Memory { guest_mib } => memory::run(guest_mib),
    }
}
