//! Being told that nodes have changed.
//!
//! `xenstore-rs` has no watches without an asynchronous runtime, so this is a connection of its own
//! that sets one and then only listens. What it hears is never read: that there is something to hear
//! says that the nodes are to be looked at.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;

use nix::libc::O_NONBLOCK;

/// `XS_WATCH` of Xen's `io/xs_wire.h`.
const XS_WATCH: u32 = 4;
const DEVICE: &str = "/dev/xen/xenbus";
/// As in `xenstore-rs`, which looks there first.
const SOCKET: &str = "/run/xenstored/socket";
const SOCKET_VARIABLE: &str = "XENSTORED_PATH";

/// A connection that only listens.
#[derive(Debug)]
pub struct Watch {
    connection: Connection,
}

#[derive(Debug)]
enum Connection {
    Socket(UnixStream),
    Device(File),
}

impl Watch {
    /// Watches these nodes and all below them.
    ///
    /// # Errors
    /// When xenstore cannot be reached.
    pub fn open(paths: &[&str]) -> io::Result<Self> {
        let socket = env::var(SOCKET_VARIABLE).unwrap_or_else(|_| SOCKET.to_owned());
        let mut connection = match UnixStream::connect(socket) {
            Ok(stream) => {
                stream.set_nonblocking(true)?;
                Connection::Socket(stream)
            }
            Err(_) => {
                let mut options = File::options();
                options.read(true).write(true).custom_flags(O_NONBLOCK);
                Connection::Device(options.open(DEVICE)?)
            }
        };
        for path in paths {
            connection.write_all(&request(path))?;
        }
        Ok(Self { connection })
    }

    /// Forgets what has been heard.
    ///
    /// # Errors
    /// When nothing more will be heard on this connection.
    pub fn drain(&mut self) -> io::Result<()> {
        let mut heard = [0; 4096];
        loop {
            match self.connection.read(&mut heard) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.connection {
            Connection::Socket(stream) => stream.as_fd(),
            Connection::Device(file) => file.as_fd(),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Socket(stream) => stream.read(buffer),
            Self::Device(file) => file.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Socket(stream) => stream.write(bytes),
            Self::Device(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Socket(stream) => stream.flush(),
            Self::Device(file) => file.flush(),
        }
    }
}

/// Header (type, request, transaction, length), path and token.
fn request(path: &str) -> Vec<u8> {
    let body = format!("{path}\0{path}\0");
    let header = [XS_WATCH, 0, 0, body.len() as u32];
    header.iter().flat_map(|word| word.to_ne_bytes()).chain(body.into_bytes()).collect()
}
