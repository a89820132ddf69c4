//! The connecting end: stdin to the peer, the peer to stdout, each direction ending on its own.

use crate::pump::{End, pump};
use anyhow::{Context, Result};
use nix::unistd::{dup2_stdin, dup2_stdout};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a peer that refuses is asked again: it may not be listening yet.
const REFUSED_FOR: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Relays until both directions have ended.
///
/// # Errors
/// As soon as either direction fails; the other one is not waited for.
pub(crate) fn run(peer: &str) -> Result<()> {
    let stream = connect(peer)?;
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    // With a blocking socket splice() would hold the pipe's lock while it waits for the network,
    // and the program at the other end of the pipe could not even fill the pipe.
    stream.set_nonblocking(true).context("cannot make the socket non-blocking")?;
    let (stdin, stdout) = take_stdio().context("cannot take over stdin and stdout")?;

    let (ended, results) = channel();
    let (up, down) = (stream.try_clone().context("cannot duplicate the socket")?, stream);
    direction("up", ended.clone(), move || send(stdin, &up))?;
    direction("down", ended, move || receive(down, stdout))?;
    for result in results {
        result?;
    }
    Ok(())
}

fn direction(
    name: &str,
    ended: Sender<Result<()>>,
    work: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<()> {
    thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            // Nobody listens any more when the other direction failed first.
            let _ = ended.send(work());
        })
        .context("cannot start a thread")?;
    Ok(())
}

fn send(stdin: OwnedFd, stream: &TcpStream) -> Result<()> {
    let (source, sink) = (End::new(stdin)?, End::new(stream.try_clone()?.into())?);
    pump(&source, &sink).context("stdin to peer")?;
    match stream.shutdown(Shutdown::Write) {
        // The peer is gone altogether and nothing was left to send.
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
        result => result.context("cannot end the sending direction"),
    }
}

fn receive(stream: TcpStream, stdout: OwnedFd) -> Result<()> {
    let (source, sink) = (End::new(stream.into())?, End::new(stdout)?);
    // When this returns the last copy of stdout is closed, and whoever reads it sees the end.
    pump(&source, &sink).context("peer to stdout")
}

fn connect(peer: &str) -> Result<TcpStream> {
    let address = peer
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve {peer}"))?
        .next()
        .with_context(|| format!("{peer} has no address"))?;
    let begun = Instant::now();
    loop {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Err(error)
                if error.kind() == ErrorKind::ConnectionRefused
                    && begun.elapsed() < REFUSED_FOR =>
            {
                thread::sleep(RETRY_AFTER);
            }
            result => return result.with_context(|| format!("cannot connect to {peer}")),
        }
    }
}

/// Moves stdin and stdout to descriptors of our own, with /dev/null in their place: closing ours
/// then closes the last ones.
fn take_stdio() -> io::Result<(OwnedFd, OwnedFd)> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok((stdin, stdout))
}
