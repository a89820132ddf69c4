//! When to stop copying a running guest and suspend it, and how to copy until then.
//!
//! A policy is a pure function from what was measured to what to do next, so that it can be tested,
//! replayed over a recorded run and exchanged without touching the engine. It is asked after each
//! live round, once the pages that the guest wrote meanwhile have been counted.

pub mod adaptive;
pub mod prediction;
mod stock;

use std::fmt;
use std::time::Duration;

pub use adaptive::Adaptive;
pub use stock::Stock;

use super::dirty_curve::DirtyCurve;
use super::rate::Rate;

/// A live round, as it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Pages whose contents were sent.
    pub sent_pages: u64,
    /// Bytes handed to the transport.
    pub sent_bytes: u64,
    /// How long it took, until (nearly) all of it was taken by the receiver.
    pub duration: Duration,
    /// Distinct pages that the guest wrote meanwhile; `None` where nobody notes them.
    pub dirtied_pages: Option<u64>,
    /// Pages that the receiver lacks when it has ended: dirtied, put off and held back. Where nobody
    /// notes writes, those put off and held back.
    pub unsent_pages: u64,
    /// What it was limited to.
    pub limit: Option<Rate>,
    /// The share of a processor that each of the guest's vCPUs was left with.
    pub cpu_share: CpuShare,
}

/// What is known when a policy is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct History<'a> {
    /// The live rounds so far, in order. At least one.
    pub rounds: &'a [Round],
    /// Since the migration began.
    pub elapsed: Duration,
    /// What the guest was seen to write before round 0, if anybody looked.
    pub probe: Option<&'a DirtyCurve>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Copy another round while the guest runs.
    Continue(Next),
    /// Suspend the guest and send the rest.
    StopAndCopy(Why),
    /// Give up: the guest stays where it is.
    Abort(Why),
}

/// How to copy the next round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// No faster than this.
    pub limit: Option<Rate>,
    /// Leave up to this many pages, those written most often, for the last pass.
    pub hold_back_pages: u64,
    /// What the guest's vCPUs are left with.
    pub cpu_share: CpuShare,
}

/// Why live copying ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Few enough pages are left.
    FewPagesLeft,
    /// What is left can be sent within the downtime that is allowed.
    DowntimeMet,
    /// Another round would not leave noticeably less.
    NoProgress,
    /// There have been as many rounds as are allowed.
    EnoughRounds,
    /// The time that live copying was given is over.
    TimeOver,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FewPagesLeft => "few pages are left",
            Self::DowntimeMet => "what is left can be sent within the downtime allowed",
            Self::NoProgress => "another round would leave hardly less",
            Self::EnoughRounds => "there were as many rounds as are allowed",
            Self::TimeOver => "its time is over",
        })
    }
}

/// A share of a processor's time, in percent. 100 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuShare(u8);

impl CpuShare {
    /// No limit.
    pub const FULL: Self = Self(100);

    /// A share of `percent`, brought into 1..=100.
    pub const fn percent(percent: u8) -> Self {
        Self(if percent == 0 {
            1
        } else if percent > 100 {
            100
        } else {
            percent
        })
    }

    /// It, in percent.
    pub fn as_percent(self) -> u8 {
        self.0
    }
}

impl Default for CpuShare {
    fn default() -> Self {
        Self::FULL
    }
}

/// A stop rule.
pub trait Policy: Send + Sync {
    /// How to copy round 0.
    fn first(&self) -> Next {
        Next::default()
    }

    /// How fast the last pass may be, which a suspended guest waits for. What a round was limited to
    /// ends with that round.
    fn last_pass_limit(&self) -> Option<Rate> {
        None
    }

    /// How long live copying may last. A round that is under way then ends early, and the policy is asked;
    /// rounds that begin later do not.
    fn time_limit(&self) -> Option<Duration> {
        None
    }

    /// What to do after the rounds so far.
    fn decide(&self, history: &History<'_>) -> Decision;
}
