//! An entry of a bridge's forwarding table, by netlink.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

use super::frames::Mac;
use super::socket::{NetworkError, find, refused};

const RTM_NEWNEIGH: u16 = 28;
const NLMSG_ERROR: u16 = 2;
/// A request to be acknowledged, that makes the entry or takes the place of the one there is.
const FLAGS: u16 = 0x001 | 0x004 | 0x100 | 0x400;
const AF_BRIDGE: u8 = 7;
/// Learnt: neither permanent nor static, so that it ages.
const NUD_REACHABLE: u16 = 0x02;
/// The bridge's table, and not one of the port's device.
const NTF_MASTER: u8 = 0x04;
const NDA_LLADDR: u16 = 2;
const SEQUENCE: u32 = 1;
const HEADER_BYTES: usize = 16;
const MESSAGE_BYTES: usize = HEADER_BYTES + 12 + 12;

/// A bridge's port.
#[derive(Debug)]
pub(super) struct Port {
    device: String,
    index: u32,
    socket: OwnedFd,
}

impl Port {
    /// Finds the device, which may or may not be a bridge's port.
    ///
    /// # Errors
    /// When it is not there, or the kernel refuses a netlink socket.
    pub(super) fn open(device: &str) -> Result<Self, NetworkError> {
        const OPERATION: &str = "open a netlink socket";
        let index = find(device)?.ifindex() as u32;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .map_err(refused(OPERATION, device))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(refused(OPERATION, device))?;
        Ok(Self { device: device.to_owned(), index, socket })
    }

    /// Has the bridge send frames for `mac` to this port from now on, as if it had seen one come
    /// from there. The entry ages like any that a bridge learns.
    ///
    /// # Errors
    /// When the device is no bridge's port, or without its peer: a port learns nothing before its
    /// carrier is on.
    pub(super) fn learn(&self, mac: Mac) -> Result<(), NetworkError> {
        let fail = || refused("make a bridge learn an address", &self.device);
        let fd = self.socket.as_raw_fd();
        send(fd, &request(self.index, mac), MsgFlags::empty()).map_err(fail())?;
        let mut answer = [0; 512];
        // The kernel has answered before `send` returned.
        let length = recv(fd, &mut answer, MsgFlags::MSG_DONTWAIT).map_err(fail())?;
        match verdict(&answer[..length]) {
            0 => Ok(()),
            errno => Err(fail()(nix::Error::from_raw(errno))),
        }
    }
}

/// The netlink message, in the machine's byte order.
fn request(index: u32, mac: Mac) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        message[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&(MESSAGE_BYTES as u32).to_ne_bytes());
    put(&RTM_NEWNEIGH.to_ne_bytes());
    put(&FLAGS.to_ne_bytes());
    put(&SEQUENCE.to_ne_bytes());
    put(&0u32.to_ne_bytes());
    // struct ndmsg
    put(&[AF_BRIDGE, 0, 0, 0]);
    put(&index.to_ne_bytes());
    put(&NUD_REACHABLE.to_ne_bytes());
    put(&[NTF_MASTER, 0]);
    // One attribute, and two bytes to the next boundary.
    put(&10u16.to_ne_bytes());
    put(&NDA_LLADDR.to_ne_bytes());
    put(&mac.0);
    message
}

/// The error number in an acknowledgement, 0 for none.
fn verdict(answer: &[u8]) -> i32 {
    let number = |at: usize| answer.get(at..)?.first_chunk().copied();
    let kind = answer.get(4..).and_then(|rest| rest.first_chunk()).copied();
    match (kind.map(u16::from_ne_bytes), number(HEADER_BYTES).map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(error)) => error.saturating_neg(),
        _ => nix::errno::Errno::EPROTO as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_request_is_byte_for_byte_as_the_kernel_reads_it() {
        let expected = [
            [40, 0, 0, 0, 28, 0, 0x05, 0x05, 1, 0, 0, 0, 0, 0, 0, 0].as_slice(),
            &[7, 0, 0, 0, 9, 0, 0, 0, 2, 0, 4, 0],
            &[10, 0, 2, 0, 0x00, 0x16, 0x3e, 0x77, 0x00, 0x65, 0, 0],
        ]
        .concat();
        assert_eq!(request(9, Mac([0x00, 0x16, 0x3e, 0x77, 0x00, 0x65])).as_slice(), expected);
    }

    #[test]
    fn an_acknowledgement_is_an_error_of_zero() {
        let answer = |kind: u16, error: i32| {
            let mut bytes = vec![36, 0, 0, 0];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(error.to_ne_bytes());
            bytes
        };
        assert_eq!(verdict(&answer(NLMSG_ERROR, 0)), 0);
        assert_eq!(verdict(&answer(NLMSG_ERROR, -1)), 1);
        assert_ne!(verdict(&answer(3, 0)), 0);
        assert_ne!(verdict(&answer(NLMSG_ERROR, 0)[..18]), 0);
        assert_ne!(verdict(&[]), 0);
    }
}
