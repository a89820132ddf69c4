//! Telling the network that a guest is here now.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::toolstack::Host;
use crate::toolstack::announce::{Announcement, Mac};
use crate::toolstack::config::Nic;
use crate::toolstack::domain;

/// The bridge of an interface that names none.
const DEFAULT_BRIDGE: &str = "xenbr0";

/// What is to be told of all interfaces of a guest.
pub(super) fn announcements(host: &Host, domid: Domid) -> Vec<Announcement> {
    let nics = match domain::stored_config(host, domid) {
        Ok(config) => config.map(|config| config.nics()).unwrap_or_default(),
        Err(error) => {
            log::warn!("{domid} is not announced: {}", error_line(&error));
            return Vec::new();
        }
    };
    nics.iter().filter_map(|nic| announcement(domid, nic)).collect()
}

fn announcement(domid: Domid, nic: &Nic) -> Option<Announcement> {
    let words = nic.ip.iter().flat_map(|ip| ip.split([' ', ','])).filter(|word| !word.is_empty());
    // An address may come with the length of its prefix.
    let addresses: Vec<_> = words.map(|word| word.split('/').next().unwrap_or(word)).collect();
    let device = nic.ifname.clone().unwrap_or_else(|| format!("vif{}.{}", domid.0, nic.devid));
    Some(Announcement {
        bridge: nic.bridge.clone().unwrap_or_else(|| DEFAULT_BRIDGE.to_owned()),
        device: (nic.backend_domid == 0 && nic.backend_name.is_none()).then_some(device),
        mac: Mac(nic.mac?.0),
        ipv4: addresses.iter().filter_map(|a| a.parse::<Ipv4Addr>().ok()).collect(),
        ipv6: addresses.iter().filter_map(|a| a.parse::<Ipv6Addr>().ok()).collect(),
    })
}
