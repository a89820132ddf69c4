//! One connection, handed over to a command: no relay stands in its way after that.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::OsString;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Accepts one connection and becomes the command. Returns only on failure.
///
/// # Errors
/// When the address cannot be bound, nobody connects before the deadline, or the command cannot be
/// run.
pub(crate) fn run(address: &str, deadline: Option<Duration>, command: &[OsString]) -> Result<()> {
    // The standard library sets SO_REUSEADDR.
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let bound = listener.local_addr().context("cannot read the bound address")?;
    eprintln!("listening on {bound}");
    if let Some(deadline) = deadline {
        wait(&listener, deadline)?;
    }
    let stream = accept(&listener)?;
    drop(listener);
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    let socket = OwnedFd::from(stream);
    let second = socket.try_clone().context("cannot duplicate the socket")?;
    let [program, args @ ..] = command else { bail!("no command") };
    let error = Command::new(program)
        .args(args)
        .stdin(Stdio::from(socket))
        .stdout(Stdio::from(second))
        .exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let (stream, _) = listener.accept().context("cannot accept a connection")?;
    Ok(stream)
}

fn wait(listener: &TcpListener, deadline: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        let left = deadline.saturating_sub(begun.elapsed());
        // Rounded up, so that the last wait does not turn into many of no length.
        let left = left + Duration::from_micros(999);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) if begun.elapsed() >= deadline => {
                bail!("nobody connected within {} s", deadline.as_secs())
            }
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno).context("cannot wait for a connection"),
        }
    }
}
