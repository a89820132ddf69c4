//! `xend sched-credit` and `sched-credit2`: what each domain gets of the processors.

mod settings;

use std::process::ExitCode;

use super::args::Args;
use super::c_numbers::strtol;
use super::columns::{left, or_null};
use super::failure::Failure;
use super::options::Long;
use super::{domains, output};
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::host::scheduler::{Cpupool, Scheduler, Share};
use crate::hypervisor::xen::xenstore::Nodes;
use crate::toolstack::Host;
use settings::{Change, print_settings};

const CREDIT: &[Long] = &[
    Long::with_value("domain", b'd'),
    Long::with_value("weight", b'w'),
    Long::with_value("cap", b'c'),
    Long::flag("schedparam", b's'),
    Long::with_value("tslice_ms", b't'),
    Long::with_value("ratelimit_us", b'r'),
    Long::with_value("migration_delay_us", b'm'),
    Long::with_value("cpupool", b'p'),
];
const CREDIT2: &[Long] = &[
    Long::with_value("domain", b'd'),
    Long::with_value("weight", b'w'),
    Long::with_value("cap", b'c'),
    Long::flag("schedparam", b's'),
    Long::with_value("ratelimit_us", b'r'),
    Long::with_value("cpupool", b'p'),
];
/// Stands for a weight or cap that is to stay as it is.
const UNCHANGED: i32 = -1;

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish<'a> {
    domain: Option<&'a str>,
    weight: Option<i32>,
    cap: Option<i32>,
    settings: bool,
    change: Change,
    pool: Option<&'a str>,
}

pub(super) fn credit(args: &Args) -> Result<ExitCode, Failure> {
    let wish = read(args, "d:w:c:p:t:r:m:s", CREDIT)?;
    let of_domain = wish.domain.is_some() || wish.weight.is_some() || wish.cap.is_some();
    if (wish.pool.is_some() || wish.settings) && of_domain {
        return Err(Failure::said(
            "Specifying a cpupool or schedparam is not allowed with domain options.\n",
        ));
    }
    require_domain(&wish)?;
    if !wish.settings && !wish.change.is_empty() {
        return Err(Failure::said("Must specify schedparam to set schedule parameter values.\n"));
    }
    grant(Scheduler::CREDIT, &wish)
}

pub(super) fn credit2(args: &Args) -> Result<ExitCode, Failure> {
    let wish = read(args, "d:w:c:p:r:s", CREDIT2)?;
    let of_domain = wish.domain.is_some() || wish.weight.is_some() || wish.cap.is_some();
    if wish.pool.is_some() && of_domain {
        return Err(Failure::said("Specifying a cpupool is not allowed with other options.\n"));
    }
    require_domain(&wish)?;
    grant(Scheduler::CREDIT2, &wish)
}

fn read<'a>(
    args: &'a Args,
    short: &'static str,
    long: &'static [Long],
) -> Result<Wish<'a>, Failure> {
    let mut wish = Wish::default();
    let mut options = args.options(short, long);
    while let Some(option) = options.next()? {
        let number = || Some(strtol(option.value).0 as i32);
        match option.letter {
            b'd' => wish.domain = Some(option.value),
            b'w' => wish.weight = number(),
            b'c' => wish.cap = number(),
            b's' => wish.settings = true,
            b't' => wish.change.tslice_ms = number(),
            b'r' => wish.change.ratelimit_us = number(),
            b'm' => wish.change.migration_delay_us = number(),
            _ => wish.pool = Some(option.value),
        }
    }
    options.operands(0)?;
    Ok(wish)
}

fn require_domain(wish: &Wish<'_>) -> Result<(), Failure> {
    if wish.domain.is_none() && (wish.weight.is_some() || wish.cap.is_some()) {
        return Err(Failure::said("Must specify a domain.\n"));
    }
    Ok(())
}

fn grant(scheduler: Scheduler, wish: &Wish<'_>) -> Result<ExitCode, Failure> {
    let host = Host::open()?;
    let pool = wish.pool.map(|wanted| find_pool(&host, wanted));
    if wish.settings {
        let pool = pool.transpose()?.unwrap_or(0);
        if wish.change.is_empty() {
            print_settings(&host, scheduler, pool, &pool_name(&host, pool)?)?;
        } else {
            wish.change.apply(&host, scheduler, pool)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some(wanted) = wish.domain else {
        let pool = pool.transpose()?;
        for found in host.xen.cpupools()? {
            if found.scheduler == scheduler && pool.is_none_or(|pool| pool == found.id) {
                print_pool(&host, found)?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    };
    let number = domains::find(&host, wanted)?;
    if wish.weight.is_none() && wish.cap.is_none() {
        output::print(heading())?;
        print_domain(&host, scheduler, number)?;
    } else {
        set(&host, scheduler, domains::domid(number), wish)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn pool_name(host: &Host, pool: u32) -> Result<String, Failure> {
    Ok(or_null(host.store.read(&format!("/local/pool/{pool}/name"))?))
}

/// By number or by name.
fn find_pool(host: &Host, wanted: &str) -> Result<u32, Failure> {
    let unknown = || Failure::said(format!("unknown cpupool '{wanted}'\n"));
    let is_number = !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        let number: u32 = wanted.parse().map_err(|_| unknown())?;
        let name = host.store.read(&format!("/local/pool/{number}/name"))?;
        return name.map(|_| number).ok_or_else(unknown);
    }
    for pool in host.xen.cpupools()? {
        if pool_name(host, pool.id)? == wanted {
            return Ok(pool.id);
        }
    }
    Err(unknown())
}

fn print_pool(host: &Host, pool: Cpupool) -> Result<(), Failure> {
    print_settings(host, pool.scheduler, pool.id, &pool_name(host, pool.id)?)?;
    output::print(heading())?;
    for domain in host.xen.domains()? {
        if domain.cpupool == pool.id {
            print_domain(host, pool.scheduler, u32::from(domain.domid.0))?;
        }
    }
    Ok(())
}

fn heading() -> String {
    format!("{} {:>4} {:>6} {:>4}\n", left("Name", 33), "ID", "Weight", "Cap")
}

fn line(name: &str, number: u32, share: Share) -> String {
    format!("{} {number:4} {:6} {:4}\n", left(name, 33), share.weight, share.cap)
}

fn print_domain(host: &Host, scheduler: Scheduler, number: u32) -> Result<(), Failure> {
    const FAILED: &str = "libxl_domain_sched_params_get failed.\n";
    let domid = domains::domid(number);
    let failed = |why: String| Failure::line(why).and_said(FAILED);
    let Some(domain) = host.xen.listed_domain(domid)? else {
        return Err(failed(format!("domain {number} does not exist")));
    };
    let pools = host.xen.cpupools()?;
    let pool = pools.iter().find(|pool| pool.id == domain.cpupool);
    let own = pool.map_or(scheduler, |pool| pool.scheduler);
    if own != scheduler {
        let name = |scheduler: Scheduler| scheduler.name().unwrap_or("(null)");
        return Err(Failure::said(format!(
            "libxl_domain_sched_params_get returned {} not {}.\n",
            name(own),
            name(scheduler)
        )));
    }
    let share = host.xen.share(scheduler, domid).map_err(|error| failed(error_line(&error)))?;
    output::print(line(&domains::shown_name(host, number)?, number, share))
}

fn set(host: &Host, scheduler: Scheduler, domid: Domid, wish: &Wish<'_>) -> Result<(), Failure> {
    const FAILED: &str = "libxl_domain_sched_params_set failed.\n";
    let failed = |why: String| Failure::line(why).and_said(FAILED);
    let domain = host.xen.listed_domain(domid)?;
    let Some(domain) = domain else { return Err(failed(format!("{domid} does not exist"))) };
    let current = host.xen.share(scheduler, domid).map_err(|error| failed(error_line(&error)))?;
    let vcpus = domain.max_vcpu_id.map_or(0, |id| id + 1);
    let share = changed(current, wish, vcpus).map_err(failed)?;
    host.xen.set_share(scheduler, domid, share).map_err(|error| failed(error_line(&error)))
}

/// What a domain of so many vCPUs is to have. The error says what is not possible.
fn changed(current: Share, wish: &Wish<'_>, vcpus: u32) -> Result<Share, String> {
    let max_cap = vcpus * 100;
    let mut share = current;
    if let Some(weight) = wish.weight.filter(|&weight| weight != UNCHANGED) {
        share.weight = u16::try_from(weight)
            .ok()
            .filter(|&weight| weight > 0)
            .ok_or_else(|| format!("a weight of {weight} is not possible: it is 1 to 65535"))?;
    }
    if let Some(cap) = wish.cap.filter(|&cap| cap != UNCHANGED) {
        share.cap = u16::try_from(cap)
            .ok()
            .filter(|&cap| u32::from(cap) <= max_cap)
            .ok_or_else(|| format!("a cap of {cap} is not possible: it is 0 to {max_cap}"))?;
    }
    Ok(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_printed_as_xl_does() {
        assert_eq!(heading(), "Name                                ID Weight  Cap\n");
        let share = Share { weight: 256, cap: 0 };
        assert_eq!(
            line("Domain-0", 0, share),
            "Domain-0                             0    256    0\n"
        );
    }

    #[test]
    fn shares_are_bounded() {
        let current = Share { weight: 256, cap: 0 };
        let wish = |weight, cap| Wish { weight, cap, ..Wish::default() };
        let new = changed(current, &wish(Some(512), Some(200)), 2);
        assert_eq!(new, Ok(Share { weight: 512, cap: 200 }));
        assert_eq!(changed(current, &wish(Some(UNCHANGED), None), 2), Ok(current));
        assert!(changed(current, &wish(Some(0), None), 2).is_err());
        assert!(changed(current, &wish(Some(65536), None), 2).is_err());
        assert!(changed(current, &wish(None, Some(201)), 2).is_err());
    }
}
