//! Putting a dead domain aside, so that a new one can have its name and identity.

use super::{DomainError, Result, home, names};
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::{Access, Nodes, Permission};
use crate::toolstack::Host;
use crate::toolstack::config::{DomainConfig, Uuid};
use crate::toolstack::userdata::Userdata;

/// Gives a domain another name and another UUID, and its stored configuration with it.
///
/// # Errors
/// If the name is taken, or Xen or xenstored refuses.
pub fn preserve(host: &Host, domid: Domid, config: &DomainConfig, name: &str) -> Result<()> {
    names::require_free(host, name, Some(domid))?;
    let (old, new) = (names::uuid(host, domid)?, Uuid::random()?);
    let vm = format!("/vm/{new}");
    let guest_reads = [
        Permission { domid: Domid(0), access: Access::None },
        Permission { domid, access: Access::Read },
    ];
    host.store.transaction(|store| {
        store.write(&vm, "")?;
        store.set_permissions(&vm, &guest_reads)?;
        store.write(&format!("{vm}/uuid"), new.to_string())?;
        store.write(&format!("{vm}/name"), name)?;
        store.write(&format!("{}/vm", home(domid)), &vm)?;
        store.write(&format!("{}/name", home(domid)), name)?;
        Ok::<_, DomainError>(())
    })?;
    host.xen.set_uuid(domid, new.0)?;
    let mut config = config.clone();
    config.set_name(name);
    config.set_uuid(new);
    Userdata::lock(domid, new)?.store(&config)?;
    Ok(Userdata::lock(domid, old)?.remove_all()?)
}
