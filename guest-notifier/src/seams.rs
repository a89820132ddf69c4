//! What both sides need of the world.

use std::io;
use std::time::Duration;

/// The nodes below one guest's home. Paths are relative to it.
pub trait Store {
    /// What a node holds; `None` where there is none.
    ///
    /// # Errors
    /// When xenstored does not answer.
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// Writes a node, and what is missing above it.
    ///
    /// # Errors
    /// When xenstored refuses.
    fn write(&mut self, path: &str, value: &str) -> io::Result<()>;

    /// Removes a node with all that is below. One that is not there is removed already.
    ///
    /// # Errors
    /// When xenstored refuses.
    fn remove(&mut self, path: &str) -> io::Result<()>;

    /// Waits until the other side may have changed something, at most `timeout`. May return early.
    ///
    /// # Errors
    /// When it cannot be waited.
    fn wait(&mut self, timeout: Duration) -> io::Result<()>;

    /// From now on the other side may notify through this port of its own, too; `None`: not any more.
    /// It is a help, and may be ignored.
    fn listen(&mut self, _port: Option<u32>) {}
}

/// An event channel to the other side.
pub trait Bell {
    /// The host's port.
    fn port(&self) -> u32;

    /// Has the other side look at the nodes. One that does not listen is no error.
    fn ring(&self);
}
