//! The guest's end of an event channel, through `/dev/xen/evtchn`. The `unsafe` of this crate is here:
//! two ioctls.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc::{O_NONBLOCK, c_ulong};

const DEVICE: &str = "/dev/xen/evtchn";
/// The host.
const DOM0: u32 = 0;

/// `struct ioctl_evtchn_bind_interdomain` of Linux's `xen/evtchn.h`.
#[repr(C)]
struct BindInterdomain {
    remote_domain: u32,
    remote_port: u32,
}

/// `struct ioctl_evtchn_notify`.
#[repr(C)]
struct Notify {
    port: u32,
}

/// `_IOC(_IOC_NONE, 'E', number, size)`.
const fn request_code(number: c_ulong, size: usize) -> c_ulong {
    (size as c_ulong) << 16 | (b'E' as c_ulong) << 8 | number
}

mod raw {
    use super::{BindInterdomain, Notify, request_code};

    nix::ioctl_write_ptr_bad!(bind, request_code(1, size_of::<BindInterdomain>()), BindInterdomain);
    nix::ioctl_write_ptr_bad!(notify, request_code(4, size_of::<Notify>()), Notify);
}

/// A bound event channel.
///
/// **It must be dropped before the guest is suspended.** A guest that arrives somewhere has none of its
/// channels any more, and Linux (6.1 at least) runs into a `BUG` when one is closed that was bound
/// before.
#[derive(Debug)]
pub struct Bell {
    device: File,
    port: u32,
}

impl Bell {
    /// Binds the host's port.
    ///
    /// # Errors
    /// Without the device, or when Xen refuses.
    pub fn bind(remote_port: u32) -> io::Result<Self> {
        let device =
            File::options().read(true).write(true).custom_flags(O_NONBLOCK).open(DEVICE)?;
        let what = BindInterdomain { remote_domain: DOM0, remote_port };
        // SAFETY: the driver reads the struct that this request has, which lives for the call.
        let port = unsafe { raw::bind(device.as_raw_fd(), &what) }?;
        let port = u32::try_from(port).map_err(io::Error::other)?;
        Ok(Self { device, port })
    }

    /// Has the host look at the nodes.
    ///
    /// # Errors
    /// When the channel is gone, as it is after a move.
    pub fn ring(&self) -> io::Result<()> {
        let what = Notify { port: self.port };
        // SAFETY: the driver reads the struct that this request has, which lives for the call.
        unsafe { raw::notify(self.device.as_raw_fd(), &what) }?;
        Ok(())
    }

    /// Takes note of what has come, and lets more come.
    ///
    /// # Errors
    /// When the device fails.
    pub fn drain(&mut self) -> io::Result<()> {
        let mut ports = [0; 64];
        match self.device.read(&mut ports) {
            // Writing the ports back unmasks them.
            Ok(count) => self.device.write_all(&ports[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_are_those_of_the_driver() {
        // As printed by a C program that includes xen/evtchn.h.
        assert_eq!(request_code(1, size_of::<BindInterdomain>()), 0x0008_4501);
        assert_eq!(request_code(4, size_of::<Notify>()), 0x0004_4504);
    }
}
