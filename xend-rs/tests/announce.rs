//! Announcements as the network sees them: on the far end of a bridge's port, in a network
//! namespace of the test's own. Needs root, as CI has.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use nix::unistd::geteuid;
use xend_rs::toolstack::announce::{Announcement, Mac, announce};

const MAC: Mac = Mac([0x00, 0x16, 0x3e, 0x77, 0x00, 0x65]);

/// Runs in a network namespace with a bridge `br0`, whose port `uplink` has its other end at `wire`,
/// and whose port `vif` has its other end at `guest`.
fn in_a_network(test: fn()) {
    if !geteuid().is_root() {
        eprintln!("left out: needs root for a network namespace");
        return;
    }
    let outcome = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        for command in [
            "link add br0 type bridge forward_delay 0",
            "link add uplink type veth peer name wire",
            "link add vif type veth peer name guest",
            "link set uplink master br0 up",
            "link set vif master br0 up",
            "link set wire up",
            "link set guest up",
            "link set br0 up",
        ] {
            ip(command);
        }
        test();
    });
    outcome.join().expect("the test");
}

fn ip(command: &str) {
    let output = Command::new("ip").args(command.split(' ')).output().expect("`ip` runs");
    assert!(output.status.success(), "ip {command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The frames that come out of one interface.
struct Capture(OwnedFd);

impl Capture {
    fn on(interface: &str) -> Self {
        let address: LinkAddr = getifaddrs()
            .expect("interfaces")
            .filter(|found| found.interface_name == interface)
            .find_map(|found| found.address?.as_link_addr().copied())
            .expect("the interface");
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .expect("a packet socket");
        bind(socket.as_raw_fd(), &address).expect("bound");
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 100_000)).expect("timeout");
        Self(socket)
    }

    /// What comes from an address until `time` after `start`, each frame with the time since then.
    fn frames_of(&self, mac: Mac, start: Instant, time: Duration) -> Vec<(Duration, Vec<u8>)> {
        let mut frames = Vec::new();
        while start.elapsed() < time {
            let mut buffer = [0; 2048];
            if let Ok(length) = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())
                && buffer[6..12] == mac.0
            {
                frames.push((start.elapsed(), buffer[..length].to_vec()));
            }
        }
        frames
    }
}

/// A frame that comes in by an interface's other end.
fn send_from(interface: &Capture, source: Mac, destination: Mac) {
    let frame = [&destination.0[..], &source.0, &[0x88, 0xb5], &[0; 46]].concat();
    send(interface.0.as_raw_fd(), &frame, MsgFlags::empty()).expect("sent");
}

fn announcement(bridge: &str) -> Announcement {
    Announcement {
        bridge: bridge.to_owned(),
        device: None,
        mac: MAC,
        ipv4: vec![Ipv4Addr::new(10, 77, 0, 101)],
        ipv6: vec!["2001:db8::65".parse().expect("an address")],
    }
}

#[test]
fn five_times_four_frames_leave_by_the_uplink_on_time() {
    in_a_network(|| {
        let capture = Capture::on("wire");
        let start = Instant::now();
        let announcing = announce(&[announcement("br0")]);
        assert!(start.elapsed() < Duration::from_millis(40), "it waits: {:?}", start.elapsed());
        let frames = capture.frames_of(MAC, start, Duration::from_millis(900));
        announcing.finish();
        assert_eq!(frames.len(), 20, "{frames:?}");
        for (turn, due_ms) in frames.chunks(4).zip([0, 50, 150, 300, 550]) {
            let kinds: Vec<[u8; 2]> =
                turn.iter().map(|(_, frame)| [frame[12], frame[13]]).collect();
            assert_eq!(kinds, [[0x80, 0x35], [0x08, 0x06], [0x86, 0xdd], [0x86, 0xdd]]);
            let at_ms = turn[0].0.as_millis();
            assert!((due_ms..due_ms + 200).contains(&at_ms), "{at_ms} ms instead of {due_ms}");
        }
        assert_eq!(&frames[1].1[28..32], &[10, 77, 0, 101]);
        assert_eq!(&frames[3].1[22..38], &announcement("br0").ipv6[0].octets());
    });
}

#[test]
fn a_bridge_that_is_not_there_keeps_the_others_from_nothing() {
    in_a_network(|| {
        let capture = Capture::on("wire");
        let start = Instant::now();
        let announcing = announce(&[announcement("nobr0"), announcement("br0")]);
        let frames = capture.frames_of(MAC, start, Duration::from_millis(700));
        announcing.finish();
        assert_eq!(frames.len(), 20);
    });
}

#[test]
fn frames_for_the_guest_reach_it_where_it_is_now() {
    in_a_network(|| {
        let guest = Capture::on("guest");
        let arrives = || {
            let start = Instant::now();
            send_from(&Capture::on("wire"), Mac([2, 0, 0, 0, 0, 1]), MAC);
            guest.frames_of(Mac([2, 0, 0, 0, 0, 1]), start, Duration::from_millis(250)).len() == 1
        };
        // The guest was seen on the other side: the bridge drops what comes for it from there.
        send_from(&Capture::on("wire"), MAC, Mac([0xff; 6]));
        assert!(!arrives(), "a bridge sends nothing back to where it came from");
        announce(&[announcement("br0")]).finish();
        assert!(!arrives(), "the announcement alone tells other switches, not this one");
        let device = Some("vif".to_owned());
        announce(&[Announcement { device, ..announcement("br0") }]).finish();
        assert!(arrives(), "the bridge has learnt");

        // A port learns once its other end is there.
        send_from(&Capture::on("wire"), MAC, Mac([0xff; 6]));
        ip("link set guest down");
        let device = Some("vif".to_owned());
        let announcing = announce(&[Announcement { device, ..announcement("br0") }]);
        thread::sleep(Duration::from_millis(100));
        ip("link set guest up");
        thread::sleep(Duration::from_millis(100));
        assert!(arrives(), "it is told as soon as the port is connected");
        announcing.finish();
    });
}
