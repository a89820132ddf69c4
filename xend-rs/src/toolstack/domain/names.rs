//! Names of domains, which only xenstore knows: `/local/domain/DOMID/name`.

use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::{Nodes, XenstoreError};
use crate::toolstack::Host;
use crate::toolstack::config::Uuid;

/// A domain cannot be found or renamed.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// No domain has this name or id.
    #[error("there is no domain {name}")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Names are unique.
    #[error("the name {name} is taken by {holder}")]
    Taken {
        /// The name.
        name: String,
        /// Who has it.
        holder: Domid,
    },
    /// Somebody has renamed it in between.
    #[error("{domid} is no longer named {expected}")]
    Changed {
        /// The domain.
        domid: Domid,
        /// The name it should have.
        expected: String,
    },
    /// Xen does not say.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// Xenstore does not say.
    #[error(transparent)]
    Xenstore(#[from] XenstoreError),
}

/// Where xenstore has a domain's nodes.
pub fn path(domid: Domid) -> String {
    format!("/local/domain/{}", domid.0)
}

/// A domain's name; `None` for one that has none, or is not there.
pub fn name(host: &Host, domid: Domid) -> Result<Option<String>, XenstoreError> {
    host.store.read(&format!("{}/name", path(domid)))
}

/// The domain of that name, if there is one.
pub fn find_by_name(host: &Host, wanted: &str) -> Result<Option<Domid>, NameError> {
    for domain in host.xen.domains()? {
        if name(host, domain.domid)?.as_deref() == Some(wanted) {
            return Ok(Some(domain.domid));
        }
    }
    Ok(None)
}

/// The domain of that id (if it is all digits) or name.
///
/// # Errors
/// [`NameError::Unknown`] where there is none.
pub fn find(host: &Host, wanted: &str) -> Result<Domid, NameError> {
    let unknown = || NameError::Unknown { name: wanted.to_owned() };
    if !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        let domid = Domid(wanted.parse().map_err(|_| unknown())?);
        return match host.xen.listed_domain(domid)? {
            Some(_) => Ok(domid),
            None => Err(unknown()),
        };
    }
    find_by_name(host, wanted)?.ok_or_else(unknown)
}

/// Gives a domain another name, in both places of xenstore that hold it, or in none. With `from`
/// it has to have that name now.
///
/// # Errors
/// When another domain has the name already, or this one is not there or not named `from`.
pub fn rename(host: &Host, domid: Domid, from: Option<&str>, to: &str) -> Result<(), NameError> {
    host.store.transaction(|transaction| {
        // A domain may be without a name, and so may others.
        let holder = if to.is_empty() { None } else { find_by_name(host, to)? };
        if let Some(holder) = holder.filter(|&holder| holder != domid) {
            return Err(NameError::Taken { name: to.to_owned(), holder });
        }
        let node = format!("{}/name", path(domid));
        if let Some(from) = from
            && transaction.read(&node)?.as_deref() != Some(from)
        {
            return Err(NameError::Changed { domid, expected: from.to_owned() });
        }
        let Some(domain) = host.xen.listed_domain(domid)? else {
            return Err(NameError::Unknown { name: domid.0.to_string() });
        };
        transaction.write(&node, to)?;
        transaction.write(&format!("/vm/{}/name", Uuid(domain.uuid)), to)?;
        Ok(())
    })
}

/// The UUID of a domain.
///
/// # Errors
/// [`NameError::Unknown`] where there is no such domain.
pub fn uuid(host: &Host, domid: Domid) -> Result<Uuid, NameError> {
    match host.xen.listed_domain(domid)? {
        Some(domain) => Ok(Uuid(domain.uuid)),
        None => Err(NameError::Unknown { name: domid.0.to_string() }),
    }
}

/// Fails if a domain other than `besides` has the name.
pub(super) fn require_free(
    host: &Host,
    name: &str,
    besides: Option<Domid>,
) -> Result<(), NameError> {
    require_free_in(&host.store, host, name, besides)
}

/// As [`require_free`], as a part of what is going on in `store`: in a transaction that fails if
/// somebody takes the name meanwhile.
pub(super) fn require_free_in(
    store: &impl Nodes,
    host: &Host,
    name: &str,
    besides: Option<Domid>,
) -> Result<(), NameError> {
    // Looked at, so that a new domain's nodes get in the way of a transaction.
    store.list("/local/domain")?;
    for domain in host.xen.domains()? {
        let holder = domain.domid;
        if Some(holder) != besides
            && store.read(&format!("{}/name", path(holder)))?.as_deref() == Some(name)
        {
            return Err(NameError::Taken { name: name.to_owned(), holder });
        }
    }
    Ok(())
}
