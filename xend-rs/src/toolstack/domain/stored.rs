//! The configuration that is stored for a domain, brought up to what is the case now, and the one that is
//! to take its place.

use super::{Result, config_from_text, home, names};
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::Nodes;
use crate::toolstack::Host;
use crate::toolstack::config::DomainConfig;
use crate::toolstack::userdata::Userdata;

/// The configuration of a domain, with its present name and memory. `None` where none is stored.
///
/// # Errors
/// If it cannot be read.
pub fn stored_config(host: &Host, domid: Domid) -> Result<Option<DomainConfig>> {
    let uuid = names::uuid(host, domid)?;
    let Some(mut config) = Userdata::lock(domid, uuid)?.config()? else { return Ok(None) };
    if let Some(name) = names::name(host, domid)? {
        config.set_name(&name);
    }
    let kib = |key: &str| -> Result<Option<u64>> {
        let text = host.store.read(&format!("{}/memory/{key}", home(domid)))?;
        Ok(text.and_then(|text| text.parse().ok()))
    };
    if let (Some(max_kib), Some(target_kib)) = (kib("static-max")?, kib("target")?) {
        config.set_memory(max_kib, target_kib + config.memory().video_kib);
    }
    Ok(Some(config))
}

/// What `config-update` left for the next time that the domain is started, if anything, as `create`
/// would read it.
///
/// # Errors
/// If it cannot be read, or is no configuration.
pub fn updated_config(host: &Host, domid: Domid) -> Result<Option<DomainConfig>> {
    let uuid = names::uuid(host, domid)?;
    let text = Userdata::lock(domid, uuid)?.text()?;
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let (config, warnings) = config_from_text(host, "<updated>", &text)?;
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    Ok(Some(config))
}
