//! Telling the network where a guest is now.
//!
//! A guest that has moved keeps its addresses, but switches still send its frames to the host it
//! left, until they see a frame from it here. The destination sends such frames in its name: a
//! RARP request, which says no more than "this MAC address is here", an ARP announcement for each
//! known IPv4 address, and an unsolicited neighbour advertisement for each known IPv6 address and
//! for the link-local one that follows from the MAC address. Frames get lost, above all while links
//! settle, so they are sent several times within the first half second.
//!
//! They leave through the vif's bridge, as the host's own. A Linux bridge learns no address from
//! that, and drops the guest's frames that come by the port where it saw the guest while that was
//! elsewhere: so it is told which port the guest is at. Open vSwitch, which does learn, takes the
//! announcement for a guest on the bridge itself until the guest's first own frame.

mod frames;
mod neighbour;
mod socket;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use frames::{Mac, link_local};

use neighbour::Port;
use socket::{NetworkError, RawSocket};

/// When frames are sent, from the start.
const SCHEDULE: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(300),
    Duration::from_millis(550),
];

/// How often a bridge is told of a port that is not connected yet, and for how long. After that the
/// guest's own first frame tells it.
const LEARN_PERIOD: Duration = Duration::from_millis(10);
const LEARN_FOR: Duration = Duration::from_secs(3);

/// More addresses of one vif than this are left out: a guest publishes as many as it likes.
const MAX_ADDRESSES: usize = 32;

/// One vif of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The bridge, or other interface of this host, that the vif is connected to.
    pub bridge: String,
    /// The vif's device on this host, where it is a port of that bridge: `vif5.0`.
    pub device: Option<String>,
    /// The guest's MAC address.
    pub mac: Mac,
    /// The guest's IPv4 addresses on it, as far as they are known.
    pub ipv4: Vec<Ipv4Addr>,
    /// The same for IPv6. The link-local address that follows from the MAC address is announced
    /// anyway.
    pub ipv6: Vec<Ipv6Addr>,
}

impl Announcement {
    /// The frames that say it.
    fn frames(&self) -> Vec<Vec<u8>> {
        let mut frames = vec![frames::rarp(self.mac)];
        let ipv4 = self.ipv4.iter().filter(|ip| is_unicast_v4(**ip)).take(MAX_ADDRESSES);
        frames.extend(ipv4.map(|ip| frames::arp_announcement(self.mac, *ip)));
        let mut ipv6 = vec![frames::link_local(self.mac)];
        for ip in self.ipv6.iter().filter(|ip| is_unicast_v6(**ip)) {
            if ipv6.len() <= MAX_ADDRESSES && !ipv6.contains(ip) {
                ipv6.push(*ip);
            }
        }
        frames.extend(ipv6.iter().map(|ip| frames::neighbour_advertisement(self.mac, *ip)));
        frames
    }
}

/// Announcements being made, on a thread of their own.
#[derive(Debug)]
pub struct Announcing(Option<JoinHandle<()>>);

impl Announcing {
    /// Waits until the last one is sent, half a second after the first, and the bridges know the
    /// guest, which takes three seconds at most. A process that ends before takes the rest with it.
    pub fn finish(self) {
        if let Some(thread) = self.0
            && thread.join().is_err()
        {
            log::error!("announcing the guest ended in a panic");
        }
    }
}

/// Sends announcements at once and four times more within 550 ms, and returns before the first.
///
/// What fails is logged: a guest that is not announced is found a little later, when it first
/// sends something.
pub fn announce(announcements: &[Announcement]) -> Announcing {
    let owned = announcements.to_vec();
    let thread = thread::Builder::new().name("announce".to_owned()).spawn(move || run(&owned));
    match thread {
        Ok(thread) => Announcing(Some(thread)),
        Err(error) => {
            log::warn!("cannot announce the guest to the network: {error}");
            Announcing(None)
        }
    }
}

fn run(announcements: &[Announcement]) {
    let started = Instant::now();
    let mut ways: Vec<Way<'_>> = Vec::new();
    for announcement in announcements {
        match RawSocket::open(&announcement.bridge) {
            Ok(socket) => ways.push(Way { announcement, socket, has_failed: false }),
            Err(error) => warn(announcement, &error),
        }
    }
    let mut ports = announcements.iter().filter_map(port).collect();
    for moment in SCHEDULE {
        while started.elapsed() < moment {
            tell_bridges(&mut ports);
            let rest = moment.saturating_sub(started.elapsed());
            thread::sleep(if ports.is_empty() { rest } else { rest.min(LEARN_PERIOD) });
        }
        ways.iter_mut().for_each(Way::tell);
    }
    while !ports.is_empty() && started.elapsed() < LEARN_FOR {
        tell_bridges(&mut ports);
        thread::sleep(LEARN_PERIOD);
    }
}

/// The way that a vif is announced.
struct Way<'a> {
    announcement: &'a Announcement,
    socket: RawSocket,
    /// That has been said, and need not be said for each frame.
    has_failed: bool,
}

impl Way<'_> {
    fn tell(&mut self) {
        let failed = send_all(&self.announcement.frames(), |frame| self.socket.send(frame));
        if let Some(error) = failed
            && !self.has_failed
        {
            warn(self.announcement, &error);
            self.has_failed = true;
        }
    }
}

/// Sends each of these frames, for what keeps one back may be over by the next: a full queue, a link
/// that just comes up. Gives the first error.
fn send_all<E>(frames: &[Vec<u8>], send: impl Fn(&[u8]) -> Result<(), E>) -> Option<E> {
    frames.iter().fold(None, |first, frame| first.or(send(frame).err()))
}

fn port(announcement: &Announcement) -> Option<(&Announcement, Port)> {
    match Port::open(announcement.device.as_ref()?) {
        Ok(port) => Some((announcement, port)),
        Err(error) => {
            warn(announcement, &error);
            None
        }
    }
}

/// Tells the bridges of these ports, and forgets the ones that know it now. A port learns nothing
/// before the guest has connected its end, so a failure is nothing to speak of.
fn tell_bridges(ports: &mut Vec<(&Announcement, Port)>) {
    ports.retain(|(announcement, port)| port.learn(announcement.mac).is_err());
}

fn warn(announcement: &Announcement, error: &NetworkError) {
    log::warn!(
        "cannot announce {} on {}: {}",
        announcement.mac,
        announcement.bridge,
        crate::error_line::error_line(error)
    );
}

fn is_unicast_v4(ip: Ipv4Addr) -> bool {
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_broadcast())
}

fn is_unicast_v6(ip: Ipv6Addr) -> bool {
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(ipv4: &[&str], ipv6: &[&str]) -> Announcement {
        Announcement {
            bridge: "br0".to_owned(),
            device: None,
            mac: Mac([0x00, 0x16, 0x3e, 0x77, 0x00, 0x65]),
            ipv4: ipv4.iter().map(|ip| ip.parse().expect("an address")).collect(),
            ipv6: ipv6.iter().map(|ip| ip.parse().expect("an address")).collect(),
        }
    }

    #[test]
    fn every_address_has_its_frame_and_the_link_local_one_comes_once() {
        assert_eq!(announcement(&[], &[]).frames().len(), 2);
        let frames =
            announcement(&["10.0.0.1", "10.0.0.2"], &["fe80::216:3eff:fe77:65", "2001:db8::1"])
                .frames();
        assert_eq!(frames.len(), 1 + 2 + 2);
    }

    #[test]
    fn a_frame_that_cannot_be_sent_keeps_no_other_back() {
        let frames = [vec![0], vec![1], vec![2], vec![3]];
        let tried = std::cell::RefCell::new(Vec::new());
        let failed = send_all(&frames, |frame| {
            tried.borrow_mut().push(frame[0]);
            if frame[0] % 2 == 1 { Err(frame[0]) } else { Ok(()) }
        });
        assert_eq!(failed, Some(1));
        assert_eq!(tried.into_inner(), [0, 1, 2, 3]);
    }

    #[test]
    fn addresses_that_no_guest_can_have_are_left_out() {
        let frames = announcement(
            &["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"],
            &["::", "::1", "ff02::1"],
        )
        .frames();
        assert_eq!(frames.len(), 2);
    }

    #[test]
    fn a_guest_with_endless_addresses_has_some_announced() {
        let mut many = announcement(&[], &[]);
        many.ipv4 = (1..=500u32).map(|n| Ipv4Addr::from(0x0a00_0000 + n)).collect();
        many.ipv6 = (1..=500u128).map(|n| Ipv6Addr::from((0x2001_0db8 << 96) + n)).collect();
        assert_eq!(many.frames().len(), 2 + 2 * MAX_ADDRESSES);
    }
}
