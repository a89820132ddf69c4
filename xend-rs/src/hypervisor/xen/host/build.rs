//! A kernel into a new domain, by libxenguest's builder.

use std::ffi::{CStr, CString, c_int, c_uint};
use std::io;
use std::path::Path;
use std::ptr::NonNull;

use libxc_sys as sys;

use super::memory::{MemoryKind, MemoryRange};
use crate::hypervisor::destination::{RingFrames, Rings};
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::{Domid, Mfn};
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::handles::{error_from, last_error};

const GIB: u64 = 1 << 30;
/// The eight pages below here are the domain's rings and Xen's own (`xg_private.h`).
const END_SPECIAL_PFN: u64 = 0xff000;
const SPECIAL_PAGES: u64 = 8;
const PAGE_BYTES: u64 = 4096;
/// Where the processor has its interrupt controller.
const LAPIC_BASE: u64 = 0xfee0_0000;
/// Where ACPI tables of a PVH guest begin (`libxl_arch.h`).
pub const ACPI_BASE: u64 = 0xfc00_0000;
/// Blobs that the builder copies into a PVH guest.
const MAX_BLOBS: usize = 4;

/// What to load.
#[derive(Clone, Copy, Debug)]
pub struct Boot<'a> {
    /// The kernel: a bzImage or an ELF file, compressed or not.
    pub kernel: &'a Path,
    /// Its initial ramdisk.
    pub ramdisk: Option<&'a Path>,
    /// Its command line.
    pub cmdline: &'a str,
    /// Features that the kernel is asked for, in Xen's notation (PV).
    pub features: Option<&'a str>,
}

/// How large, and with what around it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Memory at most, in KiB.
    pub max_kib: u64,
    /// Memory at the start, in KiB.
    pub target_kib: u64,
    /// Virtual processors.
    pub max_vcpus: u32,
    /// Whether to claim the memory before it is populated.
    pub claim: bool,
}

/// Bytes that belong at a certain place of a PVH guest's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Where, in bytes.
    pub address: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// What a builder may be asked before it lays out a PVH guest's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelTraits {
    /// It finds the ACPI root pointer wherever it is.
    pub finds_root_pointer_anywhere: bool,
}

impl Xen {
    /// Loads a kernel into a PV domain.
    pub fn build_pv(
        &self,
        domid: Domid,
        boot: &Boot<'_>,
        size: &Size,
        rings: &Rings,
    ) -> Result<RingFrames> {
        let mut builder = Builder::new(self, domid, boot, Container::Pv)?;
        builder.describe(size, rings);
        builder.load(boot)?;
        builder.step("load the kernel", sys::xc_dom_parse_image)?;
        builder.allocate(size.target_kib, domid)?;
        builder.finish()?;
        builder.pv_ring_frames()
    }

    /// Loads a kernel into a PVH domain. `acpi` makes the tables that it is given.
    pub fn build_pvh(
        &self,
        domid: Domid,
        boot: &Boot<'_>,
        size: &Size,
        rings: &Rings,
        acpi: impl FnOnce(KernelTraits) -> Vec<Blob>,
    ) -> Result<RingFrames> {
        let mut builder = Builder::new(self, domid, boot, Container::Pvh)?;
        builder.describe(size, rings);
        builder.lay_out_pvh(size);
        builder.load(boot)?;
        builder.step("load the kernel", sys::xc_dom_parse_image)?;
        builder.allocate(size.max_kib, domid)?;
        let blobs = acpi(builder.kernel_traits());
        builder.place(blobs)?;
        builder.set_memory_map()?;
        builder.finish()?;
        let image = builder.image();
        Ok(RingFrames { store: Mfn(image.xenstore_pfn), console: Mfn(image.console_pfn) })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Pv,
    Pvh,
}

/// libxenguest's builder, and what it refers to.
struct Builder<'a> {
    xen: &'a Xen,
    domid: Domid,
    dom: NonNull<sys::xc_dom_image>,
    blobs: Vec<Blob>,
    map: Vec<sys::e820entry>,
}

type Step = unsafe extern "C" fn(*mut sys::xc_dom_image) -> c_int;

impl<'a> Builder<'a> {
    fn new(xen: &'a Xen, domid: Domid, boot: &Boot<'_>, container: Container) -> Result<Self> {
        let cmdline = c_text(boot.cmdline, domid)?;
        let features = boot.features.map(|text| c_text(text, domid)).transpose()?;
        let features = features.as_deref().map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: no pointer but the handle is passed.
        unsafe { sys::xc_dom_loginit(xen.xch()) };
        // SAFETY: both are C strings or null, and the library copies them.
        let dom = unsafe { sys::xc_dom_allocate(xen.xch(), cmdline.as_ptr(), features) };
        let dom = NonNull::new(dom).ok_or_else(|| last_error("begin to build", domid))?;
        let mut builder = Self { xen, domid, dom, blobs: Vec::new(), map: Vec::new() };
        builder.image_mut().container_type = match container {
            Container::Pv => sys::XC_DOM_PV_CONTAINER,
            Container::Pvh => sys::XC_DOM_HVM_CONTAINER,
        };
        Ok(builder)
    }

    fn image(&self) -> &sys::xc_dom_image {
        // SAFETY: the image is alive, and only touched through this value.
        unsafe { self.dom.as_ref() }
    }

    fn image_mut(&mut self) -> &mut sys::xc_dom_image {
        // SAFETY: the image is alive, and only touched through this value.
        unsafe { self.dom.as_mut() }
    }

    fn describe(&mut self, size: &Size, rings: &Rings) {
        let image = self.image_mut();
        image.flags = 0;
        image.console_evtchn = rings.console.port.0;
        image.console_domid = u32::from(rings.console.peer.0);
        image.xenstore_evtchn = rings.store.port.0;
        image.xenstore_domid = u32::from(rings.store.peer.0);
        image.claim_enabled = c_int::from(size.claim);
        image.max_vcpus = size.max_vcpus;
    }

    /// Where a PVH guest's memory is: below a hole at the end of the first 4 GiB, and above.
    fn lay_out_pvh(&mut self, size: &Size) {
        let special = (END_SPECIAL_PFN - SPECIAL_PAGES) * PAGE_BYTES;
        let hole_start = special.min(LAPIC_BASE).min(ACPI_BASE);
        let bytes = size.max_kib << 10;
        let image = self.image_mut();
        image.target_pages = size.target_kib >> 2;
        image.mmio_size = 4 * GIB - hole_start;
        image.mmio_start = hole_start;
        image.lowmem_end = bytes.min(hole_start);
        image.highmem_end = if bytes > hole_start { 4 * GIB + (bytes - hole_start) } else { 0 };
        image.vga_hole_size = 0;
        image.device_model = false;
    }

    fn load(&mut self, boot: &Boot<'_>) -> Result<()> {
        let kernel = c_path(boot.kernel, self.domid)?;
        // SAFETY: the image is alive and the path a C string.
        let result = unsafe { sys::xc_dom_kernel_file(self.dom.as_ptr(), kernel.as_ptr()) };
        self.outcome(result, "read the kernel")?;
        if let Some(ramdisk) = boot.ramdisk {
            let ramdisk = c_path(ramdisk, self.domid)?;
            // SAFETY: the image is alive and the path a C string; a module needs no command line.
            let result = unsafe {
                sys::xc_dom_module_file(self.dom.as_ptr(), ramdisk.as_ptr(), std::ptr::null())
            };
            self.outcome(result, "read the ramdisk")?;
        }
        // SAFETY: image and handle are alive.
        let result = unsafe {
            sys::xc_dom_boot_xen_init(self.dom.as_ptr(), self.xen.xch(), self.domid.0.into())
        };
        self.outcome(result, "begin to build")
    }

    fn allocate(&mut self, kib: u64, domid: Domid) -> Result<()> {
        let mib = c_uint::try_from(kib >> 10).map_err(|_| {
            let source = io::Error::from(io::ErrorKind::InvalidInput);
            error_from(source, "allocate so much memory", domid, None)
        })?;
        // SAFETY: the image is alive.
        let result = unsafe { sys::xc_dom_mem_init(self.dom.as_ptr(), mib) };
        self.outcome(result, "lay out memory")?;
        // SAFETY: the image is alive.
        let result = unsafe { sys::xc_dom_boot_mem_init(self.dom.as_ptr()) };
        if result == 0 {
            return Ok(());
        }
        let max_pages = kib >> 2;
        let source = io::Error::from_raw_os_error(libc::ENOMEM);
        Err(HypervisorError::NoMemory { domid, pages: max_pages, max_pages, source })
    }

    fn kernel_traits(&self) -> KernelTraits {
        // SAFETY: the image is alive, and its kernel has been read.
        let system = unsafe { sys::xc_dom_guest_os(self.dom.as_ptr()) };
        let is_linux = !system.is_null() && {
            // SAFETY: it points to a C string within the image.
            unsafe { CStr::from_ptr(system) }.to_bytes() == b"linux"
        };
        let feature = sys::XENFEAT_linux_rsdp_unrestricted;
        // SAFETY: the image is alive.
        let unrestricted = unsafe { sys::xc_dom_feature_get(self.dom.as_ptr(), feature) };
        KernelTraits { finds_root_pointer_anywhere: !is_linux || unrestricted }
    }

    /// Has the builder copy the blobs to their places.
    fn place(&mut self, blobs: Vec<Blob>) -> Result<()> {
        if blobs.len() > MAX_BLOBS {
            let what = format!("{} blobs for its memory", blobs.len());
            return Err(HypervisorError::Unsupported { domid: self.domid, what });
        }
        self.blobs = blobs;
        let modules: Vec<_> = self
            .blobs
            .iter_mut()
            .map(|blob| sys::xc_hvm_firmware_module {
                data: blob.bytes.as_mut_ptr(),
                length: blob.bytes.len() as u32,
                guest_addr_out: blob.address,
            })
            .collect();
        self.image_mut().acpi_modules[..modules.len()].copy_from_slice(&modules);
        Ok(())
    }

    /// Tells the guest where it has memory.
    fn set_memory_map(&mut self) -> Result<()> {
        let image = self.image();
        let ranges = memory_map(image.lowmem_end, image.highmem_end, &self.blobs);
        self.map = ranges
            .iter()
            .map(|range| sys::e820entry {
                addr: range.start,
                size: range.bytes,
                type_: range.kind as u32,
            })
            .collect();
        let (entries, count) = (self.map.as_mut_ptr(), self.map.len() as u32);
        // SAFETY: the array is as long as is said, and is only read.
        let result = unsafe {
            sys::xc_domain_set_memory_map(self.xen.xch(), self.domid.0.into(), entries, count)
        };
        self.outcome(result, "set the memory map")?;
        let image = self.image_mut();
        // The builder reads the entries until it is released, which is before they are freed.
        image.e820 = entries;
        image.e820_entries = count;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.step("build the image", sys::xc_dom_build_image)?;
        self.step("start the image", sys::xc_dom_boot_image)?;
        self.step("seed the grant table", sys::xc_dom_gnttab_init)
    }

    fn pv_ring_frames(&self) -> Result<RingFrames> {
        let image = self.image();
        Ok(RingFrames {
            store: self.machine_frame(image.xenstore_pfn)?,
            console: self.machine_frame(image.console_pfn)?,
        })
    }

    fn machine_frame(&self, pfn: u64) -> Result<Mfn> {
        let image = self.image();
        let index = pfn.wrapping_sub(image.rambase_pfn);
        if image.pv_p2m.is_null() || index >= image.p2m_size {
            let source = io::Error::from(io::ErrorKind::InvalidData);
            return Err(error_from(source, "find the rings", self.domid, None));
        }
        // SAFETY: the table has an entry for each of `p2m_size` pages.
        let entry = unsafe { image.pv_p2m.add(index as usize) };
        // SAFETY: the entry is within the table, which nobody writes any more.
        Ok(Mfn(unsafe { entry.read() }))
    }

    fn step(&mut self, what: &'static str, step: Step) -> Result<()> {
        // SAFETY: the image is alive, and what it refers to is kept by `self`.
        let result = unsafe { step(self.dom.as_ptr()) };
        self.outcome(result, what)
    }

    fn outcome(&self, result: c_int, what: &'static str) -> Result<()> {
        if result == 0 {
            return Ok(());
        }
        // Some of these return -1 with errno set, some return the errno negated, some set nothing.
        let errno = match result {
            ..-1 => -result,
            _ => io::Error::last_os_error().raw_os_error().unwrap_or(0),
        };
        let source = match errno {
            0 => io::Error::other("libxenguest does not say why"),
            _ => io::Error::from_raw_os_error(errno),
        };
        Err(error_from(source, what, self.domid, None))
    }
}

impl Drop for Builder<'_> {
    fn drop(&mut self) {
        // SAFETY: the image is alive and ours. What it refers to is still there.
        unsafe { sys::xc_dom_release(self.dom.as_ptr()) };
    }
}

/// The memory map of a PVH guest.
fn memory_map(low_end: u64, high_end: u64, blobs: &[Blob]) -> Vec<MemoryRange> {
    let range = |start, bytes, kind| MemoryRange { start, bytes, kind };
    let special = (END_SPECIAL_PFN - SPECIAL_PAGES) * PAGE_BYTES;
    let mut map = vec![
        range(0, low_end, MemoryKind::Ram),
        range(special, SPECIAL_PAGES * PAGE_BYTES, MemoryKind::Reserved),
    ];
    map.extend(blobs.iter().map(|blob| {
        let inside = blob.address % PAGE_BYTES;
        range(blob.address - inside, blob.bytes.len() as u64 + inside, MemoryKind::Acpi)
    }));
    if high_end > 4 * GIB {
        map.push(range(4 * GIB, high_end - 4 * GIB, MemoryKind::Ram));
    }
    map
}

fn c_text(text: &str, domid: Domid) -> Result<CString> {
    CString::new(text).map_err(|error| {
        let source = io::Error::new(io::ErrorKind::InvalidInput, error);
        error_from(source, "pass the command line", domid, None)
    })
}

fn c_path(path: &Path, domid: Domid) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(|error| {
        let source = io::Error::new(io::ErrorKind::InvalidInput, error);
        error_from(source, "open a file", domid, None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_guest_has_no_memory_above_4_gib() {
        let blob = Blob { address: 0xf_ffc0, bytes: vec![0; 64] };
        let map = memory_map(192 << 20, 0, &[blob]);
        let plain: Vec<_> =
            map.iter().map(|range| (range.start, range.bytes, range.kind as u32)).collect();
        assert_eq!(plain, [(0, 192 << 20, 1), (0xfeff_8000, 0x8000, 2), (0xf_f000, 0x1000, 3)]);
    }

    #[test]
    fn a_large_guest_goes_on_above_the_hole() {
        let map = memory_map(ACPI_BASE, 5 * GIB, &[]);
        assert_eq!(
            map.last(),
            Some(&MemoryRange { start: 4 * GIB, bytes: GIB, kind: MemoryKind::Ram })
        );
    }
}
