//! Guests: [what one is to be](spec), [making it](create) with stock `xl`, and
//! [asking](questions) the workload in it how it is, [datagram by datagram](datagrams).

mod create;
mod datagrams;
mod questions;
mod spec;

use std::net::Ipv4Addr;
use std::time::Duration;

pub use questions::{ProcessFigures, VerifyReport};
pub use spec::{GuestKind, GuestSpec, ProcessRole, ProcessSpec, SHARED_DISK, WorkloadSpec};

/// An answer that has not come by then is asked for again: UDP loses things.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// A guest that is somewhere in the lab. It is known by its address, so it stays the same one
/// wherever it migrates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    name: String,
    ip: Ipv4Addr,
}

impl Guest {
    /// Its MAC address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        mac_of(self.ip)
    }

    /// A guest that something other than [`Host::create_guest`](crate::Host::create_guest) made, with the
    /// workload in it.
    #[must_use]
    pub fn existing(name: &str, ip: Ipv4Addr) -> Self {
        Self { name: name.to_owned(), ip }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }
}

/// The MAC address that goes with a guest's address.
fn mac_of(ip: Ipv4Addr) -> [u8; 6] {
    let [.., last] = ip.octets();
    [0x00, 0x16, 0x3e, 0x77, 0x00, last]
}
