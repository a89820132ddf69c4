//! The `lab` program: images, a lab in the foreground, and ways into it.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};
use lab::shell::{self, Door};
use lab::{HostSpec, Hypervisor, Isolation, Lab, images};

/// Real Xen hosts in QEMU on this machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the images the hosts boot from, unless the cache has them.
    Images,
    /// Boot hosts and leave them up until Ctrl-C.
    Up {
        /// How many hosts, named a, b and so on.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
        hosts: u8,
        /// Which hypervisor they run.
        #[arg(long, value_enum, default_value_t = Kind::Shadow)]
        hypervisor: Kind,
    },
    /// Open a shell in a Dom0 of the lab that is up.
    Shell {
        /// The host's name.
        host: String,
    },
    /// Run one command in a Dom0 of the lab that is up, with its outputs and exit status.
    Run {
        /// The host's name.
        host: String,
        /// The command, for a shell.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// With shadow paging: stock `xl migrate` works for PV guests.
    Shadow,
    /// Without shadow paging, as in current Debian.
    NoShadow,
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Images => {
            images::ensure()?;
        }
        Verb::Up { hosts, hypervisor } => up(hosts, hypervisor)?,
        Verb::Shell { host } => shell::shell(&host)?,
        Verb::Run { host, command } => {
            let status = shell::run(&host, &command.join(" "))?;
            return Ok(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn up(hosts: u8, hypervisor: Kind) -> anyhow::Result<()> {
    lab::check_machine()?;
    let door = Door::take()?;
    let images = images::ensure()?;
    let isolation = Isolation::enter()?;
    lab::end_tidily_on_signals()?;
    let kind = match hypervisor {
        Kind::Shadow => Hypervisor::Shadow,
        Kind::NoShadow => Hypervisor::NoShadow,
    };
    println!("lab: booting {hosts} hosts");
    let started = Instant::now();
    let lab = Lab::up(isolation, &images, &vec![HostSpec::new(kind); hosts.into()])?;
    door.open(&lab);
    println!("lab: up after {:.0} s", started.elapsed().as_secs_f32());
    for host in lab.hosts() {
        println!("  host {0}, {1}: `lab shell {0}` in another terminal", host.name(), host.ip());
    }
    println!("lab: Ctrl-C ends it");
    loop {
        // The signal thread ends the process.
        thread::park();
    }
}
