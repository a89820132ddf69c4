//! Ctrl-C and its kind, and Ctrl-Z.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;

use crate::migration::Cancel;

/// What the terminal stops a process with. All its threads would stand still, maybe with the guest
/// suspended.
const STOPS: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// SIGHUP, SIGINT, SIGQUIT and SIGTERM while something is done that must not be left half done.
pub(super) struct Interruption {
    /// What they do.
    pub(super) cancel: Cancel,
    over: Arc<AtomicBool>,
    /// What this thread blocked before.
    blocked: SigSet,
}

impl Interruption {
    /// From now on they cancel, and what would stop the process waits for the end. To be called
    /// before there are the threads and children that do the work: they block what this one does.
    ///
    /// # Errors
    /// If they cannot be handled.
    pub(super) fn await_signals() -> io::Result<Self> {
        let (cancelled, over) = (Arc::default(), Arc::default());
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            flag::register_conditional_default(signal, Arc::clone(&over))?;
            flag::register(signal, Arc::clone(&cancelled))?;
        }
        // A handler would not do for writing to the terminal from the background: the call would be
        // begun again for ever.
        let blocked = STOPS.into_iter().collect::<SigSet>();
        let blocked = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { cancel: Cancel::from_flag(cancelled), over, blocked })
    }

    /// It is done: from now on they end the process or stop it, as ever. For the same thread.
    pub(super) fn end(self) {
        self.over.store(true, Ordering::Release);
        // It fails only for what is no way to set a mask.
        let _ = self.blocked.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    fn blocked() -> Vec<Signal> {
        let mask = SigSet::thread_get_mask().unwrap();
        STOPS.into_iter().filter(|&signal| mask.contains(signal)).collect()
    }

    #[test]
    fn ctrl_backslash_cancels_and_ctrl_z_waits_for_the_end() {
        let interruption = Interruption::await_signals().unwrap();
        assert_eq!(blocked(), STOPS);
        assert_eq!(std::thread::spawn(blocked).join().unwrap(), STOPS);
        assert!(!interruption.cancel.is_cancelled());
        raise(Signal::SIGQUIT).unwrap();
        assert!(interruption.cancel.is_cancelled());
        interruption.end();
        assert!(blocked().is_empty());
    }
}
