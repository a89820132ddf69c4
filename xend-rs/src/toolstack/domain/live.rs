//! The configuration of a domain as it is now: what was stored for it, and what has changed since.

use serde_json::Value;

use super::{DomainError, Result, memory, names, vcpus};
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::host::domains::ListedDomain;
use crate::hypervisor::xen::host::scheduler::Scheduler;
use crate::hypervisor::xen::xenstore::{Nodes, XenstoreError};
use crate::toolstack::config::{DomainConfig, GuestKind, SchedulerParams, Uuid};
use crate::toolstack::userdata::Userdata;
use crate::toolstack::{Host, stun};

/// What libxl adds to the target of an HVM guest that may get more.
const HVM_EXTRA_KIB: u64 = 1024;

/// The configuration that is stored for a domain, with its present name, UUID, vCPUs, memory and
/// share of the processors, and only the disks and network interfaces that it still has. `None`
/// where none is stored.
///
/// # Errors
/// If it cannot be read, or the domain is not there.
pub fn live_config(host: &Host, domid: Domid) -> Result<Option<DomainConfig>> {
    let domain = host.xen.listed_domain(domid)?;
    let domain = domain.ok_or(HypervisorError::NoSuchDomain { domid })?;
    let uuid = Uuid(domain.uuid);
    let Some(mut config) = Userdata::lock(domid, uuid)?.config()? else { return Ok(None) };
    let name = names::name(host, domid)?;
    let unnamed = || DomainError::Senseless { what: format!("{domid} has no name") };
    config.set_name(&name.ok_or_else(unnamed)?);
    // What is empty is not said, as for Dom0.
    if uuid != Uuid([0; 16]) {
        config.set_uuid(uuid);
    }
    let online = vcpus::online(host, domid, config.max_vcpus())?;
    if !online.is_empty() {
        config.set_online_vcpus(&online);
    }
    put_memory(host, domid, &mut config)?;
    put_share(host, &domain, &mut config)?;
    let disks = disks(host, domid)?;
    config.retain_disks(|vdev| disks.iter().any(|disk| disk == vdev));
    let nics = present(host, domid, "vif")?;
    config.retain_nics(|devid| nics.iter().any(|nic| *nic == devid.to_string()));
    Ok(Some(config))
}

fn put_memory(host: &Host, domid: Domid, config: &mut DomainConfig) -> Result<()> {
    let (target_kib, max_kib) = memory::limits_kib(&host.store, domid)?;
    // libxl's mark for a size that is not said, as for Dom0, is all ones, and it is added all the
    // same.
    let said = config.document().get("b_info").and_then(|info| info.get("video_memkb"));
    let video_kib = said.and_then(Value::as_u64).unwrap_or(u64::MAX);
    let stored = config.memory();
    let grows = config.kind() == GuestKind::Hvm && stored.max_kib > stored.target_kib;
    let extra_kib = if grows { HVM_EXTRA_KIB } else { 0 };
    config.set_memory(max_kib, target_kib.wrapping_add(video_kib).wrapping_add(extra_kib));
    Ok(())
}

fn put_share(host: &Host, domain: &ListedDomain, config: &mut DomainConfig) -> Result<()> {
    let pools = host.xen.cpupools()?;
    let Some(pool) = pools.iter().find(|pool| pool.id == domain.cpupool) else { return Ok(()) };
    let mut params = SchedulerParams::default();
    if [Scheduler::CREDIT, Scheduler::CREDIT2].contains(&pool.scheduler) {
        let share = host.xen.share(pool.scheduler, domain.domid)?;
        params.weight = Some(share.weight.into());
        // Not the one that a guest has while it is being slowed down: that is nobody's wish.
        let uuid = Uuid(domain.uuid);
        let cap = stun::administrators_cap(domain.domid, uuid, share.cap);
        params.cap = Some(cap.into());
    }
    config.set_scheduler(pool.scheduler.name().unwrap_or("unknown"), &params);
    Ok(())
}

/// The virtual devices of its disks, such as `xvda`.
fn disks(host: &Host, domid: Domid) -> Result<Vec<String>> {
    let mut vdevs = Vec::new();
    for id in present(host, domid, "vbd")? {
        let node = format!("/libxl/{}/device/vbd/{id}/dev", domid.0);
        vdevs.extend(host.store.read(&node)?);
    }
    Ok(vdevs)
}

fn present(
    host: &Host,
    domid: Domid,
    kind: &str,
) -> std::result::Result<Vec<String>, XenstoreError> {
    let names = host.store.list(&format!("/libxl/{}/device/{kind}", domid.0))?;
    Ok(names.unwrap_or_default())
}
