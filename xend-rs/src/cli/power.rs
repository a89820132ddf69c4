//! `xend pause`, `unpause`, `shutdown` and `reboot`.

use std::process::ExitCode;

use super::args::Args;
use super::failure::Failure;
use super::options::Long;
use super::{domains, output};
use crate::error_line::error_line;
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::host::domains::Trigger;
use crate::toolstack::Host;
use crate::toolstack::domain::power::{self, Ending, Endings, PowerError, Request};

const LONG: &[Long] = &[Long::flag("all", b'a'), Long::flag("wait", b'w')];

pub(super) fn pause(args: &Args) -> Result<ExitCode, Failure> {
    each_call(args, |xen, domid| xen.pause(domid))
}

pub(super) fn unpause(args: &Args) -> Result<ExitCode, Failure> {
    each_call(args, |xen, domid| xen.unpause(domid))
}

/// `xl` succeeds whatever Xen says, and so scripts may rely on it.
fn each_call(
    args: &Args,
    call: fn(&Xen, Domid) -> Result<(), HypervisorError>,
) -> Result<ExitCode, Failure> {
    let wanted = args.operands(1)?[0];
    let host = Host::open()?;
    let number = domains::find(&host, wanted)?;
    if let Err(error) = call(&host.xen, domains::domid(number)) {
        output::warn(format!("xend: {}\n", error_line(&error)));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn shutdown(args: &Args) -> Result<ExitCode, Failure> {
    run(args, &SHUTDOWN)
}

pub(super) fn reboot(args: &Args) -> Result<ExitCode, Failure> {
    run(args, &REBOOT)
}

/// What the two commands differ in.
struct Kind {
    request: Request,
    /// What an HVM guest without drivers gets in its place.
    trigger: Trigger,
    name: &'static str,
    announcement: &'static str,
    event: &'static str,
    button: &'static str,
}

const SHUTDOWN: Kind = Kind {
    request: Request::PowerOff,
    trigger: Trigger::Power,
    name: "shutdown",
    announcement: "Shutting down",
    event: "power",
    button: "power button",
};
const REBOOT: Kind = Kind {
    request: Request::Reboot,
    trigger: Trigger::Reset,
    name: "reboot",
    announcement: "Rebooting",
    event: "reset",
    button: "reset button",
};

fn run(args: &Args, kind: &Kind) -> Result<ExitCode, Failure> {
    let (mut all, mut waits, mut fallback) = (false, 0, false);
    let mut options = args.options("awF", LONG);
    while let Some(option) = options.next()? {
        match option.letter {
            b'a' => all = true,
            b'w' => waits += 1,
            _ => fallback = true,
        }
    }
    let operands = options.operands(0)?;
    if operands.is_empty() && !all {
        return Err(Failure::said("You must specify -a or a domain id.\n\n"));
    }
    let host = Host::open()?;
    let numbers = if all {
        let domains = host.xen.domains()?;
        let guests =
            domains.iter().filter(|domain| domain.domid != Domid(0) && !domain.is_xenstore);
        guests.map(|domain| u32::from(domain.domid.0)).collect()
    } else {
        vec![domains::find(&host, operands[0])?]
    };
    // Looked for from now on, so that none is missed.
    let domids = numbers.iter().map(|&number| domains::domid(number));
    let endings = if waits > 0 { Some(Endings::of(domids)?) } else { None };
    for &number in &numbers {
        ask(&host, kind, number, fallback)?;
    }
    if let Some(endings) = endings {
        wait(&host, endings, numbers.len(), waits == 1)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(host: &Host, kind: &Kind, number: u32, fallback: bool) -> Result<(), Failure> {
    /// libxl's codes for what can go wrong.
    const FAIL: i32 = -3;
    const TIMED_OUT: i32 = -9;
    const NO_PARAVIRT: i32 = -10;
    let Kind { name, announcement, event, button, .. } = kind;
    output::warn(format!("{announcement} domain {number}\n"));
    let domid = domains::domid(number);
    let Err(mut error) = power::request(host, domid, kind.request) else { return Ok(()) };
    if matches!(error, PowerError::NoDrivers { .. }) {
        if fallback {
            output::warn(format!(
                "PV control interface not available: sending ACPI {button} event.\n"
            ));
            match host.xen.send_trigger(domid, kind.trigger, 0) {
                Ok(()) => return Ok(()),
                Err(refused) => error = refused.into(),
            }
        } else {
            output::warn(format!(
                "PV control interface not available: external graceful {name} not possible.\n\
                 Use \"-F\" to fallback to ACPI {event} event.\n"
            ));
        }
    }
    let code = match error {
        PowerError::NoDrivers { .. } => NO_PARAVIRT,
        PowerError::NoAnswer { .. } => TIMED_OUT,
        PowerError::Hypervisor(_) | PowerError::Xenstore(_) => FAIL,
    };
    let why = match error {
        // That has been said.
        PowerError::NoDrivers { .. } => Failure::silent(),
        error => Failure::line(error_line(&error)),
    };
    Err(why.and_said(format!("{name} failed (rc={code})\n")))
}

/// Waits until each has shut down or gone, or (if a shutdown is not enough) has gone.
fn wait(
    host: &Host,
    mut endings: Endings,
    count: usize,
    shutdown_is_enough: bool,
) -> Result<(), Failure> {
    output::warn(format!("Waiting for {count} domains\n"));
    while let Some((domid, ending)) = endings.next(host)? {
        let number = domid.0;
        match ending {
            Ending::Gone => output::warn(format!("Domain {number} has been destroyed\n")),
            Ending::ShutDown(reason) => {
                output::warn(format!("Domain {number} has been shut down, reason code {reason}\n"));
                if shutdown_is_enough {
                    endings.forget(domid);
                } else {
                    output::warn(format!("Domain {number} continue waiting for death\n"));
                }
            }
        }
    }
    Ok(())
}
