//! The configuration that is stored for a domain, brought up to what is the case now.

use serde_json::{Map, Value};

use super::{Result, home, names};
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::Nodes;
use crate::toolstack::Host;
use crate::toolstack::config::DomainConfig;
use crate::toolstack::userdata::Userdata;

/// The configuration of a domain, with its present name and memory, as a restart is to have it.
/// `None` where none is stored.
///
/// # Errors
/// If it cannot be read.
pub fn stored_config(host: &Host, domid: Domid) -> Result<Option<DomainConfig>> {
    let uuid = names::uuid(host, domid)?;
    let Some(mut config) = Userdata::lock(domid, uuid)?.config()? else { return Ok(None) };
    if let Some(name) = names::name(host, domid)? {
        config.set_name(&name);
    }
    let number = |key: &str| -> Result<Option<u64>> {
        let text = host.store.read(&format!("{}/memory/{key}", home(domid)))?;
        Ok(text.and_then(|text| text.parse().ok()))
    };
    let (target, max) = (number("target")?, number("static-max")?);
    let mut document = config.document().clone();
    if let Some(info) = document.get_mut("b_info").and_then(Value::as_object_mut) {
        let video_kib = config.memory().video_kib;
        replace(info, "target_memkb", target.map(|kib| kib + video_kib));
        replace(info, "max_memkb", max);
    }
    Ok(Some(DomainConfig::from_json(Value::Object(document).to_string().as_bytes())?))
}

fn replace(info: &mut Map<String, Value>, key: &str, value: Option<u64>) {
    if let (Some(place), Some(value)) = (info.get_mut(key), value) {
        *place = value.into();
    }
}
