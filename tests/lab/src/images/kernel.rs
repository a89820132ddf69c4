//! The one Linux kernel that runs in every Dom0 and every guest, and its modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::Archive;
use crate::error::{LabError, Result};
use crate::program;

/// The modules of a Dom0, in the order in which they load without a dependency resolver.
pub(crate) const DOM0_MODULES: &[&str] = &[
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xen-privcmd",
    "xenfs",
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_blk",
    "llc",
    "stp",
    "bridge",
    "xen-netback",
    "xen-blkback",
    "loop",
];

/// The modules of a guest.
pub(crate) const GUEST_MODULES: &[&str] = &["xen-netfront", "xen-blkfront", "xen-evtchn"];

/// Writes the kernel as a bare, stripped ELF image.
///
/// The distribution's image is packed with XZ, which under emulation takes a dozen seconds to
/// unpack at every start of a guest: done once here instead.
pub(crate) fn unpack_image(package: &Path, target: &Path) -> Result<()> {
    let boot = package.join("boot");
    let image = fs::read_dir(&boot)
        .map_err(LabError::file("list", &boot))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.to_string_lossy().contains("/vmlinuz-"))
        .ok_or_else(|| LabError::Missing(format!("no kernel in {}", boot.display())))?;
    let bytes = fs::read(&image).map_err(LabError::file("read", &image))?;
    let payload = bzimage_payload(&bytes).ok_or_else(|| {
        LabError::Missing(format!("{} is not a Linux boot image of a known form", image.display()))
    })?;
    let packed = target.with_extension("xz");
    fs::write(&packed, payload).map_err(LabError::file("write", &packed))?;
    let vmlinux = program::output("xz", &["-dc", &packed.to_string_lossy()])?;
    fs::remove_file(&packed).map_err(LabError::file("remove", &packed))?;
    fs::write(target, vmlinux).map_err(LabError::file("write", target))?;
    program::checked(Command::new("strip").arg(target))?;
    Ok(())
}

/// The packed kernel within a bzImage, by the fields of its setup header.
fn bzimage_payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| {
        let field = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(field)).ok()
    };
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let setup_sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup_sectors + 1) * 512 + word(0x248)?;
    // The last four bytes are the unpacked size, which is the boot code's and not the packer's.
    let end = start + word(0x24c)?.checked_sub(4)?;
    let payload = image.get(start..end)?;
    payload.starts_with(b"\xfd7zXZ\0").then_some(payload)
}

/// Puts modules and the order to load them in under /lab/modules of an image.
pub(crate) fn add_modules(archive: &mut Archive, package: &Path, modules: &[&str]) -> Result<()> {
    let mut files = Vec::new();
    collect_modules(&package.join("lib/modules"), &mut files)?;
    for module in modules {
        let file_name = format!("{module}.ko");
        let path = files
            .iter()
            .find(|path| path.file_name().is_some_and(|name| name == file_name.as_str()))
            .ok_or_else(|| {
                LabError::Missing(format!("the kernel package has no module {file_name}"))
            })?;
        let content = fs::read(path).map_err(LabError::file("read", path))?;
        archive.file(&format!("lab/modules/{file_name}"), 0o644, &content);
    }
    archive.file("lab/modules/order", 0o644, format!("{}\n", modules.join("\n")).as_bytes());
    Ok(())
}

fn collect_modules(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(LabError::file("list", folder))?.flatten() {
        let path = entry.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect_modules(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
