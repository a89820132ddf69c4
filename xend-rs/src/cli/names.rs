//! `xend domid`, `domname` and `rename`.

use std::process::ExitCode;

use super::args::Args;
use super::c_numbers::strtol;
use super::failure::Failure;
use super::{domains, output};
use crate::error_line::error_line;
use crate::toolstack::Host;
use crate::toolstack::domain::names;

pub(super) fn domid(args: &Args) -> Result<ExitCode, Failure> {
    let wanted = args.operands(1)?[0];
    let host = Host::open()?;
    let Some(domid) = names::find_by_name(&host, wanted)? else {
        return Err(Failure::said(format!(
            "Can't get domid of domain name '{wanted}', maybe this domain does not exist.\n"
        )));
    };
    output::print(format!("{}\n", domid.0))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn domname(args: &Args) -> Result<ExitCode, Failure> {
    let wanted = args.operands(1)?[0];
    let (number, rest) = strtol(wanted);
    if number == 0 && rest == wanted {
        return Err(Failure::said("Invalid domain id.\n\n"));
    }
    let number = number as u32;
    let host = Host::open()?;
    let Some(name) = names::name(&host, domains::domid(number))? else {
        return Err(Failure::said(format!(
            "Can't get domain name of domain id '{number}', maybe this domain does not exist.\n"
        )));
    };
    output::print(format!("{name}\n"))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn rename(args: &Args) -> Result<ExitCode, Failure> {
    let operands = args.operands(2)?;
    let (wanted, to) = (operands[0], operands[1]);
    let host = Host::open()?;
    let domid = domains::domid(domains::find(&host, wanted)?);
    let from = names::name(&host, domid)?;
    names::rename(&host, domid, from.as_deref(), to).map_err(|error| {
        Failure::line(error_line(&error)).and_said(format!("Can't rename domain '{wanted}'.\n"))
    })?;
    Ok(ExitCode::SUCCESS)
}
