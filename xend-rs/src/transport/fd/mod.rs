//! A stream over a descriptor that somebody else opened and will go on using: a pipe to `ssh`, a
//! socket, a save file.
//!
//! Reads and writes wait in `poll`, not in the call itself, so that a peer that stalls cannot hold
//! up a cancellation. The descriptor's own flags stay as they are, for they are shared with its
//! owner: a pipe is opened a second time, non-blocking, and a socket is told call by call.

mod channel;
mod sink;
mod source;

pub use sink::{FdSink, leaves_within};
pub use source::FdSource;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    use super::*;
    use crate::migration::Cancel;

    fn round_trip(write_end: OwnedFd, read_end: OwnedFd) {
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let writer = thread::spawn(move || {
            FdSink::new(write_end, Cancel::default()).unwrap().write_all(&sent).unwrap();
        });
        let mut received = Vec::new();
        FdSource::new(read_end, Cancel::default()).unwrap().read_to_end(&mut received).unwrap();
        writer.join().unwrap();
        assert!(received == expected);
    }

    #[test]
    fn carries_bytes_over_a_pipe_and_a_socket() {
        let (read_end, write_end) = nix::unistd::pipe().unwrap();
        round_trip(write_end, read_end);
        let (a, b) = UnixStream::pair().unwrap();
        round_trip(a.into(), b.into());
    }

    #[test]
    fn the_owners_descriptor_stays_blocking() {
        let (read_end, write_end) = nix::unistd::pipe().unwrap();
        let owners = write_end.try_clone().unwrap();
        let _sink = FdSink::new(write_end, Cancel::default()).unwrap();
        let flags = fcntl(&owners, FcntlArg::F_GETFL).unwrap();
        assert_eq!(flags & libc::O_NONBLOCK, 0);
        drop(read_end);
    }
}
