//! Frames out of a network interface, as they are.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, bind, send, socket};

/// The network could not be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetworkError {
    /// There is no such interface.
    #[error("there is no network interface {0}")]
    NoInterface(String),
    /// The kernel refused something.
    #[error("cannot {operation} on {interface}")]
    Refused {
        /// What was being done, as a verb.
        operation: &'static str,
        /// On which interface.
        interface: String,
        /// Why not.
        #[source]
        source: nix::Error,
    },
}

/// For `map_err`.
pub(super) fn refused(
    operation: &'static str,
    interface: &str,
) -> impl FnOnce(nix::Error) -> NetworkError {
    let interface = interface.to_owned();
    move |source| NetworkError::Refused { operation, interface, source }
}

/// The kernel's address of an interface, with its index.
pub(super) fn find(interface: &str) -> Result<LinkAddr, NetworkError> {
    getifaddrs()
        .map_err(refused("list addresses", interface))?
        .filter(|found| found.interface_name == interface)
        .find_map(|found| found.address?.as_link_addr().copied())
        .ok_or_else(|| NetworkError::NoInterface(interface.to_owned()))
}

/// A packet socket bound to one interface. It receives nothing.
#[derive(Debug)]
pub(super) struct RawSocket {
    interface: String,
    socket: OwnedFd,
}

impl RawSocket {
    pub(super) fn open(interface: &str) -> Result<Self, NetworkError> {
        let address = find(interface)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Without a protocol it is not given a copy of every frame there is.
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)
            .map_err(refused("open a packet socket", interface))?;
        bind(socket.as_raw_fd(), &address).map_err(refused("bind a packet socket", interface))?;
        Ok(Self { interface: interface.to_owned(), socket })
    }

    /// Sends one frame, headers and all.
    pub(super) fn send(&self, frame: &[u8]) -> Result<(), NetworkError> {
        // A packet is sent whole or not at all.
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())
            .map(drop)
            .map_err(refused("send a frame", &self.interface))
    }
}
