//! `xend trigger` and `sysrq`: buttons and keys of a guest.

use std::process::ExitCode;

use super::args::Args;
use super::c_numbers::strtol;
use super::failure::Failure;
use super::{domains, help, output};
use crate::error_line::error_line;
use crate::hypervisor::xen::host::domains::Trigger;
use crate::hypervisor::xen::xenstore::Nodes;
use crate::toolstack::Host;
use crate::toolstack::domain::names;

pub(super) fn trigger(args: &Args) -> Result<ExitCode, Failure> {
    let operands = args.operands(2)?;
    let host = Host::open()?;
    let number = domains::find(&host, operands[0])?;
    let name = operands[1];
    let trigger = match name.to_ascii_lowercase().as_str() {
        "nmi" => Trigger::Nmi,
        "reset" => Trigger::Reset,
        "init" => Trigger::Init,
        "power" => Trigger::Power,
        "sleep" => Trigger::Sleep,
        "s3resume" => return Err(help::only_in_stock("trigger with s3resume")),
        _ => return Err(Failure::said(format!("Invalid trigger \"{name}\"\n"))),
    };
    let vcpu = match operands.get(2) {
        None => 0,
        Some(&text) => match strtol(text) {
            (0, rest) if rest == text => {
                output::warn("Invalid vcpuid, using default vcpuid=0.\n\n");
                0
            }
            (vcpu, _) => vcpu as u32,
        },
    };
    // xl succeeds whatever Xen says, and so scripts may rely on it.
    if let Err(error) = host.xen.send_trigger(domains::domid(number), trigger, vcpu) {
        output::warn(format!("xend: {}\n", error_line(&error)));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn sysrq(args: &Args) -> Result<ExitCode, Failure> {
    let operands = args.operands(2)?;
    let host = Host::open()?;
    let number = domains::find(&host, operands[0])?;
    let key = operands[1];
    if key.len() > 1 {
        let usage = help::usage(args.program, args.command);
        return Err(Failure::said("Invalid sysrq.\n\n").with_help(usage));
    }
    let domid = domains::domid(number);
    // Without this check a node would be made for a domain that is not there.
    if host.xen.listed_domain(domid)?.is_none() {
        output::warn(format!("xend: domain {number} does not exist\n"));
        return Ok(ExitCode::SUCCESS);
    }
    host.store.write(&format!("{}/control/sysrq", names::path(domid)), key)?;
    Ok(ExitCode::SUCCESS)
}
