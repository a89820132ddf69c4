//! The options of `xend migrate`.

use std::path::PathBuf;
use std::time::Duration;

use super::rounds::{self, RoundOptions};
use crate::cli::failure::Failure;
use crate::cli::options::{Given, Long};
use crate::migration::Tracking;

const LIVE: u8 = 1;
const DEBUG: u8 = 2;
const DRY_RUN: u8 = 3;
const JSON: u8 = 4;
const REPORT: u8 = 5;
const PLAIN_TCP: u8 = 6;
const PEER_TIMEOUT: u8 = 7;
const CANCEL: u8 = 8;
const TRACKING: u8 = 9;
/// The options that xl has.
pub(super) const SHORT: &str = "FC:s:epD";
/// Those with names, most of which it has not.
pub(super) const LONG: &[Long] = &[
    Long::flag("live", LIVE),
    Long::flag("debug", DEBUG),
    Long::flag("dry-run", DRY_RUN),
    Long::flag("json", JSON),
    Long::with_value("report", REPORT),
    Long::flag("plain-tcp", PLAIN_TCP),
    Long::with_value("peer-timeout", PEER_TIMEOUT),
    Long::flag("cancel", CANCEL),
    Long::with_value("tracking", TRACKING),
    Long::with_value("bandwidth-min", rounds::BANDWIDTH_MIN),
    Long::with_value("bandwidth-max", rounds::BANDWIDTH_MAX),
    Long::with_value("downtime", rounds::DOWNTIME),
    Long::with_value("timeout", rounds::TIMEOUT),
    Long::with_value("on-timeout", rounds::ON_TIMEOUT),
    Long::flag("stun", rounds::STUN),
    Long::with_value("stun-floor", rounds::STUN_FLOOR),
];

/// How long a dead peer is waited for unless told otherwise.
const PEER_TIMEOUT_S: u64 = 30;
const MAX_PEER_TIMEOUT_S: u64 = 86_400;

/// What the options ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    /// To be sent in place of the stored one.
    pub(super) config_file: Option<String>,
    pub(super) ssh: String,
    /// Nobody shall watch over it there.
    pub(super) unwatched: bool,
    pub(super) paused: bool,
    pub(super) keep_domid: bool,
    pub(super) verify: bool,
    pub(super) tracking: Tracking,
    pub(super) rounds: RoundOptions,
    pub(super) dry_run: bool,
    pub(super) json: bool,
    pub(super) report: Option<PathBuf>,
    pub(super) plain_tcp: bool,
    pub(super) peer_timeout: Duration,
    /// End a migration that is under way.
    pub(super) cancel: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            config_file: None,
            ssh: "ssh".to_owned(),
            unwatched: false,
            paused: false,
            keep_domid: false,
            verify: false,
            tracking: Tracking::Auto,
            rounds: RoundOptions::default(),
            dry_run: false,
            json: false,
            report: None,
            plain_tcp: false,
            peer_timeout: Duration::from_secs(PEER_TIMEOUT_S),
            cancel: false,
        }
    }
}

impl Wishes {
    /// Takes an option.
    ///
    /// # Errors
    /// If its value is none.
    pub(super) fn take(&mut self, given: &Given<'_>) -> Result<(), Failure> {
        if self.rounds.take(given)? {
            return Ok(());
        }
        match given.letter {
            b'C' => self.config_file = Some(given.value.to_owned()),
            b's' => given.value.clone_into(&mut self.ssh),
            b'F' | b'e' => self.unwatched = true,
            b'p' => self.paused = true,
            b'D' => self.keep_domid = true,
            DEBUG => self.verify = true,
            DRY_RUN => self.dry_run = true,
            JSON => self.json = true,
            REPORT => self.report = Some(given.value.into()),
            PLAIN_TCP => self.plain_tcp = true,
            PEER_TIMEOUT => {
                let s = given.number_or(1..=MAX_PEER_TIMEOUT_S, "a number of seconds was expected");
                self.peer_timeout = Duration::from_secs(s?);
            }
            TRACKING => self.tracking = given.word()?,
            CANCEL => self.cancel = true,
            // Every migration is live.
            _ => {}
        }
        Ok(())
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
    fn what_is_said_is_wished_and_the_rest_is_as_usual() {
        assert_eq!(wishes(&[(LIVE, "")]), Ok(Wishes::default()));
        let given = [
            (DEBUG, ""),
            (DRY_RUN, ""),
            (JSON, ""),
            (REPORT, "r"),
            (PLAIN_TCP, ""),
            (PEER_TIMEOUT, "86400"),
            (CANCEL, ""),
            (TRACKING, "digest"),
        ];
        let expected = Wishes {
            verify: true,
            dry_run: true,
            json: true,
            report: Some("r".into()),
            plain_tcp: true,
            peer_timeout: Duration::from_secs(86_400),
            cancel: true,
            tracking: Tracking::Digest,
            ..Wishes::default()
        };
        assert_eq!(wishes(&given), Ok(expected));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (letter, value, said) in [
            (PEER_TIMEOUT, "86401", "--peer-timeout 86401: a number of seconds was expected"),
            (PEER_TIMEOUT, "0", "--peer-timeout 0: a number of seconds was expected"),
            (
                TRACKING,
                "magic",
                "--tracking: \"magic\" is no way to track writes: auto, log-dirty, digest or none",
            ),
            (rounds::STUN_FLOOR, "x", "--stun-floor x: 1 to 99 percent were expected"),
        ] {
            assert_eq!(wishes(&[(letter, value)]), Err(Failure::line(said)));
        }
    }
}
