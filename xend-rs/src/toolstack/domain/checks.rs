//! What can be known to fail before a domain is made.

use std::fs::File;
use std::path::PathBuf;

use super::{DomainError, Result, names};
use crate::toolstack::Host;
use crate::toolstack::config::{DomainConfig, GuestKind};
use crate::toolstack::devices;

/// What Xen and the toolstack need beside a guest's own memory.
const SLACK_KIB: u64 = 2048;
const KIB_PER_PAGE: u64 = 4;

/// Checks that this host can have the guest under the name, as a new domain or as one that arrives.
///
/// # Errors
/// The first thing that is in the way.
pub fn check(host: &Host, config: &DomainConfig, name: &str) -> Result<()> {
    check_kind(config)?;
    names::require_free(host, name, None)?;
    devices::check(config)?;
    check_memory(host, config)
}

/// Checks that what the guest boots is there.
pub(super) fn check_boot(config: &DomainConfig) -> Result<()> {
    let boot = config.boot();
    if boot.bootloader.is_some() {
        return Err(DomainError::Unsupported { what: "a bootloader".to_owned() });
    }
    let Some(kernel) = boot.kernel else {
        return Err(DomainError::Senseless { what: "no kernel is configured".to_owned() });
    };
    readable("cannot read the kernel", kernel)?;
    boot.ramdisk.map_or(Ok(()), |ramdisk| readable("cannot read the ramdisk", ramdisk))
}

fn check_kind(config: &DomainConfig) -> Result<()> {
    let unsupported = |what: &str| Err(DomainError::Unsupported { what: what.to_owned() });
    if config.kind() == GuestKind::Hvm {
        return unsupported("an HVM guest");
    }
    if let Some(what) = config.unsupported().first() {
        return unsupported(what);
    }
    if config.name().is_empty() {
        return Err(DomainError::Senseless { what: "the guest has no name".to_owned() });
    }
    Ok(())
}

fn check_memory(host: &Host, config: &DomainConfig) -> Result<()> {
    let info = host.xen.phys_info()?;
    let memory = config.memory_on(info.offers.hap);
    let own_kib = match config.kind() {
        GuestKind::Pv => memory.target_kib,
        GuestKind::Pvh | GuestKind::Hvm => memory.target_kib + memory.shadow_kib,
    };
    let free_kib = info.free_pages.saturating_sub(info.outstanding_pages) * KIB_PER_PAGE;
    let needed_kib = own_kib + SLACK_KIB;
    if needed_kib <= free_kib {
        return Ok(());
    }
    Err(DomainError::NoMemory { needed_mib: needed_kib.div_ceil(1024), free_mib: free_kib / 1024 })
}

fn readable(what: &'static str, path: String) -> Result<()> {
    let path = PathBuf::from(path);
    let is_file = File::open(&path).and_then(|file| file.metadata()).and_then(|metadata| {
        if metadata.is_file() { Ok(()) } else { Err(std::io::ErrorKind::IsADirectory.into()) }
    });
    is_file.map_err(|source| DomainError::Unreadable { what, path, source })
}
