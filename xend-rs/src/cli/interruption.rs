//! Ctrl-C and its kind.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::migration::Cancel;

/// SIGHUP, SIGINT and SIGTERM while something is done that must not be left half done.
pub(super) struct Interruption {
    /// What they do.
    pub(super) cancel: Cancel,
    over: Arc<AtomicBool>,
}

impl Interruption {
    /// From now on they cancel.
    ///
    /// # Errors
    /// If they cannot be handled.
    pub(super) fn await_signals() -> io::Result<Self> {
        let (cancelled, over) = (Arc::default(), Arc::default());
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            flag::register_conditional_default(signal, Arc::clone(&over))?;
            flag::register(signal, Arc::clone(&cancelled))?;
        }
        Ok(Self { cancel: Cancel::from_flag(cancelled), over })
    }

    /// It is done: from now on they end the process, as ever.
    pub(super) fn end(self) {
        self.over.store(true, Ordering::Release);
    }
}
