//! Kernels of old that are asked to suspend by an event, and say through which port.
//!
//! What they offer is a number that a guest has written: Xen refuses one that is not for us, and the
//! request is made as for any other guest then.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::home;
use crate::error_line::error_line;
use crate::hypervisor::types::{Domid, Port};
use crate::hypervisor::xen::event_channel::EventChannel;
use crate::hypervisor::xen::xenstore::Nodes;
use crate::toolstack::Host;

/// Xen's tools keep each other from using the channel at the same time by a file here.
const LOCKS: &str = "/var/run/xen";

/// The channel of a guest that has offered one.
#[derive(Debug)]
pub(super) struct SuspendChannel {
    channel: EventChannel,
    domid: Domid,
    _lock: Lock,
}

impl SuspendChannel {
    /// The guest's, if it has offered one that can be used.
    pub(super) fn open(host: &Host, domid: Domid) -> Option<Self> {
        let node = format!("{}/device/suspend/event-channel", home(domid));
        let remote = parse(host.store.read_bytes(&node).ok()??.as_slice())?;
        match Self::bind(host, domid, remote) {
            Ok(channel) => Some(channel),
            Err(why) => {
                log::warn!("{domid}: it cannot be asked by an event to suspend: {why}");
                None
            }
        }
    }

    fn bind(host: &Host, domid: Domid, remote: Port) -> Result<Self, String> {
        let lock = Lock::take(domid).map_err(|error| format!("the channel's lock: {error}"))?;
        let channel = EventChannel::to_guest(domid, remote).map_err(|e| error_line(&e))?;
        host.xen.tell_of_suspend(domid, remote).map_err(|e| error_line(&e))?;
        // The one that is pending since the channel was bound says nothing.
        channel.take_event().map_err(|e| error_line(&e))?;
        Ok(Self { channel, domid, _lock: lock })
    }

    /// Asks it to suspend.
    pub(super) fn ask(&self) {
        if let Err(error) = self.channel.notify() {
            log::warn!("{}: {}", self.domid, error_line(&error));
        }
    }
}

/// A port, in digits and nothing else.
fn parse(bytes: &[u8]) -> Option<Port> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok().filter(|port| *port != 0).map(Port)).flatten()
}

/// A record lock as libxc's: on a file that is removed with it.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn take(domid: Domid) -> io::Result<Self> {
        fs::create_dir_all(LOCKS)?;
        let path = PathBuf::from(format!("{LOCKS}/suspend-evtchn-{}.lock", domid.0));
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            let first_byte = libc::flock {
                l_type: libc::F_WRLCK as libc::c_short,
                l_whence: libc::SEEK_SET as libc::c_short,
                l_start: 0,
                l_len: 1,
                l_pid: 0,
            };
            fcntl(&file, FcntlArg::F_SETLK(&first_byte))?;
            // Who had it before may have removed the file under us.
            if fs::metadata(&path).is_ok_and(|found| is_same(&file, &found)) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

fn is_same(file: &File, found: &fs::Metadata) -> bool {
    file.metadata().is_ok_and(|ours| ours.ino() == found.ino())
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number() {
        assert_eq!(parse(b"17"), Some(Port(17)));
        for bad in [&b""[..], b"0", b"-1", b"+1", b" 1", b"1\0", b"4294967296", b"\xff", b"1 2"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
