//! `xend monitor DOMID`: the process that looks after a guest. Others start it.

use std::process::ExitCode;

use super::args::Args;
use super::failure::Failure;
use crate::hypervisor::types::Domid;
use crate::toolstack::{Host, monitor};

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let operands = args.operands(1)?;
    let domid = operands[0]
        .parse()
        .map(Domid)
        .map_err(|_| Failure::line(format_args!("{} is no domain id", operands[0])))?;
    // Out of the session of whoever started us, so that it may end. If we lead one, we are.
    let _ = nix::unistd::setsid();
    let host = Host::open()?;
    monitor::run(&host, domid)?;
    Ok(ExitCode::SUCCESS)
}
