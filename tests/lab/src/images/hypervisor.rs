//! The hypervisors, told apart by what they can do.
//!
//! Live migration of PV guests with stock tools needs shadow paging, which Debian's packages have
//! at some versions and lack at others. Point releases move, so the choice is by the
//! configuration that each package ships, never by its version.

use std::fs;
use std::path::{Path, PathBuf};

use super::packages::{self, Package};
use crate::error::{LabError, Result};
use crate::program;

const PACKAGE: &str = "xen-hypervisor-4.17-amd64";

/// Whether a host's hypervisor has shadow paging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hypervisor {
    /// Built with shadow paging: stock tools can live-migrate PV guests.
    Shadow,
    /// Built without it, as in current Debian: log-dirty for a PV guest fails with EOPNOTSUPP.
    NoShadow,
}

/// One hypervisor of each kind, as packages.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) shadow: Package,
    pub(crate) no_shadow: Package,
}

/// Looks through everything on offer for the newest hypervisor of each kind.
pub(crate) fn choose(cache: &Path) -> Result<Choice> {
    let on_offer = packages::versions_on_offer(PACKAGE)?;
    let (mut shadow, mut no_shadow) = (None, None);
    for package in on_offer {
        let kind = kind_of(cache, &package)?;
        let place = match kind {
            Hypervisor::Shadow => &mut shadow,
            Hypervisor::NoShadow => &mut no_shadow,
        };
        place.get_or_insert(package);
    }
    let missing = |what: &str| {
        LabError::Missing(format!(
            "no version of {PACKAGE} on offer is built {what} shadow paging: the lab needs one of \
             each kind; `apt-cache madison {PACKAGE}` lists what there is, both the main and the \
             security suite of Debian 12 have to be among the package sources"
        ))
    };
    Ok(Choice {
        shadow: shadow.ok_or_else(|| missing("with"))?,
        no_shadow: no_shadow.ok_or_else(|| missing("without"))?,
    })
}

/// Unpacks the hypervisor proper to `target`: QEMU's multiboot loader reads no gzip.
pub(crate) fn unpack_image(cache: &Path, package: &Package, target: &Path) -> Result<()> {
    let folder = packages::unpacked(cache, package)?;
    let packed = boot_file(&folder, ".gz")?;
    let image = program::output("gzip", &["-dc", &packed.to_string_lossy()])?;
    fs::write(target, image).map_err(LabError::file("write", target))
}

fn kind_of(cache: &Path, package: &Package) -> Result<Hypervisor> {
    let folder = packages::unpacked(cache, package)?;
    let path = boot_file(&folder, ".config")?;
    let config = fs::read_to_string(&path).map_err(LabError::file("read", &path))?;
    Ok(kind_from_config(&config))
}

fn kind_from_config(config: &str) -> Hypervisor {
    if config.lines().any(|line| line.trim() == "CONFIG_SHADOW_PAGING=y") {
        Hypervisor::Shadow
    } else {
        Hypervisor::NoShadow
    }
}

fn boot_file(folder: &Path, suffix: &str) -> Result<PathBuf> {
    let boot = folder.join("boot");
    let mut found: Vec<PathBuf> = fs::read_dir(&boot)
        .map_err(LabError::file("list", &boot))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file() && !path.is_symlink())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    found.sort();
    found.pop().ok_or_else(|| {
        LabError::Missing(format!("the hypervisor package has no *{suffix} in {}", boot.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::{Hypervisor, kind_from_config};

    #[test]
    fn the_kind_is_read_from_the_configuration() {
        assert_eq!(kind_from_config("CONFIG_PV=y\nCONFIG_SHADOW_PAGING=y\n"), Hypervisor::Shadow);
        assert_eq!(
            kind_from_config("CONFIG_PV=y\n# CONFIG_SHADOW_PAGING is not set\n"),
            Hypervisor::NoShadow
        );
    }
}
