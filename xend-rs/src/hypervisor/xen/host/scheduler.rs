//! Schedulers, their CPU pools, and what each domain gets of them.

use std::ffi::c_int;
use std::io;

use libxc_sys as sys;

use super::cpu_map::CpuMap;
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::handles::{check, check_host, last_host_error};

/// A scheduler, by Xen's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduler(pub u32);

impl Scheduler {
    /// The credit scheduler.
    pub const CREDIT: Self = Self(sys::XEN_SCHEDULER_CREDIT);
    /// The credit2 scheduler, which is Xen's default.
    pub const CREDIT2: Self = Self(sys::XEN_SCHEDULER_CREDIT2);

    /// Its name, as Xen's command line and `xl` have it.
    pub fn name(self) -> Option<&'static str> {
        match self.0 {
            sys::XEN_SCHEDULER_CREDIT => Some("credit"),
            sys::XEN_SCHEDULER_CREDIT2 => Some("credit2"),
            sys::XEN_SCHEDULER_ARINC653 => Some("arinc653"),
            sys::XEN_SCHEDULER_RTDS => Some("rtds"),
            sys::XEN_SCHEDULER_NULL => Some("null"),
            _ => None,
        }
    }
}

/// A CPU pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpupool {
    /// Its id.
    pub id: u32,
    /// What schedules in it.
    pub scheduler: Scheduler,
}

/// What a domain gets of the credit and credit2 schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its part in proportion to the others'.
    pub weight: u16,
    /// The most it may have, in percent of one CPU; 0 is no limit.
    pub cap: u16,
}

/// Settings of the credit scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditSettings {
    /// How long a vCPU may run when others wait, in milliseconds.
    pub tslice_ms: u32,
    /// How long it may run at least, in microseconds.
    pub ratelimit_us: u32,
    /// How long it counts as warm on its CPU, in microseconds.
    pub migration_delay_us: u32,
}

impl CreditSettings {
    /// The bounds of the time slice, in milliseconds.
    pub const TSLICE_MS: std::ops::RangeInclusive<u32> =
        sys::XEN_SYSCTL_CSCHED_TSLICE_MIN..=sys::XEN_SYSCTL_CSCHED_TSLICE_MAX;
    /// The most that the migration delay can be, in microseconds.
    pub const MAX_MIGRATION_DELAY_US: u32 = sys::XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US;
}

/// The bounds of a rate limit that is not 0, in microseconds.
pub const RATELIMIT_US: std::ops::RangeInclusive<u32> =
    sys::XEN_SYSCTL_SCHED_RATELIMIT_MIN..=sys::XEN_SYSCTL_SCHED_RATELIMIT_MAX;

impl Xen {
    /// The scheduler of the host: that of its first CPU pool.
    pub fn scheduler(&self) -> Result<Scheduler> {
        let mut id: c_int = 0;
        // SAFETY: the answer is written to a variable of ours.
        let result = unsafe { sys::xc_sched_id(self.xch(), &mut id) };
        check_host(result, "get the scheduler")?;
        Ok(Scheduler(id as u32))
    }

    /// All CPU pools, by their ids.
    pub fn cpupools(&self) -> Result<Vec<Cpupool>> {
        let mut pools = Vec::new();
        let mut next = 0;
        loop {
            // SAFETY: it takes no pointer but the handle.
            let info = unsafe { sys::xc_cpupool_getinfo(self.xch(), next) };
            if info.is_null() {
                let error = last_host_error("list CPU pools");
                let end = error.errno() == Some(libc::ENOENT);
                return if end { Ok(pools) } else { Err(error) };
            }
            // SAFETY: the call allocated and filled it for us.
            let found = unsafe { *info };
            // SAFETY: it is ours to free, once, and not used any more.
            unsafe { sys::xc_cpupool_infofree(self.xch(), info) };
            pools.push(Cpupool { id: found.cpupool_id, scheduler: Scheduler(found.sched_id) });
            next = found.cpupool_id + 1;
        }
    }

    /// The physical CPUs that are in no pool.
    pub fn free_cpus(&self) -> Result<CpuMap> {
        let mut map = self.empty_cpu_map()?;
        // SAFETY: it takes no pointer but the handle.
        let free = unsafe { sys::xc_cpupool_freeinfo(self.xch()) };
        if free.is_null() {
            return Err(last_host_error("get free CPUs"));
        }
        let bytes = map.bytes_mut();
        // SAFETY: libxc allocates as many bytes as a map has on this host.
        unsafe { std::ptr::copy_nonoverlapping(free, bytes.as_mut_ptr(), bytes.len()) };
        // SAFETY: it was allocated with malloc for us, and is not used any more.
        unsafe { libc::free(free.cast()) };
        Ok(map)
    }

    /// What a domain gets of the credit or the credit2 scheduler.
    pub fn share(&self, scheduler: Scheduler, domid: Domid) -> Result<Share> {
        const WHAT: &str = "get scheduler parameters";
        if scheduler == Scheduler::CREDIT {
            let mut share = sys::xen_domctl_sched_credit::default();
            // SAFETY: the answer is written to a variable of ours.
            let result = unsafe {
                sys::xc_sched_credit_domain_get(self.xch(), u32::from(domid.0), &mut share)
            };
            check(result, WHAT, domid)?;
            return Ok(Share { weight: share.weight, cap: share.cap });
        }
        known(scheduler)?;
        let mut share = sys::xen_domctl_sched_credit2::default();
        // SAFETY: the answer is written to a variable of ours.
        let result =
            unsafe { sys::xc_sched_credit2_domain_get(self.xch(), u32::from(domid.0), &mut share) };
        check(result, WHAT, domid)?;
        Ok(Share { weight: share.weight, cap: share.cap })
    }

    /// Sets what a domain gets of the credit or the credit2 scheduler.
    pub fn set_share(&self, scheduler: Scheduler, domid: Domid, share: Share) -> Result<()> {
        const WHAT: &str = "set scheduler parameters";
        let Share { weight, cap } = share;
        let domain = u32::from(domid.0);
        if scheduler == Scheduler::CREDIT {
            let mut share = sys::xen_domctl_sched_credit { weight, cap };
            // SAFETY: the structure is only read.
            let result = unsafe { sys::xc_sched_credit_domain_set(self.xch(), domain, &mut share) };
            return check(result, WHAT, domid).map(drop);
        }
        known(scheduler)?;
        let mut share = sys::xen_domctl_sched_credit2 { weight, cap };
        // SAFETY: the structure is only read.
        let result = unsafe { sys::xc_sched_credit2_domain_set(self.xch(), domain, &mut share) };
        check(result, WHAT, domid).map(drop)
    }

    /// Settings of the credit scheduler in a pool. Fails where the pool has another scheduler.
    pub fn credit_settings(&self, pool: u32) -> Result<CreditSettings> {
        let mut settings = sys::xen_sysctl_credit_schedule::default();
        // SAFETY: the answer is written to a variable of ours.
        let result = unsafe { sys::xc_sched_credit_params_get(self.xch(), pool, &mut settings) };
        check_host(result, "get credit scheduler settings")?;
        Ok(CreditSettings {
            tslice_ms: settings.tslice_ms,
            ratelimit_us: settings.ratelimit_us,
            migration_delay_us: settings.vcpu_migr_delay_us,
        })
    }

    /// Changes settings of the credit scheduler in a pool.
    pub fn set_credit_settings(&self, pool: u32, settings: CreditSettings) -> Result<()> {
        let mut settings = sys::xen_sysctl_credit_schedule {
            tslice_ms: settings.tslice_ms,
            ratelimit_us: settings.ratelimit_us,
            vcpu_migr_delay_us: settings.migration_delay_us,
        };
        // SAFETY: the structure is ours.
        let result = unsafe { sys::xc_sched_credit_params_set(self.xch(), pool, &mut settings) };
        check_host(result, "set credit scheduler settings").map(drop)
    }

    /// The rate limit of the credit2 scheduler in a pool, in microseconds. Fails where the pool
    /// has another scheduler.
    pub fn credit2_ratelimit_us(&self, pool: u32) -> Result<u32> {
        let mut settings = sys::xen_sysctl_credit2_schedule::default();
        // SAFETY: the answer is written to a variable of ours.
        let result = unsafe { sys::xc_sched_credit2_params_get(self.xch(), pool, &mut settings) };
        check_host(result, "get credit2 scheduler settings")?;
        Ok(settings.ratelimit_us)
    }

    /// Changes the rate limit of the credit2 scheduler in a pool.
    pub fn set_credit2_ratelimit_us(&self, pool: u32, ratelimit_us: u32) -> Result<()> {
        let mut settings = sys::xen_sysctl_credit2_schedule { ratelimit_us };
        // SAFETY: the structure is ours.
        let result = unsafe { sys::xc_sched_credit2_params_set(self.xch(), pool, &mut settings) };
        check_host(result, "set credit2 scheduler settings").map(drop)
    }
}

/// Only two schedulers have shares.
fn known(scheduler: Scheduler) -> Result<()> {
    if scheduler == Scheduler::CREDIT2 {
        return Ok(());
    }
    let source = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
    Err(HypervisorError::HostCall { operation: "get a share of this scheduler", source })
}
