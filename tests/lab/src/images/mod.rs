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
mod selection;

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

pub use hypervisor::Hypervisor;

use crate::error::{LabError, Result};
use crate::program;
use binaries::Binaries;
use selection::Selection;

/// Raised when the way an image is put together changes.
const FORMAT: u32 = 2;

/// How many sets of images are kept besides the one in use, at 125 MiB each.
const KEPT_SETS: usize = 4;

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
    let recipe = Recipe { packages: selection::current(&cache)?, binaries: binaries::build()? };
    let folder = cache.join("images").join(recipe.key()?);
    if !folder.exists() {
        build(&cache, &recipe, &folder)?;
        remove_old(&cache.join("images"), &folder);
        println!("lab: images are ready, after {:.0} s", started.elapsed().as_secs_f32());
    }
    Ok(Images { folder })
}

fn cache_folder() -> PathBuf {
    env::var_os("XEND_LAB_CACHE").map_or_else(|| "/var/cache/xend-rs-lab".into(), PathBuf::from)
}

/// Removes the older sets of images but for a few, which other checkouts may be using. What cannot
/// be removed is left: it is in nobody's way.
fn remove_old(images: &Path, newest: &Path) {
    let Ok(entries) = fs::read_dir(images) else { return };
    let mut sets: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.path() != newest)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    sets.sort();
    for (_, folder) in sets.into_iter().rev().skip(KEPT_SETS) {
        let _ = fs::remove_dir_all(folder);
    }
}

/// What one set of images is made of.
struct Recipe {
    packages: Selection,
    binaries: Binaries,
}

impl Recipe {
    /// A name for exactly this set: versions, our own programs, the scripts built in here.
    fn key(&self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        FORMAT.hash(&mut hasher);
        self.packages.hash(&mut hasher);
        for path in self.binaries.all() {
            fs::read(path).map_err(LabError::file("read", path))?.hash(&mut hasher);
        }
        dom0::SCRIPTS.hash(&mut hasher);
        kernel::DOM0_MODULES.hash(&mut hasher);
        kernel::GUEST_MODULES.hash(&mut hasher);
        guest::SCRIPTS.hash(&mut hasher);
        Ok(format!("{}-{:016x}", self.packages.kernel.version, hasher.finish()))
    }
}

fn build(cache: &Path, recipe: &Recipe, folder: &Path) -> Result<()> {
    let parent = cache.join("images");
    fs::create_dir_all(&parent).map_err(LabError::file("create", &parent))?;
    // Built beside, renamed at the end: a set that has its name is whole.
    let work = tempfile::tempdir_in(&parent).map_err(LabError::file("create", &parent))?;
    let packages = &recipe.packages;
    let kernel_root = packages::unpacked(cache, &packages.kernel)?;
    let tools: Vec<PathBuf> = packages
        .tools
        .iter()
        .map(|package| packages::unpacked(cache, package))
        .collect::<Result<_>>()?;
    let busybox_root = tools
        .iter()
        .find(|root| root.join("bin/busybox").is_file())
        .ok_or_else(|| LabError::Missing("busybox-static has no bin/busybox".to_owned()))?;

    let built = Images { folder: work.path().to_path_buf() };
    println!("lab: unpacking the hypervisors and the kernel {}", packages.kernel.name);
    for (package, kind) in
        [(&packages.shadow, Hypervisor::Shadow), (&packages.no_shadow, Hypervisor::NoShadow)]
    {
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
