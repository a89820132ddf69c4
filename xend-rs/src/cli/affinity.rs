//! `xend vcpu-pin`: which physical CPUs vCPUs run on.

use std::process::ExitCode;

use super::args::Args;
use super::c_numbers::{strtol, strtoul};
use super::columns::ranges;
use super::failure::Failure;
use super::options::Long;
use super::{domains, output};
use crate::error_line::error_line;
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::host::cpu_map::CpuMap;
use crate::hypervisor::xen::host::topology::CpuPlace;
use crate::hypervisor::xen::host::vcpus::Affinity;
use crate::toolstack::config::GuestKind;
use crate::toolstack::{Host, domain};

const LONG: &[Long] =
    &[Long::flag("force", b'f'), Long::flag("ignore-global-affinity-masks", b'i')];

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (mut force, mut with_masks) = (false, true);
    let mut options = args.options("fi", LONG);
    while let Some(option) = options.next()? {
        match option.letter {
            b'f' => force = true,
            _ => with_masks = false,
        }
    }
    let operands = options.operands(3)?;
    let host = Host::open()?;
    let number = domains::find(&host, operands[0])?;
    let vcpu = which_vcpu(operands[1], force)?;
    let hard = cpus(&host, operands[2])?;
    let soft = operands.get(3).map_or(Ok(None), |text| cpus(&host, text))?;
    let mut affinity = Affinity { hard, soft, force };
    if args.global.dry_run {
        output::print(plan(&affinity, host.xen.max_cpus()? as usize))?;
        return Ok(ExitCode::SUCCESS);
    }
    let domid = domains::domid(number);
    if with_masks && let Some(hard) = &mut affinity.hard {
        let listed = host.xen.listed_domain(domid)?;
        let listed = listed.ok_or_else(|| Failure::said("Could not get domain info\n"))?;
        apply_masks(&host, listed.is_hvm, hard)?;
    }
    match vcpu {
        Some(vcpu) => pin(&host, domid, vcpu, &affinity).map_err(|error| {
            Failure::line(error_line(&error))
                .and_said(format!("Could not set affinity for vcpu `{vcpu}'.\n"))
        })?,
        None => pin_all(&host, domid, &affinity)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Leaves in only what the administrator's masks leave for such guests.
fn apply_masks(host: &Host, is_hvm: bool, hard: &mut CpuMap) -> Result<(), Failure> {
    // To the masks there is no difference between HVM and PVH.
    let kind = if is_hvm { GuestKind::Pvh } else { GuestKind::Pv };
    if let Some(mask) = domain::allowed_cpus(host, kind)? {
        hard.intersect(&mask);
    }
    if hard.is_empty() {
        return Err(Failure::said("vcpu hard affinity map is empty\n"));
    }
    Ok(())
}

/// A number, or all: `None`.
fn which_vcpu(text: &str, force: bool) -> Result<Option<i64>, Failure> {
    match strtol(text) {
        (number, rest) if rest != text && number >= 0 => Ok(Some(number)),
        _ if text != "all" => {
            Err(Failure::said(format!("Error: Invalid argument {text} as VCPU.\n")))
        }
        _ if force => Err(Failure::said("Error: --force and 'all' as VCPU not allowed.\n")),
        _ => Ok(None),
    }
}

fn pin(host: &Host, domid: Domid, vcpu: i64, affinity: &Affinity) -> Result<(), HypervisorError> {
    // What is too large to be a vCPU is none, and Xen says so.
    host.xen.set_affinity(domid, u32::try_from(vcpu).unwrap_or(u32::MAX), affinity)
}

fn pin_all(host: &Host, domid: Domid, affinity: &Affinity) -> Result<(), Failure> {
    let domain = host.xen.listed_domain(domid)?;
    let Some(max_vcpu_id) = domain.and_then(|domain| domain.max_vcpu_id) else {
        return Err(Failure::said("libxl_list_vcpu failed.\n"));
    };
    let mut failed = false;
    for vcpu in 0..=max_vcpu_id {
        if let Err(error) = pin(host, domid, vcpu.into(), affinity) {
            output::warn(format!("xend: {}\n", error_line(&error)));
            failed = true;
        }
    }
    if failed {
        output::warn("Could not set affinity.\n");
    }
    Ok(())
}

fn plan(affinity: &Affinity, cpus: usize) -> String {
    let shown = |map: &CpuMap| ranges(|cpu| map.contains(cpu), cpus);
    let hard = affinity.hard.as_ref().map_or("-".to_owned(), shown);
    let soft = affinity.soft.as_ref().map_or(String::new(), |map| format!(" {}", shown(map)));
    format!("cpumap: {hard}{soft}\n")
}

/// The CPUs that are meant; `None` for `-`, which leaves them as they are.
fn cpus(host: &Host, text: &str) -> Result<Option<CpuMap>, Failure> {
    if text == "-" {
        return Ok(None);
    }
    let places = || Ok(host.xen.cpu_places()?);
    let mut map = host.xen.empty_cpu_map()?;
    for part in text.split(',').filter(|part| !part.is_empty()) {
        apply(part, &mut map, places)?;
    }
    Ok(Some(map))
}

/// Adds `all`, `2`, `0-3`, `node:1`, or takes away `^2`.
fn apply(
    part: &str,
    map: &mut CpuMap,
    places: impl Fn() -> Result<Vec<CpuPlace>, Failure>,
) -> Result<(), Failure> {
    let (adds, part) = match part.strip_prefix('^') {
        Some(rest) => (false, rest),
        None => (true, part),
    };
    let nodes = part.strip_prefix("node:").or_else(|| part.strip_prefix("nodes:"));
    let part = nodes.unwrap_or(part);
    if part == "all" {
        if !adds {
            return Err(Failure::said("Can't combine \"^\" and \"all\".\n"));
        }
        map.set_all();
        return Ok(());
    }
    let Some((first, last)) = range(part) else {
        return Err(Failure::said(format!("Invalid pcpu range: {part}.\n")));
    };
    if nodes.is_none() {
        let last = last.min(map.room() as u64);
        (first..=last).for_each(|cpu| map.set(cpu as usize, adds));
        return Ok(());
    }
    for (cpu, place) in places()?.iter().enumerate() {
        let on_node = place.node.is_some_and(|node| (first..=last).contains(&u64::from(node)));
        if on_node {
            map.set(cpu, adds);
        }
    }
    Ok(())
}

/// `2` or `0-3`.
fn range(text: &str) -> Option<(u64, u64)> {
    let (first, rest) = strtoul(text);
    if rest == text || first == u64::MAX {
        return None;
    }
    let (last, rest) = match rest.strip_prefix('-') {
        Some(second) => {
            let (last, rest) = strtoul(second);
            (rest != second && last != u64::MAX && last >= first).then_some((last, rest))?
        }
        None => (first, rest),
    };
    rest.is_empty().then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Result<Vec<usize>, Failure> {
        let mut map = CpuMap::empty(1);
        let place = |node| CpuPlace { node: Some(node), ..CpuPlace::default() };
        for part in text.split(',') {
            apply(part, &mut map, || Ok(vec![place(0), place(1), CpuPlace::default(), place(1)]))?;
        }
        Ok(map.iter().collect())
    }

    #[test]
    fn cpus_are_named_in_many_ways() {
        assert_eq!(members("0-3,^2"), Ok(vec![0, 1, 3]));
        assert_eq!(members("node:1,7"), Ok(vec![1, 3, 7]));
        assert_eq!(members("all,^nodes:0-1"), Ok(vec![2, 4, 5, 6, 7]));
        assert_eq!(members("6-4000"), Ok(vec![6, 7]), "there are no more");
    }

    #[test]
    fn what_names_none_is_said() {
        for bad in ["x", "3-1", "1x", "1-", "-1-2"] {
            let said = Failure::said(format!("Invalid pcpu range: {bad}.\n"));
            assert_eq!(members(bad), Err(said));
        }
        assert_eq!(members("^all"), Err(Failure::said("Can't combine \"^\" and \"all\".\n")));
    }

    #[test]
    fn all_vcpus_cannot_be_forced() {
        assert_eq!(which_vcpu("all", false), Ok(None));
        assert_eq!(which_vcpu("2", true), Ok(Some(2)));
        assert!(which_vcpu("all", true).is_err() && which_vcpu("-1", false).is_err());
    }
}
