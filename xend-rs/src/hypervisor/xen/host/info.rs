//! The host: its memory, what its processors can do, and which Xen it runs.

use std::ffi::{c_char, c_int, c_void};

use libxc_sys as sys;

use crate::hypervisor::error::Result;
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::handles::{check_host, last_host_error};

/// Bytes of a build id: a digest, so that this is more than enough.
const BUILD_ID_BYTES: usize = 256;

/// What the host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhysInfo {
    /// Threads in each core.
    pub threads_per_core: u32,
    /// Cores in each socket.
    pub cores_per_socket: u32,
    /// CPUs that are online.
    pub cpus: u32,
    /// The highest number that a CPU can have.
    pub max_cpu_id: u32,
    /// NUMA nodes.
    pub nodes: u32,
    /// Frequency of the CPUs.
    pub cpu_khz: u32,
    /// What Xen offers to guests.
    pub offers: Offers,
    /// Feature words of the processor, as CPUID has them.
    pub feature_words: [u32; 8],
    /// Pages of memory.
    pub total_pages: u64,
    /// Pages of no domain.
    pub free_pages: u64,
    /// Free pages that are claimed.
    pub outstanding_pages: u64,
    /// Pages that sharing has freed.
    pub sharing_freed_pages: u64,
    /// Frames that are shared.
    pub sharing_used_frames: u64,
}

/// What Xen offers to guests on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// PV guests.
    pub pv: bool,
    /// HVM guests.
    pub hvm: bool,
    /// Passing devices through to guests.
    pub direct_io: bool,
    /// Hardware-assisted paging.
    pub hap: bool,
    /// Shadow paging.
    pub shadow: bool,
    /// Page tables shared with the IOMMU.
    pub iommu_hap_sharing: bool,
    /// Tracing by the processor.
    pub vmtrace: bool,
    /// Performance counters.
    pub vpmu: bool,
    /// Grant tables of version 1.
    pub grants_v1: bool,
    /// Grant tables of version 2.
    pub grants_v2: bool,
}

/// Which Xen runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// As in 4.17.
    pub major: u32,
    /// As in 4.17.
    pub minor: u32,
    /// What follows, with its dot.
    pub extra: String,
    /// Kinds of guests, by their interfaces.
    pub capabilities: String,
    /// Bytes in a page.
    pub page_bytes: u32,
    /// Where Xen's part of the address space begins.
    pub virt_start: u64,
    /// The source it was built from.
    pub changeset: String,
    /// How it was booted.
    pub command_line: String,
    /// The compiler.
    pub compiler: String,
    /// Who built it.
    pub compile_by: String,
    /// Where.
    pub compile_domain: String,
    /// When.
    pub compile_date: String,
    /// The digest of this build, in hexadecimal; empty where there is none.
    pub build_id: String,
}

impl Xen {
    /// What the host has.
    pub fn phys_info(&self) -> Result<PhysInfo> {
        let mut info = sys::xc_physinfo_t::default();
        // SAFETY: the answer is written to a variable of ours.
        let result = unsafe { sys::xc_physinfo(self.xch(), &mut info) };
        check_host(result, "get physical information")?;
        // SAFETY: it takes no pointer but the handle.
        let freed = unsafe { sys::xc_sharing_freed_pages(self.xch()) };
        let sharing_freed_pages = shared_count(freed)?;
        // SAFETY: it takes no pointer but the handle.
        let used = unsafe { sys::xc_sharing_used_frames(self.xch()) };
        Ok(PhysInfo {
            threads_per_core: info.threads_per_core,
            cores_per_socket: info.cores_per_socket,
            cpus: info.nr_cpus,
            max_cpu_id: info.max_cpu_id,
            nodes: info.nr_nodes,
            cpu_khz: info.cpu_khz,
            offers: offers(info.capabilities),
            feature_words: info.hw_cap,
            total_pages: info.total_pages,
            free_pages: info.free_pages,
            outstanding_pages: info.outstanding_pages,
            sharing_freed_pages,
            sharing_used_frames: shared_count(used)?,
        })
    }

    /// Which Xen runs.
    pub fn version_info(&self) -> Result<VersionInfo> {
        let (major, minor) = self.version();
        let mut extra: sys::xen_extraversion_t = [0; _];
        self.ask_version(sys::XENVER_extraversion, &mut extra)?;
        let mut built = sys::xen_compile_info_t::default();
        self.ask_version(sys::XENVER_compile_info, &mut built)?;
        let mut capabilities: sys::xen_capabilities_info_t = [0; _];
        self.ask_version(sys::XENVER_capabilities, &mut capabilities)?;
        let mut changeset: sys::xen_changeset_info_t = [0; _];
        self.ask_version(sys::XENVER_changeset, &mut changeset)?;
        let mut platform = sys::xen_platform_parameters_t::default();
        self.ask_version(sys::XENVER_platform_parameters, &mut platform)?;
        let mut command_line: sys::xen_commandline_t = [0; _];
        self.ask_version(sys::XENVER_commandline, &mut command_line)?;
        Ok(VersionInfo {
            major,
            minor,
            extra: text(&extra),
            capabilities: text(&capabilities),
            page_bytes: self.ask_version(sys::XENVER_pagesize, &mut ())? as u32,
            virt_start: platform.virt_start,
            changeset: text(&changeset),
            command_line: text(&command_line),
            compiler: text(&built.compiler),
            compile_by: text(&built.compile_by),
            compile_domain: text(&built.compile_domain),
            compile_date: text(&built.compile_date),
            build_id: self.build_id(),
        })
    }

    /// `answer` is the structure that goes with `command`; `()` for one that only returns a value.
    fn ask_version<T: Answer>(&self, command: u32, answer: &mut T) -> Result<c_int> {
        let answer = (&raw mut *answer).cast::<c_void>();
        // SAFETY: the callers above pass what Xen's headers say each command fills, and libxc
        // writes no more than its size.
        let result = unsafe { sys::xc_version(self.xch(), command as c_int, answer) };
        check_host(result, "get Xen's version")
    }

    /// Xen has no build id when its linker could not make one.
    fn build_id(&self) -> String {
        // What Xen calls xen_build_id: a length, and as many bytes after it.
        let mut answer = [0u32; 1 + BUILD_ID_BYTES / 4];
        answer[0] = BUILD_ID_BYTES as u32;
        // SAFETY: the buffer has the room after the length that the length says.
        let bytes = unsafe {
            sys::xc_version(
                self.xch(),
                sys::XENVER_build_id as c_int,
                answer.as_mut_ptr().cast::<c_void>(),
            )
        };
        let id = answer[1..].iter().flat_map(|word| word.to_ne_bytes());
        let id = id.take(usize::try_from(bytes).unwrap_or(0));
        id.map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What the commands fill, each its own.
trait Answer {}

impl Answer for () {}
impl<const N: usize> Answer for [c_char; N] {}
impl Answer for sys::xen_compile_info_t {}
impl Answer for sys::xen_platform_parameters_t {}

/// A Xen without memory sharing says that it knows no such call.
fn shared_count(count: std::ffi::c_long) -> Result<u64> {
    u64::try_from(count).or_else(|_| {
        let error = last_host_error("get shared memory");
        if error.errno() == Some(libc::ENOSYS) { Ok(0) } else { Err(error) }
    })
}

fn offers(capabilities: u32) -> Offers {
    let has = |flag: u32| capabilities & flag != 0;
    Offers {
        pv: has(sys::XEN_SYSCTL_PHYSCAP_pv),
        hvm: has(sys::XEN_SYSCTL_PHYSCAP_hvm),
        direct_io: has(sys::XEN_SYSCTL_PHYSCAP_directio),
        hap: has(sys::XEN_SYSCTL_PHYSCAP_hap),
        shadow: has(sys::XEN_SYSCTL_PHYSCAP_shadow),
        iommu_hap_sharing: has(sys::XEN_SYSCTL_PHYSCAP_iommu_hap_pt_share),
        vmtrace: has(sys::XEN_SYSCTL_PHYSCAP_vmtrace),
        vpmu: has(sys::XEN_SYSCTL_PHYSCAP_vpmu),
        grants_v1: has(sys::XEN_SYSCTL_PHYSCAP_gnttab_v1),
        grants_v2: has(sys::XEN_SYSCTL_PHYSCAP_gnttab_v2),
    }
}

/// A string in an array, with or without an end.
fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|&c| c as u8).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
