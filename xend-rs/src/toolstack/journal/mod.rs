//! Who owns a guest that is on its way, so that it survives the programs that move it.
//!
//! ```text
//! source:       sending ─▶ suspending ─▶ given ─▶ (removed)
//! destination:  receiving ─▶ owned ─▶ running
//!                     └────▶ declined
//! ```
//!
//! The guest is the source's until the destination's record says `owned`. The source writes
//! `given` before it lets the destination know that it may: from then on it does not resume the
//! guest unless the destination has `declined`, which is written in the same file, under the same
//! lock, as `owned` would be. So one of the two is true, and stays true: only the process that brought
//! the guest may still decline it when it turns out that it cannot start it, and whoever asks meanwhile
//! is not answered. `running` and `declined` are kept for a month, for the source may have missed the
//! message and ask.

mod file;
mod record;

pub use file::{FileJournal, KEPT_DAYS};
pub use record::{DestinationRecord, DestinationState, Identity, SourceRecord, SourceState, now_s};

use std::fmt;
use std::io;

use crate::stream::xend::Token;

/// Which end of a migration a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The guest leaves this host.
    Source,
    /// It comes to this host.
    Destination,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// The journal of a host.
pub trait Journal: Send + Sync {
    /// Says that this process works on an attempt. `None` if another one does. The claim ends with
    /// the value, or with the process.
    fn claim(&self, side: Side, token: Token) -> io::Result<Option<Claim>>;

    /// Makes a source's record durable.
    fn write_source(&self, record: &SourceRecord) -> io::Result<()>;

    /// The source's record of an attempt.
    fn source(&self, token: Token) -> io::Result<Option<SourceRecord>>;

    /// Makes a new destination's record durable, or changes what is not its state.
    fn write_destination(&self, record: &DestinationRecord) -> io::Result<()>;

    /// The destination's record of an attempt.
    fn destination(&self, token: Token) -> io::Result<Option<DestinationRecord>>;

    /// Changes the state of a destination's record, durably, if it is `from`. Nobody comes in
    /// between. Gives the record as it then is; `None` where there is none.
    fn decide(
        &self,
        token: Token,
        from: &[DestinationState],
        to: DestinationState,
    ) -> io::Result<Option<DestinationRecord>>;

    /// Forgets an attempt.
    fn remove(&self, side: Side, token: Token) -> io::Result<()>;

    /// All that are known, without order.
    fn list(&self) -> io::Result<Vec<(Side, Token)>>;
}

/// This process works on an attempt.
pub struct Claim {
    _held: Box<dyn Send>,
}

impl Claim {
    /// A claim that ends when `held` is dropped.
    pub fn new(held: impl Send + 'static) -> Self {
        Self { _held: Box::new(held) }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claim")
    }
}
