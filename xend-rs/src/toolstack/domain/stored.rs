//! The configuration that is stored for a domain, brought up to what is the case now.

use super::{DomainError, Result, home, names};
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::Nodes;
use crate::toolstack::Host;
use crate::toolstack::config::DomainConfig;
use crate::toolstack::userdata::Userdata;
use crate::toolstack::xlcfg::Settings;

/// The configuration of a domain, with its present name and memory, as a restart is to have it.
/// `None` where none is stored. What `config-update` left takes the place of what it started with.
///
/// # Errors
/// If it cannot be read.
pub fn stored_config(host: &Host, domid: Domid) -> Result<Option<DomainConfig>> {
    let uuid = names::uuid(host, domid)?;
    let files = Userdata::lock(domid, uuid)?;
    if let Some(text) = files.text()?.filter(|text| !text.is_empty()) {
        return from_text(&text).map(Some);
    }
    let Some(mut config) = files.config()? else { return Ok(None) };
    drop(files);
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

fn from_text(text: &[u8]) -> Result<DomainConfig> {
    let settings = Settings::parse("<updated>", text)
        .map_err(|error| DomainError::Senseless { what: error.to_string() })?;
    let (config, warnings) = DomainConfig::from_xlcfg(&settings)?;
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    Ok(config)
}
