//! The guest's initramfs: busybox, the Xen front ends, the workload.

use std::fs;
use std::path::Path;

use super::cpio::Archive;
use super::{Binaries, busybox, kernel};
use crate::error::{LabError, Result};

const INIT: &str = include_str!("../../image/guest-init.sh");
const INITTAB: &str = include_str!("../../image/guest-inittab");
const WORK: &str = include_str!("../../image/guest-work.sh");

/// Every script of the image: they are part of an image's name in the cache.
pub(crate) const SCRIPTS: [&str; 3] = [INIT, INITTAB, WORK];

/// Builds the initramfs that every guest boots from.
pub(crate) fn build(
    busybox_root: &Path,
    kernel_root: &Path,
    binaries: &Binaries,
) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "tmp", "root"] {
        archive.directory(folder);
    }
    // The kernel opens its console before it runs init, which mounts devtmpfs.
    archive.character_device("dev/console", 5, 1);
    busybox::add(&mut archive, busybox_root)?;
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("etc/inittab", 0o644, INITTAB.as_bytes());
    archive.file("lab/work", 0o755, WORK.as_bytes());
    let programs =
        [&binaries.guest_workload, &binaries.guest_process, &binaries.simd_check, &binaries.agent];
    for path in programs {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let content = fs::read(path).map_err(LabError::file("read", path))?;
        archive.file(&format!("lab/bin/{name}"), 0o755, &content);
    }
    kernel::add_modules(&mut archive, kernel_root, kernel::GUEST_MODULES)?;
    Ok(archive.finish())
}
