//! What a configuration leaves open and a domain must have: the addresses of its interfaces.

use serde_json::{Map, Value};

use super::Result;
use crate::toolstack::config::{DomainConfig, MacAddress};

/// The configuration with the number and address of every interface in it, so that the guest has
/// the same ones after the next move or restart.
pub(super) fn complete(config: &DomainConfig) -> Result<DomainConfig> {
    let nics = config.nics();
    let mut document = config.document().clone();
    let Some(entries) = document.get_mut("nics").and_then(Value::as_array_mut) else {
        return Ok(config.clone());
    };
    for (entry, nic) in entries.iter_mut().filter_map(Value::as_object_mut).zip(&nics) {
        let mac = nic.mac.map_or_else(MacAddress::random, Ok)?;
        set(entry, 0, "devid", nic.devid.into());
        set(entry, 1, "mac", mac.to_string().into());
    }
    let text = Value::Object(document).to_string();
    Ok(DomainConfig::from_json(text.as_bytes())?)
}

/// Sets a key where it is, or puts it at `place` as libxl orders them.
fn set(entry: &mut Map<String, Value>, place: usize, key: &str, value: Value) {
    match entry.get_mut(key) {
        Some(old) => *old = value,
        None => {
            entry.shift_insert(place.min(entry.len()), key.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_get_numbers_and_addresses_that_stay() {
        let text = br#"{"c_info":{"type":"pv"},"b_info":{},
            "nics":[{"bridge":"xenbr0"},{"devid":1,"mac":"00:16:3e:00:00:01"}]}"#;
        let config = DomainConfig::from_json(text).unwrap();
        let complete = complete(&config).unwrap();
        let nics = complete.nics();
        assert_eq!(nics[0].devid, 0);
        assert_eq!(nics[0].mac.unwrap().0[..3], [0x00, 0x16, 0x3e]);
        assert_eq!(nics[1].mac.unwrap().to_string(), "00:16:3e:00:00:01");
        assert_eq!(super::complete(&complete).unwrap(), complete);
    }
}
