//! What the host says.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::fields::{Fields, Unreadable, yes_no};

/// How long the host's silence may last before the agent gives up on it, in seconds.
pub const DEADMAN_RANGE: RangeInclusive<u32> = 1..=60;
/// The longest deadline for preparing, in milliseconds.
const MAX_DEADLINE_MS: u32 = 600_000;

/// A stage, as the host tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Of the protocol.
    pub version: u16,
    /// Differs from that of the command before.
    pub number: u32,
    /// What is about to happen.
    pub word: Word,
}

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The guest is going to be moved.
    Prepare(PrepareOrder),
    /// Its memory is being copied while it runs.
    PreCopy(Share),
    /// It is going to be suspended.
    Suspend,
    /// It was suspended, and goes on here.
    Resume,
    /// It is not moved after all.
    Cancel,
}

/// How to prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareOrder {
    /// How long the host waits for it, in milliseconds.
    pub deadline_ms: u32,
    /// After so many seconds of silence the host is dead.
    pub deadman_s: u32,
    /// What to do with clean page cache.
    pub cache: Cache,
    /// Whether free memory may be given back.
    pub balloon: bool,
    /// Whether free memory may be overwritten with zeroes, for where such pages do not travel.
    pub zero: bool,
    /// The host's port of an event channel, if there is one.
    pub port: Option<u32>,
}

/// What to do with clean page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Drop it: it is read again from disk where the guest arrives.
    Drop,
    /// Leave it: it travels.
    Keep,
}

/// How much of the link the guest's processes may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// All of them together, in KiB a second.
    pub rate_kib_s: u32,
    /// After so many seconds of silence the host is dead.
    pub deadman_s: u32,
}

impl PrepareOrder {
    /// How long the host waits.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms.into())
    }
}

impl Command {
    /// Reads a node.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut fields = Fields::new(bytes)?;
        let version = fields.number("version")?;
        let number = fields.number("number")?;
        let word = fields.word("command")?;
        let pairs = fields.pairs();
        let deadman_s = || {
            let seconds = pairs.number("deadman_s")?.ok_or(Unreadable::Missing("deadman_s"))?;
            let good = DEADMAN_RANGE.contains(&seconds);
            good.then_some(seconds).ok_or(Unreadable::Bad("deadman_s"))
        };
        let word = match word {
            "prepare" => Word::Prepare(PrepareOrder {
                deadline_ms: pairs
                    .number("deadline_ms")?
                    .filter(|ms| *ms <= MAX_DEADLINE_MS)
                    .ok_or(Unreadable::Bad("deadline_ms"))?,
                deadman_s: deadman_s()?,
                cache: match pairs.text("cache") {
                    Some("drop") => Cache::Drop,
                    None | Some("keep") => Cache::Keep,
                    Some(_) => return Err(Unreadable::Bad("cache")),
                },
                balloon: pairs.flag("balloon")?,
                zero: pairs.flag("zero")?,
                port: pairs.number("port")?,
            }),
            "pre-copy" => Word::PreCopy(Share {
                rate_kib_s: pairs.number("rate_kib_s")?.ok_or(Unreadable::Missing("rate_kib_s"))?,
                deadman_s: deadman_s()?,
            }),
            "suspend" => Word::Suspend,
            "resume" => Word::Resume,
            "cancel" => Word::Cancel,
            _ => return Err(Unreadable::Bad("command")),
        };
        Ok(Self { version, number, word })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.version, self.number, self.word)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare(order) => {
                let cache = match order.cache {
                    Cache::Drop => "drop",
                    Cache::Keep => "keep",
                };
                write!(
                    f,
                    "prepare deadline_ms={} deadman_s={} cache={cache} balloon={} zero={}",
                    order.deadline_ms,
                    order.deadman_s,
                    yes_no(order.balloon),
                    yes_no(order.zero)
                )?;
                order.port.map_or(Ok(()), |port| write!(f, " port={port}"))
            }
            Self::PreCopy(share) => {
                write!(f, "pre-copy rate_kib_s={} deadman_s={}", share.rate_kib_s, share.deadman_s)
            }
            Self::Suspend => f.write_str("suspend"),
            Self::Resume => f.write_str("resume"),
            Self::Cancel => f.write_str("cancel"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words() -> impl Strategy<Value = Word> {
        let prepare =
            (0..=MAX_DEADLINE_MS, DEADMAN_RANGE, any::<(bool, bool, bool, Option<u32>)>());
        prop_oneof![
            prepare.prop_map(|(deadline_ms, deadman_s, (drop, balloon, zero, port))| {
                let cache = if drop { Cache::Drop } else { Cache::Keep };
                Word::Prepare(PrepareOrder { deadline_ms, deadman_s, cache, balloon, zero, port })
            }),
            (any::<u32>(), DEADMAN_RANGE)
                .prop_map(|(rate_kib_s, deadman_s)| Word::PreCopy(Share { rate_kib_s, deadman_s })),
            Just(Word::Suspend),
            Just(Word::Resume),
            Just(Word::Cancel),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(version: u16, number: u32, word in words()) {
            let command = Command { version, number, word };
            let text = command.to_string();
            prop_assert!(text.len() <= super::super::MAX_BYTES);
            prop_assert_eq!(Command::parse(text.as_bytes()), Ok(command));
        }

        #[test]
        fn anything_can_be_looked_at(bytes: Vec<u8>) {
            let _ = Command::parse(&bytes);
        }
    }

    #[test]
    fn keys_of_a_later_version_are_skipped() {
        let command = Command::parse(b"1 7 pre-copy rate_kib_s=10 colour=red deadman_s=5").unwrap();
        let share = Share { rate_kib_s: 10, deadman_s: 5 };
        assert_eq!(command, Command { version: 1, number: 7, word: Word::PreCopy(share) });
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for bad in [
            "",
            "1",
            "1 2",
            "1 2 dance",
            "1 4294967296 cancel",
            "1 2 prepare",
            "1 2 prepare deadline_ms=600001 deadman_s=5",
            "1 2 prepare deadline_ms=1 deadman_s=0",
            "1 2 prepare deadline_ms=1 deadman_s=61",
            "1 2 prepare deadline_ms=1 deadman_s=5 cache=burn",
            "1 2 prepare deadline_ms=1 deadman_s=5 balloon=maybe",
            "1 2 prepare deadline_ms=1 deadman_s=5 port=-1",
            "1 2 pre-copy deadman_s=5",
            "1 2 pre-copy rate_kib_s=9 ",
            "1 2 cancel\n",
        ] {
            assert!(Command::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let long = format!("1 2 cancel {}", "x".repeat(super::super::MAX_BYTES));
        let bytes = long.len();
        assert_eq!(Command::parse(long.as_bytes()), Err(Unreadable::TooLong { bytes }));
    }
}
