//! Loading what a domain boots.

use std::path::Path;

use super::{DomainError, Result, pvh_acpi};
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::host::build::{Boot, Size};
use crate::hypervisor::{RingFrames, Rings};
use crate::toolstack::Host;
use crate::toolstack::config::{DomainConfig, GuestKind};

/// Fills a new domain's memory with its kernel.
pub(super) fn load(
    host: &Host,
    domid: Domid,
    config: &DomainConfig,
    rings: &Rings,
) -> Result<RingFrames> {
    let wanted = config.boot();
    let kernel = wanted
        .kernel
        .as_deref()
        .ok_or_else(|| DomainError::Senseless { what: "no kernel is configured".to_owned() })?;
    let cmdline = wanted.cmdline.as_deref().unwrap_or_default();
    let ramdisk = wanted.ramdisk.as_deref().map(Path::new);
    let boot = Boot { kernel: Path::new(kernel), ramdisk, cmdline, features: None };
    let memory = config.memory();
    let size = Size {
        max_kib: memory.max_kib,
        target_kib: memory.target_kib,
        max_vcpus: config.max_vcpus(),
        claim: config.claims_memory(),
    };
    let frames = match config.kind() {
        GuestKind::Pv => host.xen.build_pv(domid, &boot, &size, rings),
        GuestKind::Pvh | GuestKind::Hvm => {
            let online = config.online_vcpus();
            let acpi = |kernel| pvh_acpi::tables(size.max_vcpus, &online, kernel);
            host.xen.build_pvh(domid, &boot, &size, rings, acpi)
        }
    };
    frames.map_err(|source| DomainError::Unbootable { kernel: kernel.to_owned(), source })
}
