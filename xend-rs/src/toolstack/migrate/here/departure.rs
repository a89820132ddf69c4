//! A guest of this host that is to leave: can it, and what does it need?

use serde_json::Value;

use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::migration::Tracking;
use crate::migration::tracker::Outlook;
use crate::stream::xend::GuestNeeds;
use crate::toolstack::Host;
use crate::toolstack::config::{ConfigError, DomainConfig, GuestKind};
use crate::toolstack::domain::{self, DomainError};
use crate::toolstack::journal::Identity;

/// Where a guest's configuration is taken from.
#[derive(Clone, Debug, Default)]
pub struct ConfigSource {
    /// In place of the stored one.
    pub instead: Option<DomainConfig>,
    /// Ask for the same domain id.
    pub keep_domid: bool,
}

/// The guest cannot leave.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// There is nothing that another host could make it from.
    #[error("no configuration is stored for it")]
    NoConfig,
    /// The configuration cannot be read or changed.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// The same, of one that was given.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Xen does not say what it needs.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// It has something that does not move.
    #[error("it cannot be migrated: {}", .0.join("; "))]
    Immovable(Vec<String>),
}

/// The configuration that goes with the guest, and who it is.
///
/// # Errors
/// If there is none.
pub fn prepare(
    host: &Host,
    domid: Domid,
    source: &ConfigSource,
) -> Result<(DomainConfig, Identity, GuestNeeds), PrepareError> {
    let live = domain::live_config(host, domid)?;
    let mut config = match &source.instead {
        Some(config) => config.clone(),
        None => live.ok_or(PrepareError::NoConfig)?,
    };
    let uuid = domain::uuid(host, domid).map_err(DomainError::from)?;
    if let Some(name) = domain::name(host, domid).map_err(DomainError::from)? {
        config.set_name(&name);
    }
    config.set_uuid(uuid);
    let config = with_domid(&config, source.keep_domid.then_some(domid))?;
    let identity = Identity { name: config.name().to_owned(), uuid: uuid.to_string() };
    let needs = needs(host, domid, &config)?;
    Ok((config, identity, needs))
}

/// Looks for what keeps the guest here, and changes nothing. If nothing does: how its writes are
/// going to be tracked, which for a guest that is stopped first is [`Tracking::None`].
///
/// # Errors
/// [`PrepareError::Immovable`] with all of it.
pub fn movable(
    host: &Host,
    domid: Domid,
    config: &DomainConfig,
    tracking: Tracking,
) -> Result<Outlook, PrepareError> {
    let mut problems = config.immovable();
    if config.kind() == GuestKind::Hvm {
        problems.push("HVM guests are not moved yet: use stock xl".to_owned());
    }
    if host.xen.has_vnuma(domid)? {
        problems.push("it has a virtual NUMA topology".to_owned());
    }
    let support = host.xen.log_dirty_support(config.kind() != GuestKind::Pv)?;
    match Outlook::new(tracking, support) {
        Ok(outlook) if problems.is_empty() => return Ok(outlook),
        Ok(_) => {}
        Err(missing) => problems.push(missing.to_string()),
    }
    Err(PrepareError::Immovable(problems))
}

fn needs(host: &Host, domid: Domid, config: &DomainConfig) -> Result<GuestNeeds, PrepareError> {
    let info = host.xen.domain_info(domid)?;
    let tsc = host.xen.tsc_info(domid)?;
    let policy = host.xen.cpu_policy(domid)?;
    Ok(GuestNeeds {
        total_pages: info.total_pages,
        max_pages: info.max_pages,
        paging_kib: if info.is_hvm { config.memory().shadow_kib } else { 0 },
        tsc_mode: tsc.mode,
        tsc_khz: tsc.khz,
        xen: host.xen.version(),
        cpuid: policy.leaves,
        msrs: policy.msrs,
    })
}

/// Asks for a domain id, or for any.
fn with_domid(config: &DomainConfig, domid: Option<Domid>) -> Result<DomainConfig, ConfigError> {
    let mut document = config.document().clone();
    if let Some(info) = document.get_mut("c_info").and_then(Value::as_object_mut) {
        match domid {
            Some(domid) => {
                info.insert("domid".to_owned(), domid.0.into());
            }
            None => {
                info.shift_remove("domid");
            }
        }
    }
    DomainConfig::from_json(Value::Object(document).to_string().as_bytes())
}
