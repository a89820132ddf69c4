//! Both directions of a connection to a peer.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::command::Transport;
use super::{FdSink, FdSource};
use crate::migration::Cancel;

/// A connection to a peer. Dropping it hangs up.
#[derive(Debug)]
pub struct Link {
    /// To the peer.
    pub sink: FdSink,
    /// From the peer.
    pub source: FdSource,
    /// The process that carries it, where there is one.
    pub transport: Option<Transport>,
}

impl Link {
    /// A link over two descriptors, until `cancel`. A peer that lets nothing move for `limit` is
    /// taken for dead; without a limit one is waited for as long as the connection stands.
    ///
    /// # Errors
    /// If the descriptors are of no use.
    pub fn new(
        to_peer: OwnedFd,
        from_peer: OwnedFd,
        cancel: &Cancel,
        limit: Option<Duration>,
    ) -> io::Result<Self> {
        let mut sink = FdSink::new(to_peer, cancel.clone())?;
        let mut source = FdSource::new(from_peer, cancel.clone())?;
        sink.set_limit(limit);
        source.set_limit(limit);
        Ok(Self { sink, source, transport: None })
    }
}
