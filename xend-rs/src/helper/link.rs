//! Our ends of the two pipes to libxl.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::ipc::{self, Message};
use crate::migration::Cancel;
use crate::migration::toolstack::ToolstackError;

/// How often a wait for an answer looks whether libxl asked us to stop.
const CANCEL_CHECK_MS: u16 = 100;

/// The connection to libxl, shared by the engine and the logger.
#[derive(Debug)]
pub(super) struct Link {
    /// Held for a message, or for a message and its answer.
    turn: Mutex<()>,
    cancel: Cancel,
}

impl Link {
    pub(super) fn new(cancel: Cancel) -> Self {
        Self { turn: Mutex::new(()), cancel }
    }

    /// Sends a message that has no answer. If libxl has gone there is nobody to work for, and the
    /// transfer is cancelled.
    pub(super) fn tell(&self, message: Message) -> io::Result<()> {
        let _turn = self.turn();
        message.send(&mut RawStdout).inspect_err(|_| self.cancel.cancel())
    }

    /// Sends a message and waits for libxl's answer, until libxl asks us to stop.
    pub(super) fn ask(
        &self,
        message: Message,
        request: &'static str,
    ) -> Result<i32, ToolstackError> {
        let _turn = self.turn();
        message
            .send(&mut RawStdout)
            .and_then(|()| ipc::read_answer(&mut RawStdin(&self.cancel)))
            .map_err(|source| ToolstackError::Lost { request, source })
    }

    /// Says that the transfer is over and waits until libxl has heard it. Not to be hurried: libxl
    /// answers at once, or has gone.
    pub(super) fn complete(&self, retval: i32, errno: i32) -> io::Result<()> {
        let _turn = self.turn();
        Message::new(ipc::message::COMPLETE)
            .u32(retval as u32)
            .u32(errno as u32)
            .send(&mut RawStdout)?;
        ipc::read_answer(&mut RawStdin(&Cancel::default())).map(drop)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // There is nothing behind the lock that a panic could have left half done.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Standard output without `std`'s buffer.
struct RawStdout;

impl Write for RawStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard input without `std`'s buffer; a wait for it ends when cancelled.
struct RawStdin<'a>(&'a Cancel);

impl Read for RawStdin<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        loop {
            if self.0.is_cancelled() {
                return Err(io::Error::other("asked to stop"));
            }
            let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(CANCEL_CHECK_MS)) {
                Ok(0) | Err(nix::Error::EINTR) => {}
                Ok(_) => return Ok(nix::unistd::read(&stdin, buffer)?),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
