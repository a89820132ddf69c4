//! Where and how much a domain may run.

use std::path::Path;

use super::{DomainError, Result};
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::host::cpu_map::CpuMap;
use crate::hypervisor::xen::host::scheduler::{Cpupool, Scheduler, Share};
use crate::hypervisor::xen::host::topology::CpuPlace;
use crate::hypervisor::xen::host::vcpus::Affinity;
use crate::toolstack::Host;
use crate::toolstack::config::{CpuMasks, DomainConfig, GuestKind, HostCpus, XL_CONF};

/// The CPU pool that a configuration names.
pub(super) fn pool(host: &Host, config: &DomainConfig) -> Result<u32> {
    let Some(wanted) = config.pool() else { return Ok(0) };
    for pool in host.xen.cpupools()? {
        if names_pool(host, pool.id, &wanted)? {
            return Ok(pool.id);
        }
    }
    Err(DomainError::Senseless { what: format!("there is no CPU pool {wanted}") })
}

fn names_pool(host: &Host, id: u32, wanted: &str) -> Result<bool> {
    use crate::hypervisor::xen::xenstore::Nodes;
    let name = host.store.read(&format!("/local/pool/{id}/name"))?;
    Ok(name.as_deref() == Some(wanted) || wanted == id.to_string())
}

/// Binds each virtual processor to the processors that the configuration names, as far as the
/// host's administrator leaves them to guests; `masked` is not set if that is not to be asked.
pub(super) fn bind(host: &Host, domid: Domid, config: &DomainConfig, masked: bool) -> Result<()> {
    let (hard, soft) = (config.hard_affinity(), config.soft_affinity());
    let allowed = if masked { allowed_cpus(host, config.kind())? } else { None };
    let named = hard.len().max(soft.len());
    let max_vcpus = config.max_vcpus() as usize;
    // A mask holds for those that nothing is said about, too.
    let bound = if allowed.is_some() { max_vcpus } else { named.min(max_vcpus) };
    for vcpu in 0..bound {
        let affinity = Affinity {
            hard: narrowed(map(host, hard.get(vcpu))?, allowed.as_ref())?,
            soft: map(host, soft.get(vcpu))?,
            force: false,
        };
        host.xen.set_affinity(domid, vcpu as u32, &affinity)?;
    }
    Ok(())
}

fn map(host: &Host, cpus: Option<&Vec<u32>>) -> Result<Option<CpuMap>> {
    let Some(cpus) = cpus else { return Ok(None) };
    let mut map = host.xen.empty_cpu_map()?;
    cpus.iter().for_each(|&cpu| map.set(cpu as usize, true));
    Ok(Some(map))
}

/// The processors that the host's administrator leaves to guests of a kind; `None` if nothing is
/// said about that.
///
/// # Errors
/// What is wrong with the host's `xl.conf`.
pub fn allowed_cpus(host: &Host, kind: GuestKind) -> Result<Option<CpuMap>> {
    let masks = CpuMasks::read(Path::new(XL_CONF), kind)?;
    if masks.is_empty() {
        return Ok(None);
    }
    let cpus = HostCpus { count: host.xen.max_cpus()?, nodes: by_node(&host.xen.cpu_places()?) };
    let allowed: Option<Vec<u32>> = masks.allowed(&cpus)?.map(|cpus| cpus.into_iter().collect());
    map(host, allowed.as_ref())
}

/// The processors of each NUMA node.
fn by_node(places: &[CpuPlace]) -> Vec<Vec<u32>> {
    let mut nodes: Vec<Vec<u32>> = Vec::new();
    for (place, cpu) in places.iter().zip(0..) {
        let Some(node) = place.node.map(|node| node as usize) else { continue };
        nodes.resize(nodes.len().max(node + 1), Vec::new());
        nodes[node].push(cpu);
    }
    nodes
}

/// What of `hard` is allowed; all that is where nothing is said.
fn narrowed(hard: Option<CpuMap>, allowed: Option<&CpuMap>) -> Result<Option<CpuMap>> {
    let Some(allowed) = allowed else { return Ok(hard) };
    let mut cpus = hard.unwrap_or_else(|| allowed.clone());
    cpus.intersect(allowed);
    if cpus.is_empty() {
        return Err(DomainError::Senseless { what: "vcpu hard affinity map is empty".to_owned() });
    }
    Ok(Some(cpus))
}

/// Tells the scheduler what the configuration asks for. Its CPU pool may have another scheduler
/// than the one it was written for: what does not fit is left.
pub(super) fn set_share(host: &Host, domid: Domid, config: &DomainConfig) -> Result<()> {
    let wanted = config.scheduler();
    if wanted.weight.is_none() && wanted.cap.is_none() {
        return Ok(());
    }
    let domain = host.xen.listed_domain(domid)?;
    let domain = domain.ok_or(HypervisorError::NoSuchDomain { domid })?;
    let Some(scheduler) = sharing_scheduler(&host.xen.cpupools()?, domain.cpupool) else {
        log::warn!("{domid}: the scheduler of its CPU pool knows no weight and no cap");
        return Ok(());
    };
    let share = host.xen.share(scheduler, domid)?;
    let weight = wanted.weight.and_then(|weight| u16::try_from(weight).ok());
    let cap = wanted.cap.and_then(|cap| u16::try_from(cap).ok());
    let share = Share { weight: weight.unwrap_or(share.weight), cap: cap.unwrap_or(share.cap) };
    Ok(host.xen.set_share(scheduler, domid, share)?)
}

/// The scheduler of a CPU pool, if it is one that knows shares. Xen refuses the default pool's where
/// a domain is in another one.
fn sharing_scheduler(pools: &[Cpupool], pool: u32) -> Option<Scheduler> {
    let scheduler = pools.iter().find(|found| found.id == pool)?.scheduler;
    [Scheduler::CREDIT, Scheduler::CREDIT2].contains(&scheduler).then_some(scheduler)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(numbers: &[usize]) -> CpuMap {
        let mut map = CpuMap::empty(1);
        numbers.iter().for_each(|&cpu| map.set(cpu, true));
        map
    }

    #[test]
    fn a_mask_narrows_what_is_said_and_holds_where_nothing_is() {
        let narrowed = |hard: Option<CpuMap>| narrowed(hard, Some(&cpus(&[1, 2])));
        assert_eq!(narrowed(Some(cpus(&[2, 3]))).unwrap(), Some(cpus(&[2])));
        assert_eq!(narrowed(None).unwrap(), Some(cpus(&[1, 2])));
        let error = narrowed(Some(cpus(&[0, 3]))).unwrap_err();
        assert_eq!(error.to_string(), "vcpu hard affinity map is empty");
    }

    #[test]
    fn without_a_mask_all_is_as_it_was() {
        assert_eq!(narrowed(None, None).unwrap(), None);
        assert_eq!(narrowed(Some(cpus(&[3])), None).unwrap(), Some(cpus(&[3])));
    }

    #[test]
    fn a_mask_without_a_processor_leaves_none() {
        assert!(narrowed(None, Some(&cpus(&[]))).is_err());
    }

    #[test]
    fn nodes_have_the_processors_that_are_on_them() {
        let on = |node| CpuPlace { node, ..CpuPlace::default() };
        let places = [on(Some(0)), on(None), on(Some(2)), on(Some(0))];
        assert_eq!(by_node(&places), [vec![0_u32, 3], vec![], vec![2]]);
    }

    #[test]
    fn shares_are_those_of_the_pools_own_scheduler() {
        let pool = |id, scheduler| Cpupool { id, scheduler };
        let other = Scheduler(u32::MAX);
        let pools = [pool(0, Scheduler::CREDIT2), pool(1, Scheduler::CREDIT), pool(2, other)];
        assert_eq!(sharing_scheduler(&pools, 1), Some(Scheduler::CREDIT));
        assert_eq!(sharing_scheduler(&pools, 0), Some(Scheduler::CREDIT2));
        assert_eq!(sharing_scheduler(&pools, 2), None);
        assert_eq!(sharing_scheduler(&pools, 7), None);
    }
}
