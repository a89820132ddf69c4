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
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use nix::unistd::geteuid;
use xend_rs::toolstack::announce::{Announcement, Mac, announce, learn};

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

    /// What comes from [`MAC`] within `time`, each frame with the time since `start`.
    fn frames_of_mac(&self, start: Instant, time: Duration) -> Vec<(Duration, Vec<u8>)> {
        let mut frames = Vec::new();
        while start.elapsed() < time {
            let mut buffer = [0; 2048];
            if let Ok(length) =
                recv(self.0.as_raw_fd(), &mut buffer, nix::sys::socket::MsgFlags::empty())
                && buffer[6..12] == MAC.0
            {
                frames.push((start.elapsed(), buffer[..length].to_vec()));
            }
        }
        frames
    }
}

fn announcement(bridge: &str) -> Announcement {
    Announcement {
        bridge: bridge.to_owned(),
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
        let frames = capture.frames_of_mac(start, Duration::from_millis(900));
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
        let frames = capture.frames_of_mac(start, Duration::from_millis(700));
        announcing.finish();
        assert_eq!(frames.len(), 20);
    });
}

#[test]
fn a_bridge_learns_where_the_guest_is_now() {
    in_a_network(|| {
        let table = || {
            let output = Command::new("bridge").args(["fdb", "show", "br", "br0"]).output();
            String::from_utf8(output.expect("`bridge` runs").stdout).expect("text")
        };
        let at = |port: &str| {
            table().lines().any(|line| {
                line.starts_with(&format!("{MAC} dev {port} ")) && !line.contains("permanent")
            })
        };
        // The guest was seen on the other side.
        announce(&[announcement("wire")]).finish();
        assert!(at("uplink") && !at("vif"), "{}", table());
        learn("vif", MAC).expect("learnt");
        assert!(at("vif") && !at("uplink"), "{}", table());

        let error = learn("none", MAC).expect_err("no such device").to_string();
        assert_eq!(error, "there is no network interface none");
        let error = learn("lo", MAC).expect_err("not a port").to_string();
        assert_eq!(error, "cannot make a bridge learn an address on lo");
        ip("link set guest down");
        assert!(learn("vif", MAC).is_err(), "a port without carrier learns nothing");
    });
}
