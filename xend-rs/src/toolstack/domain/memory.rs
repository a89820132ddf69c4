//! How much memory a running guest is to have: the target of its balloon, and the most it may get.
//!
//! Both are in xenstore (`memory/target`, `memory/static-max`, in KiB); Xen has a bound of its own.

use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::{Nodes, XenstoreError};
use crate::toolstack::Host;
use crate::toolstack::config::Uuid;

use super::names;

/// What every guest may have besides, for pages that are not its own memory; as libxl has it.
const EXTRA_KIB: u64 = 1024;
/// Dom0 gets no less, as libxl has it.
const MIN_DOM0_KIB: u64 = 128 * 1024;
const KIB_PER_PAGE: u64 = 4;

/// The memory of a guest cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// There is no such domain, or it has no such node.
    #[error("{domid} has no usable {node}")]
    NoNode {
        /// The domain.
        domid: Domid,
        /// Which node.
        node: &'static str,
    },
    /// The target is higher than what the guest may get.
    #[error("{domid}: {target_kib} KiB are more than its maximum, {max_kib} KiB")]
    AboveMaximum {
        /// The domain.
        domid: Domid,
        /// What was asked for.
        target_kib: u64,
        /// What it may get at most.
        max_kib: u64,
    },
    /// The maximum is lower than the target.
    #[error("{domid}: {max_kib} KiB are less than its target, {target_kib} KiB")]
    BelowTarget {
        /// The domain.
        domid: Domid,
        /// What was asked for.
        max_kib: u64,
        /// The target of its balloon.
        target_kib: u64,
    },
    /// Dom0 would not live with so little.
    #[error("{target_kib} KiB are too little for Dom0, which needs {MIN_DOM0_KIB} KiB")]
    TooLittleForDom0 {
        /// What was asked for.
        target_kib: u64,
    },
    /// Xen refused.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// Xenstore refused.
    #[error(transparent)]
    Xenstore(#[from] XenstoreError),
}

/// The target and the maximum of a guest's memory, in KiB, as xenstore has them.
///
/// # Errors
/// When it has none.
pub fn limits_kib(store: &impl Nodes, domid: Domid) -> Result<(u64, u64), MemoryError> {
    Ok((read_kib(store, domid, "memory/target")?, read_kib(store, domid, "memory/static-max")?))
}

/// Sets the target of a guest's balloon, and binds it to that in Xen.
///
/// # Errors
/// When it is more than the guest may get, or one of the places cannot be written.
pub fn set_target(host: &Host, domid: Domid, target_kib: u64) -> Result<(), MemoryError> {
    host.store.transaction(|transaction| {
        let (_, max_kib) = limits_kib(transaction, domid)?;
        let path = names::path(domid);
        let video = transaction.read(&format!("{path}/memory/videoram"))?;
        let video_kib: u64 = video.and_then(|kib| kib.trim().parse().ok()).unwrap_or(0);
        let balloon_kib = target_kib.saturating_sub(video_kib);
        if balloon_kib > max_kib {
            return Err(MemoryError::AboveMaximum { domid, target_kib, max_kib });
        }
        if domid == Domid(0) && balloon_kib < MIN_DOM0_KIB {
            return Err(MemoryError::TooLittleForDom0 { target_kib });
        }
        let Some(domain) = host.xen.listed_domain(domid)? else {
            return Err(HypervisorError::NoSuchDomain { domid }.into());
        };
        host.xen.set_max_memory(domid, balloon_kib + video_kib + EXTRA_KIB)?;
        if domain.is_hvm {
            let pages = (balloon_kib + EXTRA_KIB) / KIB_PER_PAGE;
            host.xen.set_populate_on_demand_target(domid, pages)?;
        }
        transaction.write(&format!("{path}/memory/target"), balloon_kib.to_string())?;
        let vm = format!("/vm/{}/memory", Uuid(domain.uuid));
        transaction.write(&vm, (balloon_kib / 1024).to_string())?;
        Ok(())
    })
}

/// Sets the most memory that a guest may get. Its memory does not change by that.
///
/// # Errors
/// When it is less than the target of its balloon, or one of the places cannot be written.
pub fn set_maximum(host: &Host, domid: Domid, max_kib: u64) -> Result<(), MemoryError> {
    let target_kib = read_kib(&host.store, domid, "memory/target")?;
    if max_kib < target_kib {
        return Err(MemoryError::BelowTarget { domid, max_kib, target_kib });
    }
    host.xen.set_max_memory(domid, max_kib + EXTRA_KIB)?;
    let node = format!("{}/memory/static-max", names::path(domid));
    host.store.write(&node, max_kib.to_string())?;
    Ok(())
}

fn read_kib(store: &impl Nodes, domid: Domid, node: &'static str) -> Result<u64, MemoryError> {
    let text = store.read(&format!("{}/{node}", names::path(domid)))?;
    text.and_then(|kib| kib.parse().ok()).ok_or(MemoryError::NoNode { domid, node })
}
