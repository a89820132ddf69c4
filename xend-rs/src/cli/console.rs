//! `xend console`: the console of a guest.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use super::args::Args;
use super::c_numbers::atoi;
use super::domains;
use super::failure::Failure;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::Nodes;
use crate::toolstack::Host;

const XENCONSOLE: &str = "/usr/lib/xen-4.17/bin/xenconsole";

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut kind = None;
    let mut number = 0;
    let mut options = args.options("n:t:", &[]);
    while let Some(option) = options.next()? {
        match (option.letter, option.value) {
            (b't', name @ ("pv" | "serial" | "vuart")) => kind = Some(name),
            (b't', _) => {
                return Err(Failure::said("console type supported are: pv, serial, vuart\n"));
            }
            _ => number = atoi(option.value),
        }
    }
    let operands = options.operands(1)?;
    let host = Host::open()?;
    let domid = domains::domid(domains::find(&host, operands[0])?);
    // Without a kind it is the first console, whatever its number.
    let (kind, number) = match kind {
        Some(kind) => (kind, number),
        None => (primary(&host, domid)?, 0),
    };
    let error = command(domid, kind, number).exec();
    Err(Failure::line(format_args!("cannot run {XENCONSOLE}: {error}"))
        .and_said("Unable to attach console\n"))
}

/// What is needed to attach to a guest's console.
pub(super) fn command(domid: Domid, kind: &str, number: i32) -> Command {
    let mut command = Command::new(XENCONSOLE);
    command.args([&domid.0.to_string(), "--num", &number.to_string(), "--type", kind]);
    command
}

/// HVM guests have a serial port, all others a PV console.
fn primary(host: &Host, domid: Domid) -> Result<&'static str, Failure> {
    let unattached = || Failure::said("Unable to attach console\n");
    let domain = host.xen.listed_domain(domid)?.ok_or_else(unattached)?;
    let kind = host.store.read(&format!("/libxl/{}/type", domid.0))?;
    Ok(if domain.is_hvm && kind.as_deref() != Some("pvh") { "serial" } else { "pv" })
}
