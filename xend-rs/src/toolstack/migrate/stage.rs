//! The stages of a migration, and the finer steps at which it can be stopped.

use std::fmt;
use std::sync::Arc;

use nix::sys::signal::{Signal, raise};
use serde::Serialize;

/// The six stages of Clark et al., in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Can it be moved, and can it go there?
    PreMigration,
    /// The destination keeps a name, memory and devices for it.
    Reservation,
    /// Memory is copied while it runs.
    PreCopy,
    /// It is suspended, and the rest is copied.
    StopAndCopy,
    /// The destination has it all, and is told that it owns it.
    Commitment,
    /// It runs there; what is here is torn down.
    Activation,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreMigration => "pre-migration",
            Self::Reservation => "reservation",
            Self::PreCopy => "pre-copy",
            Self::StopAndCopy => "stop-and-copy",
            Self::Commitment => "commitment",
            Self::Activation => "activation",
        })
    }
}

/// A point that a side of a migration passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Source: the receiver has greeted.
    Connected,
    /// Source: header and offer are sent.
    Offered,
    /// Source: about to send memory.
    Sending,
    /// Source: about to suspend the guest.
    Suspending,
    /// Source: it is suspended.
    Suspended,
    /// Source: all is sent.
    Sent,
    /// Source: about to hand over, which is noted.
    Given,
    /// Source: handed over.
    HandedOver,
    /// Source: the destination says that it runs.
    Confirmed,
    /// Destination: header and configuration are read.
    Accepted,
    /// Destination: the empty domain is there.
    Receiving,
    /// Destination: its devices are prepared.
    Prepared,
    /// Destination: all has arrived.
    Received,
    /// Destination: the source knows that.
    Ready,
    /// Destination: the guest is ours, which is noted.
    Owned,
    /// Destination: it runs.
    Running,
}

impl Step {
    /// Every step, with the name that `XEND_STOP_AT` knows it by.
    pub const NAMES: [(Step, &'static str); 16] = [
        (Step::Connected, "connected"),
        (Step::Offered, "offered"),
        (Step::Sending, "sending"),
        (Step::Suspending, "suspending"),
        (Step::Suspended, "suspended"),
        (Step::Sent, "sent"),
        (Step::Given, "given"),
        (Step::HandedOver, "handed-over"),
        (Step::Confirmed, "confirmed"),
        (Step::Accepted, "accepted"),
        (Step::Receiving, "receiving"),
        (Step::Prepared, "prepared"),
        (Step::Received, "received"),
        (Step::Ready, "ready"),
        (Step::Owned, "owned"),
        (Step::Running, "running"),
    ];
}

/// Called at each step.
#[derive(Clone)]
pub struct Steps(Arc<dyn Fn(Step) + Send + Sync>);

impl Steps {
    /// Nothing happens at any step.
    pub fn none() -> Self {
        Self::calling(|_| {})
    }

    /// `hook` is called at each step.
    pub fn calling(hook: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// The process stops itself, as with SIGSTOP, at the step that the environment variable
    /// `XEND_STOP_AT` names: so a test can kill it there, or cut its network.
    pub fn from_environment() -> Self {
        let Ok(name) = std::env::var("XEND_STOP_AT") else { return Self::none() };
        let Some((stop_at, _)) = Step::NAMES.into_iter().find(|(_, known)| *known == name) else {
            log::warn!("XEND_STOP_AT={name}: there is no such step");
            return Self::none();
        };
        Self::calling(move |step| {
            if step == stop_at {
                log::warn!("stopped at step {name}");
                let _ = raise(Signal::SIGSTOP);
            }
        })
    }

    pub(super) fn reach(&self, step: Step) {
        log::debug!("step {step:?}");
        (self.0)(step);
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Steps")
    }
}
