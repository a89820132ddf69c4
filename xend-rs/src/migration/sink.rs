//! Where the bytes of an outgoing migration go.

use std::io::{self, Write};
use std::time::Duration;

use super::rate::Rate;

/// A way to the receiver.
pub trait Sink: Write {
    /// Waits until what was written has been taken on, or will be within the given time by what is
    /// seen of its rate, as far as this end can know.
    ///
    /// # Errors
    /// If it never will be, for the receiver has gone or the transfer was cancelled.
    fn wait_until_taken(&mut self, within: Duration) -> io::Result<()>;

    /// From now on takes no more than this in a second; `None` is no limit.
    fn set_rate(&mut self, limit: Option<Rate>);
}

/// Memory takes everything at once.
impl Sink for Vec<u8> {
    fn wait_until_taken(&mut self, _within: Duration) -> io::Result<()> {
        Ok(())
    }

    fn set_rate(&mut self, _limit: Option<Rate>) {}
}
