//! Frames that come to everyone on the link, by which switches and neighbours learn where a guest
//! is.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::error::{LabError, Result};

/// How often a capture looks whether it is to end.
const LOOK_US: i64 = 100_000;

/// A frame to all, or to many, that the outside observer was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// Who sent it.
    pub mac: [u8; 6],
    /// What is in it: 0x0806 is ARP, 0x8035 RARP, 0x86dd IPv6.
    pub ethertype: u16,
    /// Since the capture began.
    pub after: Duration,
}

/// A capture under way; [`finish`](Capture::finish) gives what was seen.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    listener: JoinHandle<Vec<Sighting>>,
}

impl Capture {
    pub(crate) fn start(interface: &str) -> Result<Self> {
        let failed = |error: nix::Error| LabError::Network {
            operation: format!("listen to all frames on {interface}"),
            source: error.into(),
        };
        let address: LinkAddr = getifaddrs()
            .map_err(failed)?
            .filter(|found| found.interface_name == interface)
            .find_map(|found| found.address?.as_link_addr().copied())
            .ok_or_else(|| LabError::Missing(format!("there is no interface {interface}")))?;
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .map_err(failed)?;
        bind(socket.as_raw_fd(), &address).map_err(failed)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, LOOK_US)).map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let listener = thread::spawn(move || listen(&socket, &told));
        Ok(Self { stop, listener })
    }

    /// Ends it and says what was seen.
    #[must_use]
    pub fn finish(self) -> Vec<Sighting> {
        self.stop.store(true, Ordering::Relaxed);
        self.listener.join().unwrap_or_default()
    }
}

fn listen(socket: &OwnedFd, stop: &AtomicBool) -> Vec<Sighting> {
    let start = Instant::now();
    let mut seen = Vec::new();
    let mut frame = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        // Longer frames are cut off; a wait that was too long is one for nothing.
        if let Ok(length) = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            seen.extend(sighting(&frame[..length], start.elapsed()));
        }
    }
    seen
}

fn sighting(frame: &[u8], after: Duration) -> Option<Sighting> {
    let to_many = frame.first()? & 1 == 1;
    let mac = *frame.get(6..)?.first_chunk()?;
    let ethertype = u16::from_be_bytes(*frame.get(12..)?.first_chunk()?);
    to_many.then_some(Sighting { mac, ethertype, after })
}

#[cfg(test)]
mod tests {
    use super::{Sighting, sighting};
    use std::time::Duration;

    #[test]
    fn frames_to_one_are_left_out() {
        let mut frame = vec![0xff; 6];
        frame.extend([0x00, 0x16, 0x3e, 0x77, 0x00, 0x65, 0x80, 0x35, 0x00]);
        let mac = [0x00, 0x16, 0x3e, 0x77, 0x00, 0x65];
        let after = Duration::from_millis(3);
        assert_eq!(sighting(&frame, after), Some(Sighting { mac, ethertype: 0x8035, after }));
        frame[0] = 0x52;
        assert_eq!(sighting(&frame, after), None);
        assert_eq!(sighting(&frame[..13], after), None);
    }
}
