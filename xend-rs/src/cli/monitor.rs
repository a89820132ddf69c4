//! `xend monitor [--late] DOMID`: the process that looks after a guest, or, with `--late`, waits whether
//! it suspends though nobody wants it to any more. Others start it.

use std::process::ExitCode;

use super::args::Args;
use super::failure::Failure;
use super::options::Long;
use crate::hypervisor::types::Domid;
use crate::toolstack::{Host, monitor};

const LATE: u8 = 1;
const LONG: &[Long] = &[Long::flag("late", LATE)];

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut options = args.options("", LONG);
    let mut late = false;
    while options.next()?.is_some() {
        late = true;
    }
    let operands = options.operands(1)?;
    let domid = operands[0]
        .parse()
        .map(Domid)
        .map_err(|_| Failure::line(format_args!("{} is no domain id", operands[0])))?;
    // Out of the session of whoever started us, so that it may end. If we lead one, we are.
    let _ = nix::unistd::setsid();
    let host = Host::open()?;
    if late {
        monitor::resume_late(&host, domid)?;
    } else {
        monitor::run(&host, domid)?;
    }
    Ok(ExitCode::SUCCESS)
}
