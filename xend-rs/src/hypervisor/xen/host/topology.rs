//! Where CPUs, memory and PCI devices are: cores, sockets, NUMA nodes.

use std::fs;
use std::ptr;

use libxc_sys as sys;

use super::cpu_map::CpuMap;
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::handles::{check, check_host};

/// More CPUs, nodes or devices than any host has.
const MAX_ENTRIES: u32 = 1 << 16;
/// What Xen says where there is nothing to say.
const NOTHING: u32 = u32::MAX;

/// Where a CPU is, as far as Xen knows: it may have no number for some of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuPlace {
    /// Its core.
    pub core: Option<u32>,
    /// Its socket.
    pub socket: Option<u32>,
    /// Its NUMA node.
    pub node: Option<u32>,
}

/// Memory of a NUMA node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// All of it.
    pub total_bytes: u64,
    /// What is free.
    pub free_bytes: u64,
    /// How far it is to each node, in Xen's measure, where 10 is at home.
    pub distances: Vec<u32>,
}

/// A PCI device and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciPlace {
    /// Its segment.
    pub segment: u16,
    /// Its bus.
    pub bus: u8,
    /// Its device and function, five and three bits.
    pub devfn: u8,
    /// Its NUMA node, where Xen knows it.
    pub node: Option<u32>,
}

impl Xen {
    /// Where each CPU is.
    pub fn cpu_places(&self) -> Result<Vec<CpuPlace>> {
        const WHAT: &str = "get CPU topology";
        let mut count = 0;
        // SAFETY: without a buffer it only counts.
        let result = unsafe { sys::xc_cputopoinfo(self.xch(), &mut count, ptr::null_mut()) };
        check_host(result, WHAT)?;
        count = count.min(MAX_ENTRIES);
        let mut places = vec![sys::xc_cputopo_t::default(); count as usize];
        // SAFETY: the array has as many entries as are said.
        let result = unsafe { sys::xc_cputopoinfo(self.xch(), &mut count, places.as_mut_ptr()) };
        check_host(result, WHAT)?;
        places.truncate(count as usize);
        let known = |number: u32| (number != NOTHING).then_some(number);
        let place = |place: sys::xc_cputopo_t| CpuPlace {
            core: known(place.core),
            socket: known(place.socket),
            node: known(place.node),
        };
        Ok(places.into_iter().map(place).collect())
    }

    /// The NUMA nodes; `None` for numbers that no node has.
    pub fn nodes(&self) -> Result<Vec<Option<Node>>> {
        const WHAT: &str = "get NUMA topology";
        let mut count = 0;
        // SAFETY: without buffers it only counts.
        let result =
            unsafe { sys::xc_numainfo(self.xch(), &mut count, ptr::null_mut(), ptr::null_mut()) };
        check_host(result, WHAT)?;
        // The table of distances grows with the square.
        count = count.min(1 << 10);
        let mut memory = vec![sys::xc_meminfo_t::default(); count as usize];
        let mut distances = vec![0u32; (count * count) as usize];
        // SAFETY: the arrays have as many entries as are said, and their square.
        let result = unsafe {
            sys::xc_numainfo(self.xch(), &mut count, memory.as_mut_ptr(), distances.as_mut_ptr())
        };
        check_host(result, WHAT)?;
        memory.truncate(count as usize);
        let rows = distances.chunks(count.max(1) as usize);
        let node = |(memory, row): (sys::xc_meminfo_t, &[u32])| {
            (memory.memsize != u64::MAX).then(|| Node {
                total_bytes: memory.memsize,
                free_bytes: memory.memfree,
                distances: row.to_vec(),
            })
        };
        Ok(memory.into_iter().zip(rows).map(node).collect())
    }

    /// Dom0's PCI devices, in the order of its sysfs. Those behind a controller that Xen does not
    /// know (a segment of more than 16 bits) are left out.
    pub fn pci_places(&self) -> Result<Vec<PciPlace>> {
        const WHAT: &str = "get PCI topology";
        let failed = |source| HypervisorError::HostCall { operation: WHAT, source };
        let mut devices = Vec::new();
        for entry in fs::read_dir("/sys/bus/pci/devices").map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            devices.extend(name.to_str().and_then(parse_device));
        }
        devices.truncate(MAX_ENTRIES as usize);
        let mut nodes = vec![NOTHING; devices.len()];
        // SAFETY: both arrays have as many entries as are said.
        let result = unsafe {
            sys::xc_pcitopoinfo(
                self.xch(),
                devices.len() as u32,
                devices.as_mut_ptr(),
                nodes.as_mut_ptr(),
            )
        };
        check_host(result, WHAT)?;
        let place = |(device, node): (&sys::physdev_pci_device_t, u32)| PciPlace {
            segment: device.seg,
            bus: device.bus,
            devfn: device.devfn,
            node: (node != NOTHING && node != sys::XEN_INVALID_DEV as u32).then_some(node),
        };
        Ok(devices.iter().zip(nodes).map(place).collect())
    }

    /// The NUMA nodes that a domain's memory is to come from.
    pub fn node_affinity(&self, domid: Domid) -> Result<CpuMap> {
        // SAFETY: it takes no pointer but the handle.
        let bytes = unsafe { sys::xc_get_nodemap_size(self.xch()) };
        let mut map = CpuMap::empty(check_host(bytes, "get the number of nodes")? as usize);
        // SAFETY: the map is of the size that libxc asks Xen for itself.
        let result = unsafe {
            sys::xc_domain_node_getaffinity(
                self.xch(),
                u32::from(domid.0),
                map.bytes_mut().as_mut_ptr(),
            )
        };
        check(result, "get node affinity", domid)?;
        Ok(map)
    }
}

/// `0000:00:1f.2`, in hexadecimal but for the function.
fn parse_device(name: &str) -> Option<sys::physdev_pci_device_t> {
    let (rest, function) = name.split_once('.')?;
    let mut parts = rest.split(':');
    let segment = u16::from_str_radix(parts.next()?, 16).ok()?;
    let bus = u8::from_str_radix(parts.next()?, 16).ok()?;
    let device = u8::from_str_radix(parts.next()?, 16).ok()?;
    let function: u8 = function.parse().ok()?;
    let devfn = (device & 0x1f) << 3 | function & 7;
    parts.next().is_none().then_some(sys::physdev_pci_device_t { seg: segment, bus, devfn })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_known_by_sysfs_names() {
        let device = parse_device("0001:a0:1f.2").expect("a device");
        assert_eq!((device.seg, device.bus, device.devfn), (1, 0xa0, 0xfa));
        assert!(parse_device("0000:00:1f").is_none());
        assert!(parse_device("10000:e0:06.0").is_none(), "behind a controller of its own");
    }
}
