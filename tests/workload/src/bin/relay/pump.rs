//! Moving bytes from one descriptor to another until the end, with as few system calls and copies
//! as the two allow.

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

/// The largest pipe that is allowed without privilege, unless the system was told otherwise.
const PIPE_BYTES: usize = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// One end of a direction.
pub(crate) struct End {
    file: File,
    is_pipe: bool,
    is_nonblocking: bool,
}

impl End {
    /// Looks at what the descriptor is, and enlarges it if it is a pipe.
    ///
    /// # Errors
    /// When the descriptor cannot be examined.
    pub(crate) fn new(fd: OwnedFd) -> Result<Self> {
        let file = File::from(fd);
        let is_pipe = file.metadata().context("cannot examine a descriptor")?.file_type().is_fifo();
        if is_pipe {
            // A pipe that stays small costs more system calls and nothing else.
            let _ = fcntl(&file, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES as i32));
        }
        let flags = fcntl(&file, FcntlArg::F_GETFL).context("cannot read a descriptor's flags")?;
        let is_nonblocking = OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK);
        Ok(Self { file, is_pipe, is_nonblocking })
    }

    /// Waits until the descriptor is ready, unless it is one that waits by itself.
    fn wait(&self, event: PollFlags) -> nix::Result<()> {
        if self.is_nonblocking {
            poll(&mut [PollFd::new(self.file.as_fd(), event)], PollTimeout::NONE)?;
        }
        Ok(())
    }
}

/// Moves everything up to the end of `source`.
///
/// # Errors
/// When reading or writing fails: EPIPE or ECONNRESET when nobody takes the bytes any more.
pub(crate) fn pump(source: &End, sink: &End) -> Result<()> {
    if source.is_pipe || sink.is_pipe {
        match pump_spliced(source, sink) {
            // These two cannot be spliced after all, and nothing was moved yet.
            Err((Errno::EINVAL, 0)) => {}
            Err((errno, moved)) => {
                return Err(errno).with_context(|| format!("after {moved} bytes"));
            }
            Ok(()) => return Ok(()),
        }
    }
    pump_copied(source, sink)
}

fn pump_spliced(source: &End, sink: &End) -> Result<(), (Errno, u64)> {
    let mut moved = 0;
    loop {
        let step =
            splice(&source.file, None, &sink.file, None, PIPE_BYTES, SpliceFFlags::SPLICE_F_MOVE);
        let waited = match step {
            Ok(0) => return Ok(()),
            Ok(length) => {
                moved += length as u64;
                continue;
            }
            // It does not tell which end was not ready.
            Err(Errno::EAGAIN) => {
                source.wait(PollFlags::POLLIN).and_then(|()| sink.wait(PollFlags::POLLOUT))
            }
            Err(errno) => Err(errno),
        };
        match waited {
            Ok(()) | Err(Errno::EINTR) => {}
            Err(errno) => return Err((errno, moved)),
        }
    }
}

fn pump_copied(source: &End, sink: &End) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = retry(source, PollFlags::POLLIN, || read(&source.file, &mut buffer))
            .context("cannot read")?;
        if length == 0 {
            return Ok(());
        }
        let mut left = &buffer[..length];
        while !left.is_empty() {
            let written = retry(sink, PollFlags::POLLOUT, || write(&sink.file, left))
                .context("cannot write")?;
            left = &left[written..];
        }
    }
}

fn retry(
    end: &End,
    event: PollFlags,
    mut call: impl FnMut() -> nix::Result<usize>,
) -> nix::Result<usize> {
    loop {
        let waited = match call() {
            Err(Errno::EAGAIN) => end.wait(event),
            Err(Errno::EINTR) => Ok(()),
            result => return result,
        };
        if let Err(errno) = waited
            && errno != Errno::EINTR
        {
            return Err(errno);
        }
    }
}
