//! A domain's xenstore tree before it has memory.

use super::{home, libxl_home};
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::{Access, Nodes, Permission, Result};
use crate::toolstack::config::{DomainConfig, GuestKind};

/// What the guest writes, and nobody but its host reads.
const GUESTS_OWN: [&str; 11] = [
    "device/suspend/event-channel",
    "control/shutdown",
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "control/sysrq",
    "data",
    "drivers",
    "feature",
    "attr",
    "error",
];
/// What this host knows to do.
const PLATFORM_FEATURES: [&str; 2] = ["multiprocessor-suspend", "xs_reset_watches"];

/// Writes the tree of a new domain, in place of anything that is there, but for what it shares with a
/// domain that it comes from.
pub(super) fn write(
    store: &impl Nodes,
    domid: Domid,
    config: &DomainConfig,
    name: &str,
) -> Result<()> {
    let (home, libxl) = (home(domid), libxl_home(domid));
    let vm = format!("/vm/{}", config.uuid());
    let hosts_own = [Permission { domid: Domid(0), access: Access::None }];
    let guest_reads = [hosts_own[0], Permission { domid, access: Access::Read }];
    let guests_own = [Permission { domid, access: Access::None }];
    let make = |path: &str, permissions: &[Permission]| {
        store.write(path, "")?;
        store.set_permissions(path, permissions)
    };

    store.remove(&home)?;
    make(&home, &guest_reads)?;
    let sharers = sharers(store, domid, &vm)?;
    if sharers.is_empty() {
        store.remove(&vm)?;
        make(&vm, &guest_reads)?;
        store.write(&format!("{vm}/uuid"), config.uuid().to_string())?;
    } else {
        let reads = |&domid: &Domid| Permission { domid, access: Access::Read };
        let all_read: Vec<_> = guest_reads.into_iter().chain(sharers.iter().map(reads)).collect();
        store.set_permissions(&vm, &all_read)?;
    }
    // While a guest moves within a host it is called as it was: it may stay where it is.
    if sharers.is_empty() || !name.ends_with("--incoming") {
        store.write(&format!("{vm}/name"), name)?;
    }
    store.remove(&libxl)?;
    make(&libxl, &hosts_own)?;
    make(&format!("{libxl}/device"), &hosts_own)?;

    store.write(&format!("{home}/vm"), &vm)?;
    store.write(&format!("{home}/name"), name)?;
    for folder in ["cpu", "memory", "device", "control"] {
        make(&format!("{home}/{folder}"), &guest_reads)?;
    }
    for path in GUESTS_OWN {
        make(&format!("{home}/{path}"), &guests_own)?;
    }
    if config.is_driver_domain() {
        for path in ["libxl", "device-model"] {
            make(&format!("{home}/{path}"), &guests_own)?;
        }
    }
    for feature in PLATFORM_FEATURES {
        store.write(&format!("{home}/control/platform-feature-{feature}"), "1")?;
    }
    store.write(&format!("{libxl}/type"), type_word(config.kind()))?;
    // Stock tools look for it though the domain has no device model.
    store.write(&format!("{libxl}/dm-version"), "qemu_xen")
}

/// The other domains of this host that have the guest's UUID: one, while it moves within the host.
fn sharers(store: &impl Nodes, domid: Domid, vm: &str) -> Result<Vec<Domid>> {
    let mut found = Vec::new();
    for other in store.list("/local/domain")?.unwrap_or_default() {
        let Ok(other) = other.parse().map(Domid) else { continue };
        if other != domid && store.read(&format!("{}/vm", home(other)))?.as_deref() == Some(vm) {
            found.push(other);
        }
    }
    Ok(found)
}

fn type_word(kind: GuestKind) -> &'static str {
    match kind {
        GuestKind::Pv => "pv",
        GuestKind::Pvh => "pvh",
        GuestKind::Hvm => "hvm",
    }
}
