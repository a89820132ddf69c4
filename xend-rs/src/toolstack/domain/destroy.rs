//! Taking a domain out of the world with all that was made for it.

use std::fs;
use std::io;

use super::{DomainError, NameError, Result, domid_history, home, libxl_home, names};
use crate::error_line::error_line;
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::Nodes;
use crate::toolstack::Host;
use crate::toolstack::config::Uuid;
use crate::toolstack::devices;
use crate::toolstack::userdata::Userdata;

/// The domain that this runs in, and everything with it.
const OWN: Domid = Domid(0);
/// Files that a device model of stock tools leaves.
const DEVICE_MODEL_FILES: [&str; 2] = ["/var/lib/xen/qemu-save.", "/var/lib/xen/qemu-resume."];

/// Destroys a domain: its devices with their scripts, its nodes, its stored configuration, itself.
/// What fails on the way is logged, and the rest is done.
///
/// # Errors
/// [`NameError::Unknown`], or what Xen says if the domain itself does not go.
pub fn destroy(host: &Host, domid: Domid) -> Result<()> {
    if domid == OWN {
        return Err(DomainError::Senseless { what: "this host's own domain stays".to_owned() });
    }
    match host.xen.pause(domid) {
        Err(HypervisorError::NoSuchDomain { .. }) => {
            return Err(NameError::Unknown { name: domid.0.to_string() }.into());
        }
        other => note(other),
    }
    note(devices::take_down_all(host, domid));
    let uuid = names::uuid(host, domid).ok();
    note(remove_nodes(host, domid, uuid));
    if let Some(uuid) = uuid {
        note(Userdata::lock(domid, uuid).and_then(|files| files.remove_all()));
    }
    note(remove_device_model_files(domid));
    note(domid_history::mark_recent(domid));
    host.xen.destroy_domain(domid)?;
    Ok(())
}

/// What a domain has that only stock xl takes out of the world, in words: above all a device model,
/// which would stay behind.
///
/// # Errors
/// xenstored's.
pub fn stocks_part(host: &Host, domid: Domid) -> Result<Option<String>> {
    let model = format!("{}/image/device-model-pid", home(domid));
    let has_model = host.store.read_bytes(&model)?.is_some();
    let backend = devices::unknown_backend(&host.store, domid)?;
    Ok(only_stocks(is_hvm_of_stock(host, domid)?, has_model, backend))
}

/// Whether a domain is an HVM guest, which only stock tools make, and which has a device model.
///
/// # Errors
/// xenstored's.
pub fn is_hvm_of_stock(host: &Host, domid: Domid) -> Result<bool> {
    let kind = host.store.read(&format!("{}/type", libxl_home(domid)))?;
    Ok(kind.as_deref() == Some("hvm"))
}

fn only_stocks(is_hvm: bool, has_model: bool, backend: Option<String>) -> Option<String> {
    if is_hvm || has_model {
        return Some("a device model".to_owned());
    }
    backend.map(|path| format!("the backend {path}"))
}

fn remove_nodes(host: &Host, domid: Domid, uuid: Option<Uuid>) -> Result<()> {
    if let Some(uuid) = uuid
        && !is_shared(host, domid, uuid)?
    {
        host.store.remove(&format!("/vm/{uuid}"))?;
    }
    host.store.remove(&home(domid))?;
    host.store.remove(&libxl_home(domid))?;
    Ok(())
}

/// Whether another domain of this host has the same UUID: one that was moved here from here.
fn is_shared(host: &Host, domid: Domid, uuid: Uuid) -> Result<bool> {
    for other in host.store.list("/local/domain")?.unwrap_or_default() {
        let Ok(other) = other.parse().map(Domid) else { continue };
        if other != domid && names::uuid(host, other).is_ok_and(|others| others == uuid) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove_device_model_files(domid: Domid) -> Result<()> {
    for prefix in DEVICE_MODEL_FILES {
        let path = format!("{prefix}{}", domid.0);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(DomainError::History {
                    operation: "remove",
                    path: path.into(),
                    source,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn note<E: std::error::Error + 'static>(outcome: std::result::Result<(), E>) {
    if let Err(error) = outcome {
        log::warn!("{}", error_line(&error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_behind_is_named() {
        let qdisk = || Some("/local/domain/0/backend/qdisk/5/51712".to_owned());
        let model = Some("a device model".to_owned());
        assert_eq!(only_stocks(true, false, None), model);
        assert_eq!(only_stocks(false, true, qdisk()), model);
        let told = only_stocks(false, false, qdisk());
        assert_eq!(told.as_deref(), Some("the backend /local/domain/0/backend/qdisk/5/51712"));
        assert_eq!(only_stocks(false, false, None), None);
    }
}
