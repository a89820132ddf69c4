//! `xend top`: what the host is doing, all the time.

use std::process::{Command, ExitCode};

use super::args::Args;
use super::failure::Failure;

/// Where Debian has it, besides on the path.
const XENTOP: &str = "/usr/lib/xen-4.17/bin/xentop";

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    args.operands(0)?;
    let status = Command::new("xentop").status().or_else(|_| Command::new(XENTOP).status());
    let status =
        status.map_err(|error| Failure::line(format_args!("cannot run xentop: {error}")))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
