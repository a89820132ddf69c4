//! Where and how much a domain may run.

use super::{DomainError, Result};
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::host::cpu_map::CpuMap;
use crate::hypervisor::xen::host::scheduler::{Scheduler, Share};
use crate::hypervisor::xen::host::vcpus::Affinity;
use crate::toolstack::Host;
use crate::toolstack::config::DomainConfig;

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

/// Binds each virtual processor to the processors that the configuration names.
pub(super) fn bind(host: &Host, domid: Domid, config: &DomainConfig) -> Result<()> {
    let (hard, soft) = (config.hard_affinity(), config.soft_affinity());
    for vcpu in 0..hard.len().max(soft.len()).min(config.max_vcpus() as usize) {
        let affinity = Affinity {
            hard: map(host, hard.get(vcpu))?,
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

/// Tells the scheduler what the configuration asks for. The host may have another scheduler than
/// the one it was written for: what does not fit is left.
pub(super) fn set_share(host: &Host, domid: Domid, config: &DomainConfig) -> Result<()> {
    let wanted = config.scheduler();
    if wanted.weight.is_none() && wanted.cap.is_none() {
        return Ok(());
    }
    let scheduler = host.xen.scheduler()?;
    if scheduler != Scheduler::CREDIT && scheduler != Scheduler::CREDIT2 {
        log::warn!("{domid}: this host's scheduler knows no weight and no cap");
        return Ok(());
    }
    let share = host.xen.share(scheduler, domid)?;
    let weight = wanted.weight.and_then(|weight| u16::try_from(weight).ok());
    let cap = wanted.cap.and_then(|cap| u16::try_from(cap).ok());
    let share = Share { weight: weight.unwrap_or(share.weight), cap: cap.unwrap_or(share.cap) };
    Ok(host.xen.set_share(scheduler, domid, share)?)
}
