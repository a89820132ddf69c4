//! `xend vcpu-list` and `vcpu-set`.

use std::process::ExitCode;

use super::args::Args;
use super::c_numbers::strtoul;
use super::columns::{left, ranges, right, seconds};
use super::failure::Failure;
use super::options::Long;
use super::{domains, help, output};
use crate::hypervisor::xen::host::vcpus::Vcpu;
use crate::toolstack::Host;
use crate::toolstack::domain::{self, vcpus};

const LONG: &[Long] = &[Long::flag("ignore-host", b'i')];

pub(super) fn list(args: &Args) -> Result<ExitCode, Failure> {
    let operands = args.operands(0)?;
    let host = Host::open()?;
    let cpus = host.xen.phys_info()?.max_cpu_id as usize + 1;
    output::print(heading())?;
    let mut numbers = Vec::new();
    if operands.is_empty() {
        numbers.extend(host.xen.domains()?.iter().map(|domain| u32::from(domain.domid.0)));
        print(&host, &numbers, cpus)?;
    }
    for wanted in operands {
        print(&host, &[domains::find(&host, wanted)?], cpus)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(host: &Host, numbers: &[u32], cpus: usize) -> Result<(), Failure> {
    for &number in numbers {
        let domid = domains::domid(number);
        let Some(domain) = host.xen.listed_domain(domid)? else {
            output::warn(format!("xend: domain {number} does not exist\n"));
            continue;
        };
        let Some(max_vcpu_id) = domain.max_vcpu_id else { continue };
        let name = domains::shown_name(host, number)?;
        let vcpus = host.xen.vcpus(domid, max_vcpu_id)?;
        let lines = vcpus.iter().map(|vcpu| line(&name, number, vcpu, cpus));
        output::print(lines.collect::<String>())?;
    }
    Ok(())
}

fn heading() -> String {
    format!(
        "{} {:>5} {:>5} {:>5} {:>5} {:>9} Affinity (Hard / Soft)\n",
        left("Name", 32),
        "ID",
        "VCPU",
        "CPU",
        "State",
        "Time(s)"
    )
}

fn line(name: &str, number: u32, vcpu: &Vcpu, cpus: usize) -> String {
    let place = if vcpu.is_online {
        let running = if vcpu.is_running { 'r' } else { '-' };
        let blocked = if vcpu.is_blocked { 'b' } else { '-' };
        format!("{:5} {running:>3}{blocked}- ", vcpu.cpu)
    } else {
        format!("{} {}-p ", right("-", 5), right("-", 3))
    };
    let hard = ranges(|cpu| vcpu.hard_affinity.contains(cpu), cpus);
    let soft = ranges(|cpu| vcpu.soft_affinity.contains(cpu), cpus);
    format!(
        "{} {number:5} {:5}{place}{:9.1}  {hard} / {soft}\n",
        left(name, 32),
        vcpu.id,
        seconds(vcpu.cpu_time_ns)
    )
}

pub(super) fn set(args: &Args) -> Result<ExitCode, Failure> {
    let mut check_host = true;
    let mut options = args.options("i", LONG);
    while options.next()?.is_some() {
        check_host = false;
    }
    let operands = options.operands(2)?;
    let host = Host::open()?;
    let number = domains::find(&host, operands[0])?;
    let (wanted, rest) = strtoul(operands[1]);
    if rest == operands[1] || wanted > i32::MAX as u64 {
        return Err(Failure::said("Error: Invalid argument.\n"));
    }
    let domid = domains::domid(number);
    let Some(domain) = host.xen.listed_domain(domid)? else {
        // With its check of the host xl gives no reason.
        return Err(if check_host {
            Failure::silent()
        } else {
            Failure::said(format!("Domain {number} does not exist.\n"))
        });
    };
    let host_cpus = u64::from(host.xen.max_cpus()?);
    if check_host && wanted > u64::from(domain.online_vcpus) && wanted > host_cpus {
        return Err(Failure::said(format!(
            "You are overcommmitting! You have {host_cpus} physical CPUs and want {wanted} vCPUs! \
             Aborting, use --ignore-host to continue\n"
        )));
    }
    let max_vcpu_id = domain.max_vcpu_id.unwrap_or(0);
    if wanted == 0 || wanted > u64::from(max_vcpu_id) + 1 {
        let limit = u64::from(max_vcpu_id) + 1;
        return Err(Failure::line(format_args!(
            "{wanted} vCPUs are not possible, {domid} can have 1 to {limit}"
        ))
        .and_said(format!(
            "libxl_set_vcpuonline failed domid={number} max_vcpus={wanted}, rc: -3\n"
        )));
    }
    // It has them from its device model, and never looks into xenstore for that.
    if domain::is_hvm_of_stock(&host, domid)? {
        return Err(help::only_by_stock("vcpu-set", operands[0], "a device model"));
    }
    vcpus::set_online(&host, domid, max_vcpu_id, wanted as u32)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::xen::host::cpu_map::CpuMap;

    fn vcpu() -> Vcpu {
        let mut hard = CpuMap::empty(1);
        hard.set(0, true);
        Vcpu {
            id: 1,
            is_online: true,
            is_blocked: true,
            is_running: false,
            cpu_time_ns: 2_500_000_000,
            cpu: 1,
            hard_affinity: hard,
            soft_affinity: CpuMap::empty(1),
        }
    }

    #[test]
    fn a_line_is_as_xls() {
        assert_eq!(
            heading(),
            "Name                                ID  VCPU   CPU State   Time(s) \
             Affinity (Hard / Soft)\n"
        );
        assert_eq!(
            line("guest", 3, &vcpu(), 2),
            "guest                                3     1    1   -b-       2.5  0 / none\n"
        );
        let offline = Vcpu { is_online: false, ..vcpu() };
        assert_eq!(
            line("guest", 3, &offline, 2),
            "guest                                3     1    -   --p       2.5  0 / none\n"
        );
    }
}
