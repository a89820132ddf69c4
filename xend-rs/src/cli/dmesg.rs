//! `xend dmesg`: what the hypervisor has logged.

use std::process::ExitCode;

use super::args::Args;
use super::failure::Failure;
use super::options::Long;
use super::output;
use crate::hypervisor::xen::Xen;

const LONG: &[Long] = &[Long::flag("clear", b'c')];

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut clear = false;
    let mut options = args.options("c", LONG);
    while options.next()?.is_some() {
        clear = true;
    }
    options.operands(0)?;
    Xen::open()?.read_console(clear, |text| output::print(text))?;
    Ok(ExitCode::SUCCESS)
}
