//! A virtual network interface.

use super::hotplug::script_path;
use super::{Address, Device, DeviceError, Kind};
use crate::hypervisor::types::Domid;
use crate::toolstack::config::Nic;

/// The packet size that libxl takes for what everybody expects.
const DEFAULT_MTU_BYTES: u32 = 1500;
/// The bridge where none is named.
pub(super) const DEFAULT_BRIDGE: &str = "xenbr0";
/// The script where none is named.
pub(super) const DEFAULT_SCRIPT: &str = "vif-bridge";

/// What is written for a network interface. It has an address by now.
pub(in crate::toolstack) fn vif(
    domid: Domid,
    backend: Domid,
    nic: &Nic,
) -> Result<Device, DeviceError> {
    let label = label(nic);
    let mac = nic.mac.ok_or_else(|| DeviceError::Unusable {
        device: label.clone(),
        reason: "it has no address".to_owned(),
    })?;
    let mtu_bytes = nic.mtu_bytes.unwrap_or(DEFAULT_MTU_BYTES);
    let text = str::to_owned;
    let script = script_path(nic.script.as_deref().unwrap_or(DEFAULT_SCRIPT));
    let mut entries = vec![
        ("frontend-id", domid.0.to_string()),
        ("online", text("1")),
        ("state", text("1")),
        ("script", script),
    ];
    if let Some(name) = &nic.ifname {
        entries.push(("vifname", name.clone()));
    }
    entries.push(("mac", mac.to_string()));
    if let Some(ip) = &nic.ip {
        entries.push(("ip", ip.clone()));
    }
    if let Some(gateway) = &nic.gatewaydev {
        entries.push(("gatewaydev", gateway.clone()));
    }
    if let Some(rate) = nic.rate.filter(|rate| rate.interval_us > 0) {
        entries.push(("rate", format!("{},{}", rate.bytes_per_interval, rate.interval_us)));
    }
    if mtu_bytes != DEFAULT_MTU_BYTES {
        entries.push(("mtu", mtu_bytes.to_string()));
    }
    entries.extend([
        ("bridge", text(nic.bridge.as_deref().unwrap_or(DEFAULT_BRIDGE))),
        ("handle", nic.devid.to_string()),
        ("type", text("vif")),
        // The backend waits for the script before it connects.
        ("hotplug-status", String::new()),
    ]);
    let frontend = vec![
        ("backend-id", backend.0.to_string()),
        ("state", text("1")),
        ("handle", nic.devid.to_string()),
        ("mac", mac.to_string()),
        ("trusted", text(if nic.trusted.unwrap_or(true) { "1" } else { "0" })),
    ];
    Ok(Device {
        address: Address { kind: Kind::Vif, domid, devid: nic.devid, backend },
        label,
        backend: entries,
        frontend,
        frontend_read_only: vec![("mtu", mtu_bytes.to_string())],
    })
}

/// What an administrator calls it.
pub(super) fn label(nic: &Nic) -> String {
    match nic.mac {
        Some(mac) => format!("vif {} ({mac})", nic.devid),
        None => format!("vif {}", nic.devid),
    }
}
