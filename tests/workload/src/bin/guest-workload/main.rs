//! A guest's work that can be checked: pages written at a chosen rate, every one of them known.

mod args;
mod churn;
mod console;
mod disk;
mod gaps;
mod memory;
mod pace;
mod page;
mod server;
mod tally;
mod verify;
mod workload;

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("guest-workload: {error:#}\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let Err(error) = run(&args);
    eprintln!("guest-workload: {error:#}");
    ExitCode::FAILURE
}

fn run(args: &args::Args) -> Result<std::convert::Infallible> {
    let console = console::Console::start().context("cannot start the console thread")?;
    let ready = console.clone();
    let workload = workload::Workload::new(args, console)?;
    // Bound after the memory is filled: a request is refused rather than answered late.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, args.port))
        .with_context(|| format!("cannot bind UDP port {}", args.port))?;
    let port = socket.local_addr().context("cannot read the socket's address")?.port();
    ready.line(format!(
        "ready on UDP port {port}: {} pages, {} hot, {} writes/s wanted",
        args.pages, args.hot_pages, args.writes_per_s
    ));
    drop(ready);
    server::run(&socket, workload)
}
