//! Where the bytes of an outgoing migration go.

use std::io::{self, Write};

/// A way to the receiver.
pub trait Sink: Write {
    /// Waits until what was written has been taken on, as far as this end can know. Called before
    /// the guest is suspended: what is still on its way then makes the guest wait.
    ///
    /// # Errors
    /// If it never will be, for the receiver has gone or the transfer was cancelled.
    fn wait_until_taken(&mut self) -> io::Result<()>;
}

/// Memory takes everything at once.
impl Sink for Vec<u8> {
    fn wait_until_taken(&mut self) -> io::Result<()> {
        Ok(())
    }
}
