//! The options of `xend migrate`.

use std::path::PathBuf;
use std::time::Duration;

use super::rounds::{self, RoundOptions};
use crate::cli::args::Args;
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
const NO_AGENT: u8 = 10;
/// The options that xl has.
const SHORT: &str = "FC:s:epD";
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
    Long::flag("no-agent", NO_AGENT),
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
    /// The guest's agent is to be told.
    pub(super) agent: bool,
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
            agent: true,
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
    /// Reads the options, and the operands after them: a domain, and where it goes unless what it does is
    /// to be cancelled.
    ///
    /// # Errors
    /// If there are too few, or what is said makes no sense.
    pub(super) fn read(args: &Args) -> Result<(Self, Vec<&str>), Failure> {
        let mut options = args.options(SHORT, LONG);
        let mut wishes = Self { dry_run: args.global.dry_run, ..Self::default() };
        while let Some(given) = options.next()? {
            wishes.take(&given)?;
        }
        let operands = options.operands(if wishes.cancel { 1 } else { 2 })?;
        Ok((wishes, operands))
    }

    fn take(&mut self, given: &Given<'_>) -> Result<(), Failure> {
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
            NO_AGENT => self.agent = false,
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
    use crate::cli::args::Global;
    use crate::cli::table;

    /// What `xl migrate` with these words is to do.
    fn wishes(words: &str) -> Result<Wishes, Failure> {
        let table::Found::Command(command) = table::find("migrate") else { panic!("a command") };
        let words = words.split_whitespace().map(str::to_owned).collect();
        let args = Args { program: "xl", global: Global::default(), command, words };
        let (wishes, operands) = Wishes::read(&args)?;
        let expected: &[_] = if wishes.cancel { &["web"] } else { &["web", "b"] };
        assert_eq!(operands, expected);
        Ok(wishes)
    }

    #[test]
    fn what_is_said_is_wished_and_the_rest_is_as_usual() {
        assert_eq!(wishes("web b"), Ok(Wishes::default()));
        assert_eq!(wishes("--live web b"), Ok(Wishes::default()));
        let cancelled = Wishes { cancel: true, ..Wishes::default() };
        assert_eq!(wishes("--cancel web"), Ok(cancelled));
        let found = wishes(
            "-C c -s rsh -e -p -D --debug --dry-run --json --report r --plain-tcp \
             --peer-timeout 86400 --tracking=digest --no-agent web b",
        );
        let expected = Wishes {
            config_file: Some("c".to_owned()),
            ssh: "rsh".to_owned(),
            unwatched: true,
            paused: true,
            keep_domid: true,
            verify: true,
            tracking: Tracking::Digest,
            rounds: RoundOptions::default(),
            agent: false,
            dry_run: true,
            json: true,
            report: Some("r".into()),
            plain_tcp: true,
            peer_timeout: Duration::from_secs(86_400),
            cancel: false,
        };
        assert_eq!(found, Ok(expected));
    }

    #[test]
    fn the_guests_agent_is_told_unless_one_says_no() {
        for (words, told) in [("web b", true), ("--no-agent web b", false), ("--no-a web b", false)]
        {
            assert_eq!(wishes(words).map(|wishes| wishes.agent), Ok(told), "{words}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (words, said) in [
            ("--peer-timeout 86401", "--peer-timeout 86401: a number of seconds was expected"),
            ("--peer-timeout=0", "--peer-timeout 0: a number of seconds was expected"),
            (
                "--tracking magic",
                "--tracking: \"magic\" is no way to track writes: auto, log-dirty, digest or none",
            ),
            ("--stun-floor x", "--stun-floor x: 1 to 99 percent were expected"),
        ] {
            assert_eq!(wishes(&format!("{words} web b")), Err(Failure::line(said)));
        }
    }
}
