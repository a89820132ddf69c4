//! How many vCPUs a guest is to use: `cpu/N/availability` in xenstore.

use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::{Nodes, XenstoreError};
use crate::toolstack::Host;

use super::names;

/// Asks a PV or PVH guest to use its first `online` vCPUs, and no others up to `max_vcpu_id`.
///
/// # Errors
/// When xenstore cannot be written.
pub fn set_online(
    host: &Host,
    domid: Domid,
    max_vcpu_id: u32,
    online: u32,
) -> Result<(), XenstoreError> {
    host.store.transaction(|transaction| {
        for vcpu in 0..=max_vcpu_id {
            let node = format!("{}/cpu/{vcpu}/availability", names::path(domid));
            transaction.write(&node, if vcpu < online { "online" } else { "offline" })?;
        }
        Ok(())
    })
}

/// Which of a guest's vCPUs it is to use.
///
/// # Errors
/// When xenstore cannot be read.
pub fn online(host: &Host, domid: Domid, max_vcpus: u32) -> Result<Vec<u32>, XenstoreError> {
    let mut online = Vec::new();
    for vcpu in 0..max_vcpus {
        let node = format!("{}/cpu/{vcpu}/availability", names::path(domid));
        if host.store.read(&node)?.as_deref() == Some("online") {
            online.push(vcpu);
        }
    }
    Ok(online)
}
