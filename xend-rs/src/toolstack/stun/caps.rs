//! The scheduler's cap: the most that a domain may have of the processors.

use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::host::scheduler::{Scheduler, Share};
use crate::hypervisor::{HypervisorError, Result};
use crate::migration::policy::CpuShare;
use crate::toolstack::Host;
use crate::toolstack::config::Uuid;

/// A domain, as far as its cap is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whose it is.
    pub uuid: Uuid,
    /// vCPUs that are online.
    pub online_vcpus: u32,
    /// Its cap in percent of one CPU, 0 if it has none. `None` where the scheduler knows no caps.
    pub cap: Option<u16>,
}

/// Where caps are set.
pub trait Caps {
    /// Looks at a domain. `None` if it is not there, or is on its way out.
    ///
    /// # Errors
    /// Xen's.
    fn look(&self, domid: Domid) -> Result<Option<Seen>>;

    /// Sets its cap.
    ///
    /// # Errors
    /// Xen's.
    fn set_cap(&self, domid: Domid, cap: u16) -> Result<()>;
}

impl Caps for &Host {
    fn look(&self, domid: Domid) -> Result<Option<Seen>> {
        let Some(domain) = self.xen.listed_domain(domid)?.filter(|domain| !domain.is_dying) else {
            return Ok(None);
        };
        let cap = match scheduler(self, domain.cpupool)? {
            Some(scheduler) => Some(self.xen.share(scheduler, domid)?.cap),
            None => None,
        };
        Ok(Some(Seen { uuid: Uuid(domain.uuid), online_vcpus: domain.online_vcpus, cap }))
    }

    fn set_cap(&self, domid: Domid, cap: u16) -> Result<()> {
        let domain = self.xen.listed_domain(domid)?;
        let domain = domain.ok_or(HypervisorError::NoSuchDomain { domid })?;
        let Some(scheduler) = scheduler(self, domain.cpupool)? else { return Ok(()) };
        // Its weight goes with it: what it is now, which may have been changed since the last look.
        let share = self.xen.share(scheduler, domid)?;
        self.xen.set_share(scheduler, domid, Share { cap, ..share })
    }
}

/// The scheduler of a CPU pool, if it is one that knows caps.
fn scheduler(host: &Host, pool: u32) -> Result<Option<Scheduler>> {
    let pools = host.xen.cpupools()?;
    let scheduler = pools.iter().find(|found| found.id == pool).map(|found| found.scheduler);
    Ok(scheduler.filter(|found| [Scheduler::CREDIT, Scheduler::CREDIT2].contains(found)))
}

/// The cap that leaves each of so many vCPUs with `share` of a CPU, but never with more than the
/// administrator's cap does.
pub(super) fn cap_for(share: CpuShare, online_vcpus: u32, administrators: u16) -> u16 {
    if share == CpuShare::FULL {
        return administrators;
    }
    let percent = u32::from(share.as_percent()) * online_vcpus.max(1);
    // 0 would be no cap at all.
    let cap = u16::try_from(percent).unwrap_or(u16::MAX).max(1);
    if administrators == 0 { cap } else { cap.min(administrators) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vcpu_keeps_its_share_within_what_the_domain_may_have() {
        let cap = |percent, vcpus, administrators| {
            cap_for(CpuShare::percent(percent), vcpus, administrators)
        };
        assert_eq!(cap(30, 1, 0), 30);
        assert_eq!(cap(30, 4, 0), 120);
        assert_eq!(cap(30, 4, 50), 50);
        assert_eq!(cap(10, 4, 50), 40);
        assert_eq!(cap(100, 4, 50), 50);
        assert_eq!(cap(100, 4, 0), 0);
        assert_eq!(cap(1, 0, 0), 1);
        assert_eq!(cap(99, 4096, 0), u16::MAX);
    }
}
