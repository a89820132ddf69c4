//! What the guest says. The host believes none of it to its own harm.

use std::fmt;

use super::fields::{Fields, Unreadable, yes_no};

/// What the agent says to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// That of the command.
    pub number: u32,
    /// What it says.
    pub reply: Reply,
}

/// How far the agent is with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It has begun.
    Seen,
    /// It is through.
    Done {
        /// Memory that it has given back, in KiB.
        freed_kib: u64,
        /// Hooks that failed or were not through in time.
        hooks_failed: u32,
        /// Whether the guest's kernel says what a process writes.
        soft_dirty: bool,
        /// Processes that are held.
        held: u32,
    },
    /// It could not.
    Failed(String),
}

impl Reply {
    /// Done, with nothing to tell.
    pub const DONE: Self = Self::Done { freed_kib: 0, hooks_failed: 0, soft_dirty: false, held: 0 };
}

impl Answer {
    /// Reads a node.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut fields = Fields::new(bytes)?;
        let number = fields.number("number")?;
        let reply = match fields.word("answer")? {
            "seen" => Reply::Seen,
            "done" => {
                let pairs = fields.pairs();
                Reply::Done {
                    freed_kib: pairs.number("freed_kib")?.unwrap_or(0),
                    hooks_failed: pairs.number("hooks_failed")?.unwrap_or(0),
                    soft_dirty: pairs.flag("soft_dirty")?,
                    held: pairs.number("held")?.unwrap_or(0),
                }
            }
            "failed" => Reply::Failed(fields.rest()),
            _ => return Err(Unreadable::Bad("answer")),
        };
        Ok(Self { number, reply })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reply {
            Reply::Seen => write!(f, "{} seen", self.number),
            Reply::Done { freed_kib, hooks_failed, soft_dirty, held } => write!(
                f,
                "{} done freed_kib={freed_kib} hooks_failed={hooks_failed} soft_dirty={} \
                 held={held}",
                self.number,
                yes_no(*soft_dirty)
            ),
            Reply::Failed(why) => {
                // A node has one line, and a bounded one.
                let why: String =
                    why.chars().filter(|c| (' '..='~').contains(c)).take(200).collect();
                write!(f, "{} failed {why}", self.number)
            }
        }
    }
}

/// Where the agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is going on.
    Idle,
    /// It prepares for the move.
    Preparing,
    /// It has prepared.
    Prepared,
    /// It holds those that write too fast.
    PreCopy,
    /// It waits for the suspend.
    Suspending,
}

impl State {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Idle, "idle"),
        (Self::Preparing, "preparing"),
        (Self::Prepared, "prepared"),
        (Self::PreCopy, "pre-copy"),
        (Self::Suspending, "suspending"),
    ];

    /// Reads a node; what follows the first word is for people.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let word = Fields::new(bytes)?.word("state")?;
        let found = Self::ALL.iter().find(|(_, name)| *name == word);
        found.map(|(state, _)| *state).ok_or(Unreadable::Bad("state"))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(state, _)| state == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_can_be_read(
            number: u32, freed_kib: u64, hooks_failed: u32, soft_dirty: bool, held: u32,
        ) {
            let reply = Reply::Done { freed_kib, hooks_failed, soft_dirty, held };
            let answer = Answer { number, reply };
            prop_assert_eq!(Answer::parse(answer.to_string().as_bytes()), Ok(answer));
        }

        #[test]
        fn anything_can_be_looked_at(bytes: Vec<u8>) {
            let _ = Answer::parse(&bytes);
            let _ = State::parse(&bytes);
        }

        #[test]
        fn what_failed_is_said_in_one_bounded_line(why: String) {
            let text = Answer { number: 1, reply: Reply::Failed(why) }.to_string();
            prop_assert!(matches!(
                Answer::parse(text.as_bytes()),
                Ok(Answer { number: 1, reply: Reply::Failed(_) })
            ), "{}", text);
        }
    }

    #[test]
    fn states_have_names() {
        for (state, name) in State::ALL {
            assert_eq!(state.to_string(), name);
            assert_eq!(State::parse(format!("{name} because of it").as_bytes()), Ok(state));
        }
        assert!(State::parse(b"asleep").is_err());
        assert!(State::parse(b"").is_err());
    }

    #[test]
    fn lies_are_refused() {
        for bad in
            ["done", "1", "1 gone", "-1 seen", "1 done freed_kib=-5", "1 done held=99999999999"]
        {
            assert!(Answer::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
