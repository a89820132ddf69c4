//! A peer that listens: `xend receive`.
//!
//! Plain TCP: whoever can see the network can read the guest's memory, and whoever can reach the
//! port can send a guest. It has to be asked for by name on both sides.

use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::Link;
use crate::migration::Cancel;

/// The port that a receiver listens on unless told otherwise: Xen's own for relocation.
pub const DEFAULT_PORT: u16 = 8002;

/// How long a connection may take to come about, for each address that the host has.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to `address`, which is `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`.
///
/// # Errors
/// If nobody listens there.
pub fn connect(address: &str, cancel: &Cancel, limit: Duration) -> io::Result<Link> {
    let mut last = None;
    for address in with_port(address).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return link(stream, cancel, limit),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("the host has no address")))
}

/// Listens at `address`; without a port in it at [`DEFAULT_PORT`].
///
/// # Errors
/// If the address is in use, or not this host's.
pub fn listen(address: &str) -> io::Result<TcpListener> {
    TcpListener::bind(with_port(address))
}

/// Tells the kernel to notice soon when the peer is gone, and to send small messages at once.
///
/// # Errors
/// The kernel's.
pub fn prepare(stream: &TcpStream, limit: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    let seconds = u32::try_from((limit.as_secs() / 3).max(1)).unwrap_or(u32::MAX);
    setsockopt(stream, sockopt::TcpKeepIdle, &seconds)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &seconds)?;
    setsockopt(stream, sockopt::TcpKeepCount, &2)?;
    let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    setsockopt(stream, sockopt::TcpUserTimeout, &millis)?;
    Ok(())
}

fn link(stream: TcpStream, cancel: &Cancel, limit: Duration) -> io::Result<Link> {
    prepare(&stream, limit)?;
    let from_peer = stream.try_clone()?;
    Link::new(stream.into(), from_peer.into(), cancel, Some(limit))
}

/// Adds the port to an address that has none.
fn with_port(address: &str) -> String {
    let has_port = match address.rsplit_once(':') {
        // In an IPv6 address only what follows the bracket is a port.
        Some((host, _)) => !host.contains(':') || host.ends_with(']'),
        None => false,
    };
    match (has_port, address.contains(':') && !address.starts_with('[')) {
        (true, _) => address.to_owned(),
        (false, true) => format!("[{address}]:{DEFAULT_PORT}"),
        (false, false) => format!("{address}:{DEFAULT_PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::thread;

    use super::*;

    #[test]
    fn addresses_get_the_port_that_they_lack() {
        for (given, meant) in [
            ("hosta", "hosta:8002"),
            ("hosta:9", "hosta:9"),
            ("10.0.0.1", "10.0.0.1:8002"),
            ("::1", "[::1]:8002"),
            ("[::1]", "[::1]:8002"),
            ("[::1]:9", "[::1]:9"),
        ] {
            assert_eq!(with_port(given), meant);
        }
    }

    #[test]
    fn carries_bytes_both_ways() {
        let listener = listen("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let echo = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            prepare(&stream, Duration::from_secs(5)).unwrap();
            let mut heard = [0; 4];
            stream.read_exact(&mut heard).unwrap();
            stream.write_all(&heard).unwrap();
        });
        let mut link = connect(&address, &Cancel::default(), Duration::from_secs(5)).unwrap();
        link.sink.write_all(b"ping").unwrap();
        let mut heard = [0; 4];
        link.source.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"ping");
        echo.join().unwrap();
    }
}
