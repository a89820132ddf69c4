//! The specification of a network interface, `mac=00:16:3e:01:02:03,bridge=xenbr0`.

use serde_json::Value;

use super::super::tree::Object;
use super::super::types::MacAddress;
use super::super::{ConfigError, NicDefaults, Warning};
use super::rate;
use crate::toolstack::xlcfg::Place;

/// Keys whose value goes into the document as it is.
const TEXTS: [(&str, &str); 8] = [
    ("bridge", "bridge"),
    ("gatewaydev", "gatewaydev"),
    ("netdev", "gatewaydev"),
    ("ip", "ip"),
    ("script", "script"),
    ("backend", "backend_domname"),
    ("vifname", "ifname"),
    ("model", "model"),
];

/// Reads one specification, the `index`th, into the object that libxl makes of it.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn parse(
    specification: &str,
    index: usize,
    defaults: &NicDefaults,
    place: &Place,
    warnings: &mut Vec<Warning>,
) -> Result<Object, String> {
    let mut nic = Object::new();
    nic.insert("devid".to_owned(), index.into());
    for (key, value) in [
        ("script", &defaults.script),
        ("bridge", &defaults.bridge),
        ("gatewaydev", &defaults.gatewaydev),
        ("backend_domname", &defaults.backend),
    ] {
        if let Some(value) = value {
            nic.insert(key.to_owned(), value.as_str().into());
        }
    }
    let parameters = specification.split(',').filter(|parameter| !parameter.is_empty());
    for parameter in parameters {
        let parameter = parameter.trim_start_matches(' ');
        let mut warn = |message: &str| {
            warnings.push(Warning::new(place, message));
        };
        match parameter.split_once('=') {
            Some(("accel", _)) => warn("vif: accel has no effect"),
            Some(("netdev", _)) => warn("vif: netdev is deprecated, gatewaydev is its name now"),
            _ => {}
        }
        take(&mut nic, parameter)?;
    }
    Ok(nic)
}

fn take(nic: &mut Object, parameter: &str) -> Result<(), String> {
    let Some((key, value)) = parameter.split_once('=') else {
        let trusted = match parameter {
            "trusted" => "True",
            "untrusted" => "False",
            // Blanks at the end of a list of parameters.
            "" => return Ok(()),
            _ => return Err(format!("unknown parameter '{parameter}'")),
        };
        nic.insert("trusted".to_owned(), trusted.into());
        return Ok(());
    };
    if let Some((_, name)) = TEXTS.iter().find(|(known, _)| *known == key) {
        nic.insert((*name).to_owned(), value.into());
        return Ok(());
    }
    let (name, value): (_, Value) = match key {
        "mac" => {
            let mac: MacAddress =
                value.parse().map_err(|error: ConfigError| format!("mac: {error}"))?;
            ("mac", mac.to_string().into())
        }
        "type" if matches!(value, "vif" | "ioemu") => {
            ("nictype", if value == "vif" { "vif" } else { "vif_ioemu" }.into())
        }
        "type" => return Err(format!("unknown value for type: '{value}' (vif or ioemu)")),
        "rate" => {
            let rate = rate::parse(value)?;
            nic.insert("rate_interval_usecs".to_owned(), rate.interval_us.into());
            ("rate_bytes_per_interval", rate.bytes_per_interval.into())
        }
        "devid" => ("devid", number(key, value, i32::MAX.unsigned_abs())?.into()),
        "mtu" => ("mtu", number(key, value, 65535)?.into()),
        "accel" => return Ok(()),
        _ if key == "forwarddev" || key.starts_with("colo_") => {
            return Err(format!("{key}: COLO is not supported"));
        }
        _ => return Err(format!("unknown parameter '{parameter}'")),
    };
    nic.insert(name.to_owned(), value);
    Ok(())
}

fn number(key: &str, value: &str, max: u32) -> Result<u32, String> {
    let number = value.parse().ok().filter(|number| *number <= max);
    number.ok_or_else(|| format!("{key}: '{value}' is not a number up to {max}"))
}
