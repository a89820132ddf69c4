//! Descriptors that a parent process handed over by number, as libxl does with its save helper.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// A descriptor of our own for the open file behind number `fd`. The number stays open, and
/// whoever else has it is not disturbed.
///
/// # Errors
/// `EBADF` if nothing is open under that number.
pub fn inherited_fd(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: `fcntl(F_DUPFD_CLOEXEC)` takes any number and fails with EBADF for one that is not
    // open. The number is only borrowed for the call.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let own = fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the descriptor was made by the call above, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(own) })
}
