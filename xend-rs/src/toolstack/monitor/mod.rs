//! Watching over a guest: what becomes of it when it shuts down.
//!
//! One process for each guest, `xend monitor DOMID`, which [`spawn`] starts. It follows a guest
//! over its restarts, under new ids. It stays while the guest is suspended: a migration that fails
//! lets the guest go on here, and one that succeeds destroys it.

mod act;
mod late;
mod lock;
mod spawn;
mod wait;

pub use late::resume_late;
pub use spawn::{spawn, spawn_late};

use std::io::Write;

use crate::error_line::error_line;
use crate::hypervisor::HypervisorError;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::XenstoreError;
use crate::toolstack::Host;
use crate::toolstack::domain::DomainError;

use act::Next;
use lock::{Lock, Role};
use wait::Event;

/// The guest cannot be watched any more.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// There is a monitor for the guest.
    #[error("{domid} is being watched by another process")]
    Watched {
        /// The guest.
        domid: Domid,
    },
    /// The monitor's own files.
    #[error("cannot {operation} {path}")]
    File {
        /// What was attempted.
        operation: &'static str,
        /// Which file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// What was to be done about the guest.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// Xen does not answer.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// xenstored does not answer.
    #[error(transparent)]
    Xenstore(#[from] XenstoreError),
}

/// Watches over a guest until it is gone, or there is nothing left to do about it.
///
/// # Errors
/// If it cannot be watched, or not be restarted.
pub fn run(host: &Host, domid: Domid) -> Result<(), MonitorError> {
    let mut domid = domid;
    loop {
        let lock = Lock::take(domid, Role::End)?;
        say(&format!("Waiting for domain {} to die [pid {}]", domid.0, std::process::id()));
        let reason = match wait::next(host, domid)? {
            Event::Gone => {
                say(&format!("Domain {} has been destroyed.", domid.0));
                return Ok(());
            }
            Event::ShutDown(reason) => reason,
        };
        say(&format!("Domain {} has shut down, reason code {reason}", domid.0));
        let next = act::act(host, domid, reason);
        drop(lock);
        domid = match next? {
            Next::Restarted(domid) => domid,
            Next::Done => return Ok(()),
        };
    }
}

/// Into the log, which is standard output of the process.
fn say(text: &str) {
    // A log that is full is no reason not to look after the guest.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn say_error(error: &(dyn std::error::Error + 'static)) {
    say(&error_line(error));
}
