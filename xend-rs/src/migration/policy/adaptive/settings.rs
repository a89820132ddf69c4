//! What an administrator says about a migration: how fast, how short a pause, how long in all.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::super::CpuShare;
use crate::migration::rate::Rate;

/// What the [`Adaptive`](super::Adaptive) policy keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The first round is sent at this rate, and none is limited to less. `None`: the first round may
    /// have all of `bandwidth_max`, and so may each other one.
    pub bandwidth_min: Option<Rate>,
    /// No round, nor the last pass, is faster. `None`: no limit but the link.
    pub bandwidth_max: Option<Rate>,
    /// For how long the guest may stand still.
    pub downtime_target: Duration,
    /// How long live copying may last, if not for ever.
    pub time_limit: Option<TimeLimit>,
    /// Whether the guest may be slowed down where it would not get done otherwise.
    pub stun: Stun,
    /// What a stop costs besides sending memory: suspend, device state, the handover.
    pub fixed_stop: Duration,
    /// The same when it takes long, which is what a target is held against; not below `fixed_stop`.
    pub fixed_stop_at_worst: Duration,
    /// How long the guest still writes once it was decided to stop: until it has heard of it.
    pub suspend_delay: Duration,
    /// Pages that the guest writes on its way into suspension, whatever it did before.
    pub suspend_pages: u64,
    /// Whether the engine puts off pages that it finds written again: a round then sends fewer than
    /// there are, which is predicted. Of no matter where nobody notes writes.
    pub puts_off: bool,
}

impl Settings {
    /// 300 ms of downtime: what most services survive unnoticed.
    pub const DOWNTIME_TARGET: Duration = Duration::from_millis(300);
    /// A stop between two hosts that do nothing else, without any memory to send.
    pub const FIXED_STOP: Duration = Duration::from_millis(100);
    /// A guest that is busy hears of a request to suspend about so late.
    pub const SUSPEND_DELAY: Duration = Duration::from_millis(50);
    /// What the last pass of an idle Linux guest of one vCPU finds: its kernel freezes what runs and
    /// says farewell to each device.
    pub const SUSPEND_PAGES: u64 = 256;
}

impl Default for Settings {
    /// No limits, no stun, 300 ms.
    fn default() -> Self {
        Self {
            bandwidth_min: None,
            bandwidth_max: None,
            downtime_target: Self::DOWNTIME_TARGET,
            time_limit: None,
            stun: Stun::Off,
            fixed_stop: Self::FIXED_STOP,
            fixed_stop_at_worst: Self::FIXED_STOP,
            suspend_delay: Self::SUSPEND_DELAY,
            suspend_pages: Self::SUSPEND_PAGES,
            puts_off: true,
        }
    }
}

/// An end to live copying, come what may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    /// Counted from the start of round 0.
    pub after: Duration,
    /// What happens then.
    pub then: OnTimeout,
}

/// What happens when the time for live copying is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTimeout {
    /// The migration is given up; the guest stays.
    #[default]
    Cancel,
    /// The guest is slowed down as far as [`Stun`] allows until the downtime target is met, or until
    /// that does not help any more, and then stopped. Where stun is off it is stopped at once.
    Stun,
    /// The guest is stopped, however long the last pass takes.
    Stop,
}

impl OnTimeout {
    /// Every choice there is.
    pub const ALL: [Self; 3] = [Self::Cancel, Self::Stun, Self::Stop];

    /// Its name, as a person gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Stun => "stun",
            Self::Stop => "stop",
        }
    }
}

impl fmt::Display for OnTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names nothing to do on timeout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is nothing to do on timeout: cancel, stun or stop")]
pub struct UnknownOnTimeout(pub String);

impl FromStr for OnTimeout {
    type Err = UnknownOnTimeout;

    fn from_str(name: &str) -> Result<Self, UnknownOnTimeout> {
        let found = Self::ALL.into_iter().find(|choice| choice.name() == name);
        found.ok_or_else(|| UnknownOnTimeout(name.to_owned()))
    }
}

/// Whether a guest that writes faster than the link takes is slowed down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stun {
    /// Never.
    #[default]
    Off,
    /// Once the time for live copying is over, where that is what happens then.
    OnTimeout {
        /// Its vCPUs are left with this at least.
        floor: CpuShare,
    },
    /// As little as makes it converge.
    Allowed {
        /// Its vCPUs are left with this at least.
        floor: CpuShare,
    },
}

impl Stun {
    /// How far the guest may be slowed down: not at all where stun is off.
    pub fn floor(self) -> CpuShare {
        match self {
            Self::Off => CpuShare::FULL,
            Self::OnTimeout { floor } | Self::Allowed { floor } => floor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_read_back_and_others_are_refused() {
        for choice in OnTimeout::ALL {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let error = "wait".parse::<OnTimeout>().unwrap_err();
        assert!(error.to_string().contains("cancel"), "{error}");
    }
}
