//! The `xend` program.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use xend_rs::cli::Cli;

fn main() -> ExitCode {
    let Err(failure) = Cli::parse().run() else { return ExitCode::SUCCESS };
    let code = failure.exit_code();
    // Nobody left to tell: no reason to panic.
    let _ = writeln!(io::stderr(), "xend: {:#}", anyhow::Error::from(failure));
    code
}
