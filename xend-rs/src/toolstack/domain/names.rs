//! Finding domains by name, and renaming them.

use super::{DomainError, Result, home};
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::Nodes;
use crate::toolstack::Host;
use crate::toolstack::config::Uuid;

/// The domain that `what` names: its id in decimal, or its name.
///
/// # Errors
/// [`DomainError::NotFound`] where there is none.
pub fn find(host: &Host, what: &str) -> Result<Domid> {
    let not_found = || DomainError::NotFound { what: what.to_owned() };
    if let Ok(number) = what.parse() {
        let domid = Domid(number);
        return if exists(host, domid)? { Ok(domid) } else { Err(not_found()) };
    }
    with_name(host, what)?.ok_or_else(not_found)
}

/// The name of a domain, if it has one.
pub fn name(host: &Host, domid: Domid) -> Result<Option<String>> {
    Ok(host.store.read(&format!("{}/name", home(domid)))?)
}

/// The UUID of a domain: what its toolstack gave it.
///
/// # Errors
/// [`DomainError::NotFound`] where xenstore does not say.
pub fn uuid(host: &Host, domid: Domid) -> Result<Uuid> {
    let path = host.store.read(&format!("{}/vm", home(domid)))?;
    let uuid = path.as_deref().and_then(|path| path.strip_prefix("/vm/"));
    let uuid = uuid.ok_or_else(|| DomainError::NotFound { what: domid.0.to_string() })?;
    Ok(uuid.parse()?)
}

/// Gives a domain another name, which nobody else may have.
///
/// # Errors
/// [`DomainError::NameTaken`], or [`DomainError::NameChanged`] if its name is not `from`.
pub fn rename(host: &Host, domid: Domid, from: &str, to: &str) -> Result<()> {
    require_free(host, to, Some(domid))?;
    let uuid = uuid(host, domid)?;
    host.store.transaction(|store| {
        let path = format!("{}/name", home(domid));
        let found = store.read(&path)?.unwrap_or_default();
        if found != from {
            return Err(DomainError::NameChanged { domid, expected: from.to_owned(), found });
        }
        store.write(&path, to)?;
        store.write(&format!("/vm/{uuid}/name"), to)?;
        Ok(())
    })
}

/// Fails if a domain other than `besides` has the name.
pub(super) fn require_free(host: &Host, name: &str, besides: Option<Domid>) -> Result<()> {
    match with_name(host, name)? {
        Some(domid) if Some(domid) != besides => {
            Err(DomainError::NameTaken { name: name.to_owned(), domid })
        }
        _ => Ok(()),
    }
}

fn with_name(host: &Host, name: &str) -> Result<Option<Domid>> {
    let ids = host.store.list("/local/domain")?.unwrap_or_default();
    let mut ids: Vec<Domid> = ids.iter().filter_map(|id| id.parse().ok().map(Domid)).collect();
    ids.sort_unstable();
    for domid in ids {
        // Nodes may be left of a domain that is gone.
        if self::name(host, domid)?.as_deref() == Some(name) && exists(host, domid)? {
            return Ok(Some(domid));
        }
    }
    Ok(None)
}

/// Whether Xen has the domain.
pub(super) fn exists(host: &Host, domid: Domid) -> Result<bool> {
    match host.xen.domain_info(domid) {
        Ok(_) => Ok(true),
        Err(HypervisorError::NoSuchDomain { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
