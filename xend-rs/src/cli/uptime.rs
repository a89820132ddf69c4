//! `xend uptime`: since when domains have been running.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use super::args::Args;
use super::c_numbers::strtoul;
use super::columns::left;
use super::failure::Failure;
use super::{domains, list, output};
use crate::hypervisor::xen::xenstore::{Nodes, XenstoreError};
use crate::toolstack::Host;
use crate::toolstack::domain::names;

const DOM0: u32 = 0;

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut short = false;
    let mut options = args.options("s", &[]);
    while options.next()?.is_some() {
        short = true;
    }
    let operands = options.operands(0)?;
    let host = Host::open()?;
    let mut numbers = Vec::new();
    for wanted in operands {
        numbers.push(domains::find(&host, wanted)?);
    }
    if numbers.is_empty() {
        numbers.push(DOM0);
        let others = list::virtual_machines(&host)?.into_iter();
        numbers.extend(others.map(|domain| u32::from(domain.domid.0)).filter(|&id| id != DOM0));
    }
    print(&host, &numbers, short)?;
    Ok(ExitCode::SUCCESS)
}

fn print(host: &Host, numbers: &[u32], short: bool) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let clock = if short { clock(now) } else { String::new() };
    let mut text = String::new();
    if !short {
        text.push_str(&format!("{} {:>4} {}\n", left("Name", 33), "ID", "Uptime"));
    }
    for &number in numbers {
        let seconds = match number {
            DOM0 => dom0_seconds()?,
            _ => match start(host, number)? {
                // xl counts in 32 bits.
                Some(start) => u64::from((now as u32).wrapping_sub(start)),
                None => {
                    output::warn(format!("xend: domain {number} has no start time\n"));
                    continue;
                }
            },
        };
        let name = domains::shown_name(host, number)?;
        text.push_str(&if short {
            format!(" {clock} up {}, {name} ({number})\n", short_time(seconds))
        } else {
            format!("{} {number:4} {}\n", left(&name, 33), time(seconds))
        });
    }
    output::print(text)
}

fn dom0_seconds() -> Result<u64, Failure> {
    let unreadable = || Failure::said("Can not get Dom0 uptime.\n").with_status(255);
    let text = fs::read_to_string("/proc/uptime").map_err(|_| unreadable())?;
    Ok(strtoul(&text).0)
}

/// When the guest was made, by the wall clock. A migration keeps no such time: it starts anew.
fn start(host: &Host, number: u32) -> Result<Option<u32>, XenstoreError> {
    let vm = host.store.read(&format!("{}/vm", names::path(domains::domid(number))))?;
    let Some(vm) = vm else { return Ok(None) };
    let start = host.store.read(&format!("{vm}/start_time"))?;
    Ok(start.map(|start| strtoul(&start).0 as u32).filter(|&start| start != u32::MAX))
}

/// The time of day in this host's zone, which `date` knows.
fn clock(now: u64) -> String {
    let output = Command::new("date").args(["-d", &format!("@{now}"), "+%H:%M:%S"]).output();
    let text = output.ok().filter(|output| output.status.success());
    let text = text.and_then(|output| String::from_utf8(output.stdout).ok());
    match text {
        Some(text) => text.trim().to_owned(),
        None => {
            let [hour, minute, second] = [now / 3600 % 24, now / 60 % 60, now % 60];
            format!("{hour:02}:{minute:02}:{second:02}")
        }
    }
}

fn time(seconds: u64) -> String {
    let [hour, minute, second] = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60];
    format!("{}{hour:2}:{minute:02}:{second:02}", days(seconds))
}

fn short_time(seconds: u64) -> String {
    let [hour, minute] = [seconds / 3600 % 24, seconds / 60 % 60];
    format!("{}{hour:2}:{minute:02}", days(seconds))
}

fn days(seconds: u64) -> String {
    match seconds / 86400 {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        days => format!("{days} days, "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_are_printed_as_xl_does() {
        assert_eq!(time(59), " 0:00:59");
        assert_eq!(time(36_061), "10:01:01");
        assert_eq!(time(86_400), "1 day,  0:00:00");
        assert_eq!(time(2 * 86_400 + 3_600), "2 days,  1:00:00");
        assert_eq!(short_time(2 * 86_400 + 3_660), "2 days,  1:01");
    }
}
