//! What the lab's machines boot from: built once from Debian packages, kept in a cache.
//!
//! The cache is `$XEND_LAB_CACHE`, else `/var/cache/xend-rs-lab`. Everything in it has the
//! versions it was made of in its name, and can be deleted at any time.

mod binaries;
mod busybox;
mod cpio;
mod dom0;
mod guest;
mod hypervisor;
mod kernel;
mod packages;

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Instant;

pub use hypervisor::Hypervisor;

use crate::error::{LabError, Result};
use crate::program;
use binaries::Binaries;
use packages::Package;

/// The packages of a Dom0, besides the kernel. Libraries that are missing here are taken from
/// this machine.
const TOOL_PACKAGES: &[&str] = &[
    "busybox-static",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenmisc4.17",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
    "libyajl2",
    "libncurses6",
    "libtinfo6",
    "libwrap0",
    "socat",
    "xen-utils-4.17",
    "xenstore-utils",
];

/// Raised when the way an image is put together changes.
const FORMAT: u32 = 1;

/// Everything that a host boots from, as files in the cache.
#[derive(Debug, Clone)]
pub struct Images {
    folder: PathBuf,
}

impl Images {
    /// The hypervisor of the given kind, unpacked.
    #[must_use]
    pub fn hypervisor(&self, kind: Hypervisor) -> PathBuf {
        self.folder.join(match kind {
            Hypervisor::Shadow => "xen-shadow",
            Hypervisor::NoShadow => "xen-no-shadow",
        })
    }

    /// The Dom0's Linux kernel.
    #[must_use]
    pub fn dom0_kernel(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// The Dom0's initramfs.
    #[must_use]
    pub fn dom0_initramfs(&self) -> PathBuf {
        self.folder.join("dom0.cpio")
    }
}

/// Builds what is missing, saying so line by line, and returns the images. With nothing missing
/// it takes a second.
///
/// Fetches packages, so call it before [`Isolation::enter`](crate::Isolation::enter), which cuts
/// the process off from every network.
///
/// # Errors
/// A program or package that this machine does not offer, named; or a failure to write the cache.
pub fn ensure() -> Result<Images> {
    let started = Instant::now();
    let cache = cache_folder();
    fs::create_dir_all(&cache).map_err(LabError::file("create", &cache))?;
    for tool in ["apt-get", "apt-cache", "dpkg", "ldd", "xz", "gzip", "strip"] {
        crate::require_program(tool)?;
    }
    let binaries = binaries::build()?;
    let kernel_name = packages::current_kernel()?;
    let mut names = vec![kernel_name.as_str()];
    names.extend(TOOL_PACKAGES);
    let mut wanted = packages::candidates(&names)?;
    let tools = wanted.split_off(1);
    let recipe = Recipe {
        hypervisors: hypervisor::choose(&cache)?,
        kernel: wanted.remove(0),
        tools,
        binaries,
    };
    let folder = cache.join("images").join(recipe.key()?);
    if !folder.exists() {
        build(&cache, &recipe, &folder)?;
        println!("lab: images are ready, after {:.0} s", started.elapsed().as_secs_f32());
    }
    Ok(Images { folder })
}

fn cache_folder() -> PathBuf {
    env::var_os("XEND_LAB_CACHE").map_or_else(|| "/var/cache/xend-rs-lab".into(), PathBuf::from)
}

/// What one set of images is made of.
struct Recipe {
    hypervisors: hypervisor::Choice,
    kernel: Package,
    tools: Vec<Package>,
    binaries: Binaries,
}

impl Recipe {
    /// A name for exactly this set: versions, our own programs, the scripts built in here.
    fn key(&self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        FORMAT.hash(&mut hasher);
        let packages = [&self.hypervisors.shadow, &self.hypervisors.no_shadow, &self.kernel];
        for package in packages.into_iter().chain(&self.tools) {
            (&package.name, &package.version).hash(&mut hasher);
        }
        for path in self.binaries.all() {
            fs::read(path).map_err(LabError::file("read", path))?.hash(&mut hasher);
        }
        dom0::SCRIPTS.hash(&mut hasher);
        guest::INIT.hash(&mut hasher);
        Ok(format!("{}-{:016x}", self.kernel.version, hasher.finish()))
    }
}

fn build(cache: &Path, recipe: &Recipe, folder: &Path) -> Result<()> {
    let parent = cache.join("images");
    fs::create_dir_all(&parent).map_err(LabError::file("create", &parent))?;
    // Built beside, renamed at the end: a set that has its name is whole.
    let work = tempfile::tempdir_in(&parent).map_err(LabError::file("create", &parent))?;
    let kernel_root = packages::unpacked(cache, &recipe.kernel)?;
    let tools: Vec<PathBuf> = recipe
        .tools
        .iter()
        .map(|package| packages::unpacked(cache, package))
        .collect::<Result<_>>()?;
    let busybox_root = tools
        .iter()
        .find(|root| root.join("bin/busybox").is_file())
        .ok_or_else(|| LabError::Missing("busybox-static has no bin/busybox".to_owned()))?;

    let built = Images { folder: work.path().to_path_buf() };
    println!("lab: unpacking the hypervisors and the kernel {}", recipe.kernel.name);
    for (package, kind) in [
        (&recipe.hypervisors.shadow, Hypervisor::Shadow),
        (&recipe.hypervisors.no_shadow, Hypervisor::NoShadow),
    ] {
        hypervisor::unpack_image(cache, package, &built.hypervisor(kind))?;
    }
    kernel::unpack_image(&kernel_root, &built.dom0_kernel())?;

    println!("lab: putting together the guest's and the Dom0's file systems");
    let guest_kernel = work.path().join("guest-vmlinux.gz");
    let packed = program::output("gzip", &["-1c", &built.dom0_kernel().to_string_lossy()])?;
    fs::write(&guest_kernel, packed).map_err(LabError::file("write", &guest_kernel))?;
    let guest_initramfs = work.path().join("guest.cpio");
    let content = guest::build(busybox_root, &kernel_root, &recipe.binaries)?;
    fs::write(&guest_initramfs, content).map_err(LabError::file("write", &guest_initramfs))?;
    let parts = dom0::Parts {
        tools: &tools,
        kernel: &kernel_root,
        binaries: &recipe.binaries,
        guest_kernel: &guest_kernel,
        guest_initramfs: &guest_initramfs,
    };
    let content = dom0::build(&parts)?;
    let path = built.dom0_initramfs();
    fs::write(&path, content).map_err(LabError::file("write", &path))?;

    let finished = work.keep();
    fs::rename(&finished, folder).map_err(LabError::file("rename", &finished))
}
