//! Lines on stdout, written by a thread of its own: a guest's console may block for as long as
//! nobody drains it, and that must not look like a gap.

use std::io::Write;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

const QUEUED_LINES: usize = 64;

/// Where lines are handed in.
#[derive(Clone)]
pub(crate) struct Console(SyncSender<String>);

impl Console {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (sender, lines) = sync_channel::<String>(QUEUED_LINES);
        thread::Builder::new().name("console".into()).spawn(move || {
            let mut stdout = std::io::stdout();
            for line in lines {
                // A closed stdout is no reason to end: the answers go over UDP.
                let _ = writeln!(stdout, "guest-workload: {line}");
            }
        })?;
        Ok(Self(sender))
    }

    /// Prints the line, or drops it when the console has been stuck for very long.
    pub(crate) fn line(&self, line: String) {
        let _ = self.0.try_send(line);
    }
}
