//! How fast, how short, how long: the options of `xend migrate` that its rounds keep to.

use std::time::Duration;

use crate::cli::failure::Failure;
use crate::cli::options::Given;
use crate::migration::policy::CpuShare;
use crate::migration::policy::adaptive::{OnTimeout, Settings, Stun, TimeLimit};
use crate::migration::rate::Rate;

pub(super) const BANDWIDTH_MIN: u8 = 20;
pub(super) const BANDWIDTH_MAX: u8 = 21;
pub(super) const DOWNTIME: u8 = 22;
pub(super) const TIMEOUT: u8 = 23;
pub(super) const ON_TIMEOUT: u8 = 24;
pub(super) const STUN: u8 = 25;
pub(super) const STUN_FLOOR: u8 = 26;

/// The least that a stunned guest is left with unless told otherwise, in percent.
const STUN_FLOOR_PERCENT: u8 = 10;
const MAX_MBIT: u64 = 10_000_000;
const MAX_DOWNTIME_MS: u64 = 3_600_000;
const MAX_TIMEOUT_S: u64 = 604_800;

/// What was said of it on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RoundOptions {
    bandwidth_min: Option<Rate>,
    bandwidth_max: Option<Rate>,
    downtime: Option<Duration>,
    timeout: Option<Duration>,
    on_timeout: Option<OnTimeout>,
    stun: bool,
    stun_floor: Option<CpuShare>,
}

impl RoundOptions {
    /// Takes an option if it is one of these.
    ///
    /// # Errors
    /// If its value is none.
    pub(super) fn take(&mut self, given: &Given<'_>) -> Result<bool, Failure> {
        match given.letter {
            BANDWIDTH_MIN => self.bandwidth_min = Some(mbit(given)?),
            BANDWIDTH_MAX => self.bandwidth_max = Some(mbit(given)?),
            DOWNTIME => {
                let ms = given.amount(1..=MAX_DOWNTIME_MS, "milliseconds")?;
                self.downtime = Some(Duration::from_millis(ms));
            }
            TIMEOUT => {
                let s = given.amount(1..=MAX_TIMEOUT_S, "seconds")?;
                self.timeout = Some(Duration::from_secs(s));
            }
            ON_TIMEOUT => self.on_timeout = Some(given.word()?),
            STUN => self.stun = true,
            STUN_FLOOR => {
                self.stun_floor = Some(CpuShare::percent(given.amount(1..=99, "percent")?));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What the policy is to keep to.
    ///
    /// # Errors
    /// If one option contradicts or misses another.
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        if let (Some(min), Some(max)) = (self.bandwidth_min, self.bandwidth_max)
            && min > max
        {
            return Err(Failure::line(format_args!(
                "--bandwidth-min {min} is more than --bandwidth-max {max}"
            )));
        }
        let then = self.on_timeout.unwrap_or_default();
        if self.on_timeout.is_some() && self.timeout.is_none() {
            return Err(Failure::line("--on-timeout needs a --timeout"));
        }
        let stuns_late = then == OnTimeout::Stun;
        if self.stun_floor.is_some() && !self.stun && !stuns_late {
            return Err(Failure::line("--stun-floor needs --stun or --on-timeout stun"));
        }
        let floor = self.stun_floor.unwrap_or(CpuShare::percent(STUN_FLOOR_PERCENT));
        let default = Settings::default();
        Ok(Settings {
            bandwidth_min: self.bandwidth_min,
            bandwidth_max: self.bandwidth_max,
            downtime_target: self.downtime.unwrap_or(default.downtime_target),
            time_limit: self.timeout.map(|after| TimeLimit { after, then }),
            stun: match (self.stun, stuns_late) {
                (true, _) => Stun::Allowed { floor },
                (false, true) => Stun::OnTimeout { floor },
                (false, false) => Stun::Off,
            },
            ..default
        })
    }
}

fn mbit(given: &Given<'_>) -> Result<Rate, Failure> {
    given.amount(1..=MAX_MBIT, "Mbit/s").map(Rate::mbit_per_s)
}

#[cfg(test)]
mod tests {
    use super::super::wishes::LONG;
    use super::*;

    fn settings(given: &[(u8, &'static str)]) -> Result<Settings, Failure> {
        let mut options = RoundOptions::default();
        for &(letter, value) in given {
            assert!(options.take(&Given::long(LONG, letter, value))?);
        }
        options.settings()
    }

    #[test]
    fn what_is_said_is_kept_to_and_the_rest_is_as_usual() {
        assert_eq!(settings(&[]).unwrap(), Settings::default());
        let found = settings(&[
            (BANDWIDTH_MIN, "100"),
            (BANDWIDTH_MAX, "500"),
            (DOWNTIME, "150"),
            (TIMEOUT, "60"),
            (ON_TIMEOUT, "stop"),
            (STUN, ""),
            (STUN_FLOOR, "25"),
        ]);
        let expected = Settings {
            bandwidth_min: Some(Rate::mbit_per_s(100)),
            bandwidth_max: Some(Rate::mbit_per_s(500)),
            downtime_target: Duration::from_millis(150),
            time_limit: Some(TimeLimit { after: Duration::from_secs(60), then: OnTimeout::Stop }),
            stun: Stun::Allowed { floor: CpuShare::percent(25) },
            ..Settings::default()
        };
        assert_eq!(found.unwrap(), expected);
        let late = settings(&[(TIMEOUT, "60"), (ON_TIMEOUT, "stun")]).unwrap();
        assert_eq!(late.stun, Stun::OnTimeout { floor: CpuShare::percent(10) });
        let mut options = RoundOptions::default();
        assert_eq!(options.take(&Given { letter: b'C', name: "", value: "x" }), Ok(false));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (given, word) in [
            (&[(BANDWIDTH_MIN, "fast")][..], "--bandwidth-min"),
            (&[(BANDWIDTH_MAX, "0")], "--bandwidth-max"),
            (&[(BANDWIDTH_MIN, "9"), (BANDWIDTH_MAX, "8")], "more than"),
            (&[(DOWNTIME, "-1")], "--downtime"),
            (&[(TIMEOUT, "0")], "--timeout"),
            (&[(ON_TIMEOUT, "stop")], "--timeout"),
            (&[(TIMEOUT, "9"), (ON_TIMEOUT, "wait")], "cancel"),
            (&[(STUN_FLOOR, "50")], "--stun"),
            (&[(STUN, ""), (STUN_FLOOR, "100")], "--stun-floor"),
        ] {
            let refused = settings(given).unwrap_err().text();
            assert!(refused.contains(word), "{refused}");
        }
    }
}
