//! The options of `xend dirty-rate`.

use std::thread;
use std::time::Duration;

use crate::cli::failure::Failure;
use crate::cli::options::{Given, Long};
use crate::migration::Tracking;
use crate::migration::policy::CpuShare;
use crate::migration::policy::adaptive::Settings;
use crate::migration::probe::ProbeOptions;

const SECONDS: u8 = 1;
const WINDOW: u8 = 2;
const LINK: u8 = 3;
const DOWNTIME: u8 = 4;
const CPU_SHARE: u8 = 5;
const TRACKING: u8 = 6;
const JSON: u8 = 7;
const SVG: u8 = 8;
const TRACE: u8 = 9;
/// There are no others.
pub(super) const LONG: &[Long] = &[
    Long::with_value("seconds", SECONDS),
    Long::with_value("window", WINDOW),
    Long::with_value("link", LINK),
    Long::with_value("downtime", DOWNTIME),
    Long::with_value("cpu-share", CPU_SHARE),
    Long::with_value("tracking", TRACKING),
    Long::flag("json", JSON),
    Long::with_value("svg", SVG),
    Long::with_value("trace", TRACE),
];

/// Links that are predicted for unless one is named, in Mbit/s.
const LINKS_MBIT: [u64; 3] = [100, 1000, 10_000];
/// Threads that reading is of use to.
const MAX_READERS: usize = 8;

/// What the options ask for.
pub(super) struct Wishes {
    pub(super) options: ProbeOptions,
    pub(super) links_mbit: Vec<u64>,
    pub(super) downtime: Duration,
    pub(super) share: CpuShare,
    pub(super) json: bool,
    /// A file for the curve.
    pub(super) svg: Option<String>,
    /// A file for the pages of each window.
    pub(super) trace: Option<String>,
}

impl Default for Wishes {
    fn default() -> Self {
        let vcpus = thread::available_parallelism().map_or(1, usize::from);
        Self {
            options: ProbeOptions { readers: vcpus.min(MAX_READERS), ..ProbeOptions::default() },
            links_mbit: LINKS_MBIT.to_vec(),
            downtime: Settings::DOWNTIME_TARGET,
            share: CpuShare::FULL,
            json: false,
            svg: None,
            trace: None,
        }
    }
}

impl Wishes {
    /// Takes an option.
    ///
    /// # Errors
    /// If its value is none.
    pub(super) fn take(&mut self, given: &Given<'_>) -> Result<(), Failure> {
        match given.letter {
            SECONDS => self.options.length = Duration::from_secs(given.number(1..=3600)?),
            WINDOW => self.options.window = Duration::from_millis(given.number(1..=60_000)?),
            LINK => self.links_mbit = vec![given.number(1..=10_000_000)?],
            DOWNTIME => self.downtime = Duration::from_millis(given.number(0..=3_600_000)?),
            CPU_SHARE => self.share = CpuShare::percent(given.number(1..=100)?),
            TRACKING => self.options.tracking = tracking(given)?,
            JSON => self.json = true,
            SVG => self.svg = Some(given.value.to_owned()),
            TRACE => {
                self.trace = Some(given.value.to_owned());
                self.options.trace = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// How writes are seen, which they must be.
fn tracking(given: &Given<'_>) -> Result<Tracking, Failure> {
    match given.word::<Tracking>()? {
        Tracking::None => Err(Failure::line("--tracking none: without tracking nothing is seen")),
        tracking => Ok(tracking),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(given: &[(u8, &str)]) -> Result<Wishes, Failure> {
        let mut wishes = Wishes::default();
        for &(letter, value) in given {
            wishes.take(&Given::long(LONG, letter, value))?;
        }
        Ok(wishes)
    }

    #[test]
    fn what_is_said_is_done() {
        let given =
            [(SECONDS, "60"), (WINDOW, "20"), (LINK, "40"), (DOWNTIME, "0"), (CPU_SHARE, "50")];
        let Ok(found) = wishes(&given) else { panic!("it makes sense") };
        let (probe, ms) = (found.options, Duration::from_millis);
        assert_eq!((probe.length, probe.window, found.downtime), (ms(60_000), ms(20), ms(0)));
        assert_eq!((found.links_mbit, found.share), (vec![40], CpuShare::percent(50)));
        let Ok(found) = wishes(&[(TRACKING, "digest"), (JSON, ""), (SVG, "a")]) else {
            panic!("it makes sense")
        };
        assert_eq!(found.options.tracking, Tracking::Digest);
        assert_eq!((found.json, found.svg.as_deref()), (true, Some("a")));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (letter, value, said) in [
            (SECONDS, "3601", "--seconds 3601: a number from 1 to 3600 was expected"),
            (WINDOW, "0", "--window 0: a number from 1 to 60000 was expected"),
            (LINK, "fast", "--link fast: a number from 1 to 10000000 was expected"),
            (DOWNTIME, "-1", "--downtime -1: a number from 0 to 3600000 was expected"),
            (TRACKING, "none", "--tracking none: without tracking nothing is seen"),
            (CPU_SHARE, "300", "--cpu-share 300: a number from 1 to 100 was expected"),
        ] {
            let refused = wishes(&[(letter, value)]).err();
            assert_eq!(refused, Some(Failure::line(said)));
        }
        let refused = wishes(&[(TRACKING, "magic")]).err().map(|failure| failure.text());
        assert!(refused.is_some_and(|text| text.starts_with("xend: --tracking: \"magic\"")));
    }
}
