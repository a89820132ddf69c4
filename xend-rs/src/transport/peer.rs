//! How a peer is reached: kept in the journal, to reach it again.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Link, command, tcp};
use crate::migration::Cancel;

/// The way to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// A command for the shell.
    Command(String),
    /// The address of a listening `xend receive`.
    Tcp(String),
}

impl Peer {
    /// Whether only a xend can be there.
    pub fn is_xend(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Connects. Over TCP a peer that lets nothing move for `limit` is taken for dead; a command
    /// may wait for a password first, and gets its limit once the peer has spoken.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub fn connect(&self, cancel: &Cancel, limit: Duration) -> io::Result<Link> {
        match self {
            Self::Command(rune) => command::connect(rune, cancel, None),
            Self::Tcp(address) => tcp::connect(address, cancel, limit),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(rune) => f.write_str(rune),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}
