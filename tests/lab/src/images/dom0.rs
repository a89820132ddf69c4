//! The Dom0's initramfs: busybox, the Xen tools with their libraries, the lab's own services.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::Archive;
use super::{Binaries, busybox, kernel};
use crate::error::{LabError, Result};
use crate::program;

const INIT: &str = include_str!("../../image/dom0-init.sh");
const INITTAB: &str = include_str!("../../image/dom0-inittab");
const PROFILE: &str = include_str!("../../image/dom0-profile");
const SERVE: &str = include_str!("../../image/serve.sh");
const VIF_SCRIPT: &str = include_str!("../../image/vif-bridge.sh");
const BLOCK_SCRIPT: &str = include_str!("../../image/block.sh");

/// Every script of the image: they are part of an image's name in the cache.
pub(crate) const SCRIPTS: [&str; 6] = [INIT, INITTAB, PROFILE, SERVE, VIF_SCRIPT, BLOCK_SCRIPT];

const XEN_BIN: &str = "usr/lib/xen-4.17/bin";
const XEN_TOOLS: &[&str] = &[
    "xl",
    "libxl-save-helper",
    "xen-init-dom0",
    "xenstored",
    "xenconsoled",
    "xenconsole",
    "xentop",
    "xenctx",
    "xen-hvmctx",
    "lsevtchn",
    "xenstore-control",
];
const XENSTORE_TOOLS: &[&str] = &[
    "xenstore-chmod",
    "xenstore-exists",
    "xenstore-list",
    "xenstore-ls",
    "xenstore-read",
    "xenstore-rm",
    "xenstore-watch",
    "xenstore-write",
];
/// Needed though `ldd` does not name them: libgcc_s when a thread of `xl` is cancelled, and libm
/// by programs that are put into the Dom0 later.
const EXTRA_LIBRARIES: &[&str] = &["libgcc_s.so.1", "libm.so.6"];

/// The unpacked packages and files a Dom0 is made of.
pub(crate) struct Parts<'a> {
    pub(crate) tools: &'a [PathBuf],
    pub(crate) kernel: &'a Path,
    pub(crate) binaries: &'a Binaries,
    /// Kernel and initramfs of the guests, which every Dom0 carries.
    pub(crate) guest_kernel: &'a Path,
    pub(crate) guest_initramfs: &'a Path,
}

/// Builds the initramfs that every host's Dom0 boots from.
pub(crate) fn build(parts: &Parts<'_>) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    add_folders(&mut archive);
    add_tools(&mut archive, parts.tools)?;
    let busybox_root = find(parts.tools, "bin/busybox")?;
    busybox::add(
        &mut archive,
        busybox_root.parent().and_then(Path::parent).unwrap_or(Path::new("/")),
    )?;
    kernel::add_modules(&mut archive, parts.kernel, kernel::DOM0_MODULES)?;

    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("etc/inittab", 0o644, INITTAB.as_bytes());
    archive.file("etc/profile", 0o644, PROFILE.as_bytes());
    archive.file("etc/passwd", 0o644, b"root::0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", 0o644, b"root:x:0:\n");
    archive.file("etc/xen/xl.conf", 0o644, b"autoballoon=\"off\"\n");
    archive.file("etc/xen/scripts/vif-bridge", 0o755, VIF_SCRIPT.as_bytes());
    archive.file("etc/xen/scripts/block", 0o755, BLOCK_SCRIPT.as_bytes());
    archive.file("lab/serve", 0o755, SERVE.as_bytes());
    for (path, name, mode) in [
        (&*parts.binaries.relay, "lab/bin/relay", 0o755),
        (&*parts.binaries.simd_check, "lab/bin/simd-check", 0o755),
        (parts.guest_kernel, "lab/guest/vmlinux", 0o644),
        (parts.guest_initramfs, "lab/guest/initramfs", 0o644),
    ] {
        let content = fs::read(path).map_err(LabError::file("read", path))?;
        archive.file(name, mode, &content);
    }
    Ok(archive.finish())
}

fn add_folders(archive: &mut Archive) {
    for folder in
        ["dev", "proc", "sys", "run", "tmp", "root", "var/lib/xen", "var/log/xen", "lab/bin"]
    {
        archive.directory(folder);
    }
    archive.symlink("var/run", "/run");
    archive.symlink("var/lock", "/run/lock");
    archive.character_device("dev/console", 5, 1);
}

/// Adds the Xen tools and socat, and every library they load.
fn add_tools(archive: &mut Archive, roots: &[PathBuf]) -> Result<()> {
    let mut libraries = BTreeSet::new();
    for tool in XEN_TOOLS {
        add_program(archive, roots, &format!("{XEN_BIN}/{tool}"), &mut libraries)?;
    }
    for tool in XENSTORE_TOOLS {
        add_program(archive, roots, &format!("usr/bin/{tool}"), &mut libraries)?;
    }
    // In Debian `socat` is a link to a name with its version.
    let socat = find(roots, "usr/bin/socat1").or_else(|_| find(roots, "usr/bin/socat"))?;
    libraries.extend(libraries_of(&socat, roots)?);
    let content = fs::read(&socat).map_err(LabError::file("read", &socat))?;
    archive.file("usr/bin/socat", 0o755, &content);

    for library in libraries {
        let content = fs::read(&library).map_err(LabError::file("read", &library))?;
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("ld-linux") {
            archive.file(&format!("lib64/{name}"), 0o755, &content);
        } else {
            archive.file(&format!("lib/x86_64-linux-gnu/{name}"), 0o755, &content);
        }
    }
    for name in EXTRA_LIBRARIES {
        let path = Path::new("/lib/x86_64-linux-gnu").join(name);
        let content = fs::read(&path).map_err(LabError::file("read", &path))?;
        archive.file(&format!("lib/x86_64-linux-gnu/{name}"), 0o755, &content);
    }
    Ok(())
}

fn add_program(
    archive: &mut Archive,
    roots: &[PathBuf],
    name: &str,
    libraries: &mut BTreeSet<PathBuf>,
) -> Result<()> {
    let path = find(roots, name)?;
    libraries.extend(libraries_of(&path, roots)?);
    let content = fs::read(&path).map_err(LabError::file("read", &path))?;
    archive.file(name, 0o755, &content);
    Ok(())
}

fn find(roots: &[PathBuf], name: &str) -> Result<PathBuf> {
    roots
        .iter()
        .map(|root| root.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| LabError::Missing(format!("none of the Xen packages has a file /{name}")))
}

/// What the dynamic loader would load, looked for in the unpacked packages before this machine.
fn libraries_of(program: &Path, roots: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let search: Vec<String> = roots
        .iter()
        .flat_map(|root| [root.join("usr/lib/x86_64-linux-gnu"), root.join("lib/x86_64-linux-gnu")])
        .filter(|folder| folder.is_dir())
        .map(|folder| folder.to_string_lossy().into_owned())
        .collect();
    let mut command = Command::new("ldd");
    command.arg(program).env("LD_LIBRARY_PATH", search.join(":"));
    let listing = String::from_utf8_lossy(&program::checked(&mut command)?).into_owned();
    let mut libraries = Vec::new();
    for line in listing.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [name, "=>", "not", "found"] => {
                return Err(LabError::Missing(format!(
                    "{} needs the library {name}, which neither its package's companions nor this \
                     machine have",
                    program.display()
                )));
            }
            [_, "=>", path, ..] => libraries.push(PathBuf::from(path)),
            [path, _] if path.starts_with('/') => libraries.push(PathBuf::from(path)),
            _ => {}
        }
    }
    Ok(libraries)
}
