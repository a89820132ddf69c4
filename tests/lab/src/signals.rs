//! Ctrl-C and SIGTERM: nothing is left behind.

use std::process;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{LabError, Result};
use crate::workdir;

/// Makes SIGINT, SIGTERM and SIGHUP end this process tidily, wherever it is: temporary folders are
/// removed, and the kernel ends the machines and the network with the process.
///
/// Starts a thread, so call it after [`Isolation::enter`](crate::Isolation::enter).
///
/// # Errors
/// When the signals cannot be caught.
pub fn end_tidily_on_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|source| LabError::Network { operation: "catch signals".to_owned(), source })?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            workdir::remove_all();
            process::exit(128 + signal);
        }
    });
    Ok(())
}
