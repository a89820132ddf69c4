//! `xend destroy`: a domain is gone.

use std::process::ExitCode;

use super::args::Args;
use super::failure::Failure;
use super::{domains, help};
use crate::error_line::error_line;
use crate::toolstack::{Host, domain};

/// libxl's codes.
const FAILED: i32 = -3;
const NOT_FOUND: i32 = -21;

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut options = args.options("f", &[]);
    let mut force = false;
    while let Some(given) = options.next()? {
        force |= given.letter == b'f';
    }
    let operands = options.operands(1)?;
    let host = Host::open()?;
    let number = domains::find(&host, operands[0])?;
    if number == 0 && !force {
        return Err(Failure::said(
            "Not destroying domain 0; use -f to force.\n\
             This can only be done when using a disaggregated hardware domain and toolstack.\n\n",
        ));
    }
    let domid = domains::domid(number);
    // Before anything is touched: what is left of such a guest afterwards nobody takes away.
    if number != 0
        && let Some(part) = domain::stocks_part(&host, domid)?
    {
        return Err(help::only_by_stock("destroy", operands[0], &part));
    }
    match domain::destroy(&host, domid) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            let is_absent =
                matches!(error, domain::DomainError::Name(domain::NameError::Unknown { .. }));
            let code = if is_absent { NOT_FOUND } else { FAILED };
            let line = error_line(&error);
            Err(Failure::said(format!("xend: {line}\ndestroy failed (rc={code})\n")))
        }
    }
}
