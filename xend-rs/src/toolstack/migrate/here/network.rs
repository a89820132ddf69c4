//! Telling the network that a guest is here now.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::toolstack::Host;
use crate::toolstack::announce::{self, Announcement, Announcing, Mac};
use crate::toolstack::config::Nic;
use crate::toolstack::domain;

/// The bridge of an interface that names none.
const DEFAULT_BRIDGE: &str = "xenbr0";
/// How long a guest may take to connect its interfaces.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is looked at meanwhile: what passes unseen is time that the guest is not reached.
const CONNECT_CHECK: Duration = Duration::from_millis(4);

/// What is being told, on threads of their own.
#[derive(Debug)]
pub(super) enum Announced {
    /// The network.
    Network(Announcing),
    /// This host's bridges.
    Bridges(JoinHandle<()>),
}

impl Announced {
    pub(super) fn finish(self) {
        match self {
            Self::Network(announcing) => announcing.finish(),
            Self::Bridges(thread) => {
                if thread.join().is_err() {
                    log::error!("telling the bridges ended in a panic");
                }
            }
        }
    }
}

/// Starts telling of all interfaces of a guest.
pub(super) fn announce(host: &Host, domid: Domid) -> Vec<Announced> {
    let nics = match domain::stored_config(host, domid) {
        Ok(config) => config.map(|config| config.nics()).unwrap_or_default(),
        Err(error) => {
            log::warn!("{domid} is not announced: {}", error_line(&error));
            return Vec::new();
        }
    };
    if nics.is_empty() {
        return Vec::new();
    }
    let announcements: Vec<_> = nics.iter().filter_map(announcement).collect();
    let ports: Vec<_> = nics.iter().filter_map(|nic| port(domid, nic)).collect();
    vec![
        Announced::Network(announce::announce(&announcements)),
        Announced::Bridges(thread::spawn(move || tell_bridges(ports))),
    ]
}

fn announcement(nic: &Nic) -> Option<Announcement> {
    let words = nic.ip.iter().flat_map(|ip| ip.split([' ', ','])).filter(|word| !word.is_empty());
    // An address may come with the length of its prefix.
    let addresses: Vec<_> = words.map(|word| word.split('/').next().unwrap_or(word)).collect();
    Some(Announcement {
        bridge: nic.bridge.clone().unwrap_or_else(|| DEFAULT_BRIDGE.to_owned()),
        mac: Mac(nic.mac?.0),
        ipv4: addresses.iter().filter_map(|a| a.parse::<Ipv4Addr>().ok()).collect(),
        ipv6: addresses.iter().filter_map(|a| a.parse::<Ipv6Addr>().ok()).collect(),
    })
}

/// The interface in Dom0, and the address behind it.
fn port(domid: Domid, nic: &Nic) -> Option<(String, Mac)> {
    let device = nic.ifname.clone().unwrap_or_else(|| format!("vif{}.{}", domid.0, nic.devid));
    Some((device, Mac(nic.mac?.0)))
}

/// As soon as the guest has connected them, for before that a bridge learns nothing.
fn tell_bridges(mut ports: Vec<(String, Mac)>) {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    while !ports.is_empty() && Instant::now() < deadline {
        ports.retain(|(device, mac)| announce::learn(device, *mac).is_err());
        thread::sleep(CONNECT_CHECK);
    }
    for (device, _) in ports {
        log::warn!("{device} has not been connected by the guest");
    }
}
