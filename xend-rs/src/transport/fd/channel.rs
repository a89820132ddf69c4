//! A descriptor of either end, and waiting for it without being held up in a call.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::migration::Cancel;
use crate::transport::limits::Limits;

/// How often a wait looks whether it was cancelled.
const CANCEL_CHECK_MS: u16 = 100;
pub(super) const CANCEL_CHECK: Duration = Duration::from_millis(CANCEL_CHECK_MS as u64);

/// Room asked for in a pipe, so that its two ends need not take turns so often. What an administrator
/// allows everybody; a smaller pipe works as well.
const PIPE_BYTES: i32 = 1024 * 1024;

/// What kind of descriptor it is, and with that how to use it without blocking.
#[derive(Debug)]
pub(super) enum Channel {
    /// A pipe, through a file description of our own that does not block.
    Pipe(File),
    /// A socket, asked not to block call by call.
    Socket(OwnedFd),
    /// A file or device, where calls end by themselves.
    File(File),
}

impl Channel {
    pub(super) fn new(fd: OwnedFd, access: &OpenOptions) -> io::Result<Self> {
        let file = File::from(fd);
        let kind = file.metadata()?.file_type();
        if kind.is_socket() {
            return Ok(Self::Socket(file.into()));
        }
        if !kind.is_fifo() {
            return Ok(Self::File(file));
        }
        let own = open_again(&file, access)?;
        // The limit is the administrator's.
        let _ = fcntl(&own, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        Ok(Self::Pipe(own))
    }

    /// Waits until the descriptor is ready for `events`, for as long as `limits` let it.
    /// `started` is when waiting began.
    pub(super) fn wait(
        &self,
        events: PollFlags,
        cancel: &Cancel,
        limits: &mut Limits,
        started: Instant,
    ) -> io::Result<()> {
        let fd = match self {
            Self::Pipe(file) | Self::File(file) => file.as_fd(),
            Self::Socket(fd) => fd.as_fd(),
        };
        loop {
            if cancel.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            limits.check(started.elapsed())?;
            let mut fds = [PollFd::new(fd, events)];
            match poll(&mut fds, PollTimeout::from(CANCEL_CHECK_MS)) {
                Ok(0) | Err(nix::Error::EINTR) => {}
                Ok(_) => {
                    limits.end_wait(started.elapsed());
                    return Ok(());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Opens the pipe behind `pipe` once more, as `access` says and without blocking.
fn open_again(pipe: &File, access: &OpenOptions) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    access.clone().custom_flags(libc::O_NONBLOCK).open(path)
}

/// What `poll` says of `file` right now.
pub(super) fn poll_now(file: &File, events: PollFlags) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(file.as_fd(), events)];
    poll(&mut fds, PollTimeout::ZERO)?;
    Ok(fds[0].revents().unwrap_or(PollFlags::empty()))
}
