//! vCPUs as the scheduler sees them: their state, and where they may run.

use libxc_sys as sys;

use super::cpu_map::CpuMap;
use crate::hypervisor::error::Result;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::handles::{check, check_host};

/// A vCPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// Its id.
    pub id: u32,
    /// Whether the guest has brought it up.
    pub is_online: bool,
    /// It waits for an event.
    pub is_blocked: bool,
    /// It is running.
    pub is_running: bool,
    /// CPU time that it has had, in nanoseconds.
    pub cpu_time_ns: u64,
    /// The physical CPU that it is or was last on.
    pub cpu: u32,
    /// The physical CPUs that it may run on.
    pub hard_affinity: CpuMap,
    /// The physical CPUs that it should run on.
    pub soft_affinity: CpuMap,
}

/// Which physical CPUs a vCPU is to be bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Those that it may run on; `None` leaves them as they are.
    pub hard: Option<CpuMap>,
    /// Those that it should run on; `None` leaves them as they are.
    pub soft: Option<CpuMap>,
    /// Undoes a temporary binding that the guest's kernel made.
    pub force: bool,
}

impl Xen {
    /// A set of physical CPUs with nothing in it.
    pub fn empty_cpu_map(&self) -> Result<CpuMap> {
        // SAFETY: it takes no pointer but the handle.
        let bytes = unsafe { sys::xc_get_cpumap_size(self.xch()) };
        Ok(CpuMap::empty(check_host(bytes, "get the number of CPUs")? as usize))
    }

    /// How many physical CPUs there can be.
    pub fn max_cpus(&self) -> Result<u32> {
        // SAFETY: it takes no pointer but the handle.
        let cpus = unsafe { sys::xc_get_max_cpus(self.xch()) };
        Ok(check_host(cpus, "get the number of CPUs")? as u32)
    }

    /// The vCPUs of a domain: `max_vcpu_id` is the highest id that it has.
    pub fn vcpus(&self, domid: Domid, max_vcpu_id: u32) -> Result<Vec<Vcpu>> {
        (0..=max_vcpu_id).map(|id| self.vcpu(domid, id)).collect()
    }

    fn vcpu(&self, domid: Domid, id: u32) -> Result<Vcpu> {
        let mut info = sys::xc_vcpuinfo_t::default();
        let domain = u32::from(domid.0);
        // SAFETY: the answer is written to a variable of ours.
        let result = unsafe { sys::xc_vcpu_getinfo(self.xch(), domain, id, &mut info) };
        check(result, "get vCPU information", domid)?;
        let (mut hard, mut soft) = (self.empty_cpu_map()?, self.empty_cpu_map()?);
        // SAFETY: both maps are of the size that libxc asks Xen for itself.
        let result = unsafe {
            sys::xc_vcpu_getaffinity(
                self.xch(),
                domain,
                id as i32,
                hard.bytes_mut().as_mut_ptr(),
                soft.bytes_mut().as_mut_ptr(),
                sys::XEN_VCPUAFFINITY_HARD | sys::XEN_VCPUAFFINITY_SOFT,
            )
        };
        check(result, "get vCPU affinity", domid)?;
        Ok(Vcpu {
            id,
            is_online: info.online != 0,
            is_blocked: info.blocked != 0,
            is_running: info.running != 0,
            cpu_time_ns: info.cpu_time,
            cpu: info.cpu,
            hard_affinity: hard,
            soft_affinity: soft,
        })
    }

    /// Binds a vCPU to physical CPUs.
    ///
    /// # Panics
    /// For maps that were not made by [`empty_cpu_map`](Self::empty_cpu_map) of this host.
    pub fn set_affinity(&self, domid: Domid, vcpu: u32, affinity: &Affinity) -> Result<()> {
        let room = self.empty_cpu_map()?.room();
        let mut flags = if affinity.force { sys::XEN_VCPUAFFINITY_FORCE } else { 0 };
        let mut raw = |map: &Option<CpuMap>, flag| {
            map.as_ref().map(|map| {
                assert_eq!(map.room(), room, "a map of this host's size");
                flags |= flag;
                map.bytes().to_vec()
            })
        };
        // Xen writes what it made of them back into the maps, hence the copies.
        let mut hard = raw(&affinity.hard, sys::XEN_VCPUAFFINITY_HARD);
        let mut soft = raw(&affinity.soft, sys::XEN_VCPUAFFINITY_SOFT);
        let pointer = |map: &mut Option<Vec<u8>>| {
            map.as_mut().map_or(std::ptr::null_mut(), |map| map.as_mut_ptr())
        };
        // SAFETY: each map is null or of the size that libxc asks Xen for itself.
        let result = unsafe {
            sys::xc_vcpu_setaffinity(
                self.xch(),
                u32::from(domid.0),
                vcpu as i32,
                pointer(&mut hard),
                pointer(&mut soft),
                flags,
            )
        };
        check(result, "set vCPU affinity", domid).map(drop)
    }
}
