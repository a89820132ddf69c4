//! The host's side: says each stage, and waits no longer than it has to.
//!
//! A guest may have no agent, a dead one, a slow one, one of another version or one that lies. None of
//! it is an error: the migration goes on, and [`Outcome`] says with whom.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::protocol::{
    ANSWER, Answer, BEAT, COMMAND, Cache, Command, DEADMAN_RANGE, GUEST_FOLDER, HOST_FOLDER, OURS,
    PROGRAM, PrepareOrder, Reply, STATE, Share, State, VERSIONS, Versions, Word,
};
use crate::{Bell, Store};

/// A live agent notices a command within so long.
const SEEN_WITHIN: Duration = Duration::from_secs(1);
/// Stopping those that take turns is quick, and the guest is to be suspended now.
const SUSPEND_WITHIN: Duration = Duration::from_millis(500);
const RELEASE_WITHIN: Duration = Duration::from_secs(1);
/// The longest sleep, so that a cancellation is heard.
const MAX_NAP: Duration = Duration::from_millis(50);

/// What is wished of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How long preparing may take.
    pub deadline: Duration,
    /// After so many seconds of our silence the agent is to release everything.
    pub deadman_s: u32,
    /// What to do with clean page cache.
    pub cache: Cache,
    /// Whether free memory may be given back.
    pub balloon: bool,
    /// Whether free memory may be overwritten with zeroes.
    pub zero: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            deadman_s: 10,
            cache: Cache::Drop,
            balloon: false,
            zero: false,
        }
    }
}

/// What the agent says it has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Memory that it has given back, in KiB.
    pub freed_kib: u64,
    /// Hooks that failed or were not through in time.
    pub hooks_failed: u32,
    /// Whether it can tell which process writes how much.
    pub soft_dirty: bool,
}

/// Whether the guest helps.
#[derive(Debug)]
pub enum Outcome {
    /// It does.
    Prepared(Prepared),
    /// There is nobody.
    NoAgent,
    /// There is somebody who does not speak as we do.
    OtherVersion(Versions),
    /// There was somebody, who does not answer any more.
    Silent,
    /// It was not through in time.
    Late,
    /// It could not.
    Failed(String),
    /// We were told to stop.
    Cancelled,
    /// xenstore did not let us ask.
    Broken(io::Error),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepared(Prepared { freed_kib, hooks_failed, .. }) => {
                write!(f, "the guest's agent has prepared; {freed_kib} KiB were given back")?;
                match hooks_failed {
                    0 => Ok(()),
                    failed => write!(f, "; {failed} of its hooks failed"),
                }
            }
            Self::NoAgent => f.write_str("the guest has no agent"),
            Self::OtherVersion(versions) => {
                write!(f, "the guest's agent speaks other versions ({versions})")
            }
            Self::Silent => f.write_str("the guest's agent does not answer"),
            Self::Late => f.write_str("the guest's agent was not through in time"),
            Self::Failed(why) => write!(f, "the guest's agent could not prepare: {why}"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Broken(error) => write!(f, "the guest's agent cannot be asked: {error}"),
        }
    }
}

/// What there is to know of a guest's agent without asking it anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The versions it speaks.
    pub versions: Versions,
    /// What it calls itself; printable.
    pub program: String,
    /// Where it is, if it says so.
    pub state: Option<State>,
}

/// One migration, as told to one guest. Dropping it ends the session: the agent releases everything.
#[derive(Debug)]
pub struct Notifier<S: Store, B: Bell> {
    store: S,
    bell: Option<B>,
    number: u32,
    session: Option<Session>,
}

/// The agent is with us.
#[derive(Debug)]
struct Session {
    version: u16,
    deadman_s: u32,
    beats: u64,
    last_beat: Instant,
}

/// What came of waiting for an answer.
enum Heard {
    Reply(Reply),
    Unseen,
    Late,
    Cancelled,
}

impl<S: Store, B: Bell> Notifier<S, B> {
    /// `store` has the guest's nodes. `first_number` should differ from one migration to the next:
    /// anything random.
    pub fn new(store: S, first_number: u32) -> Self {
        Self { store, bell: None, number: first_number, session: None }
    }

    /// What is there of an agent. `None` where nothing readable is.
    ///
    /// # Errors
    /// When xenstored does not answer.
    pub fn look(&mut self) -> io::Result<Option<Sight>> {
        let Some(bytes) = self.store.read(VERSIONS)? else { return Ok(None) };
        let versions = match Versions::parse(&bytes) {
            Ok(versions) => versions,
            Err(why) => {
                log::warn!("the guest's {VERSIONS} makes no sense: {why}");
                return Ok(None);
            }
        };
        let program = self.store.read(PROGRAM)?.unwrap_or_default();
        let program = program.iter().take(64).filter(|byte| (b' '..=b'~').contains(*byte));
        let state = self.store.read(STATE)?.and_then(|bytes| State::parse(&bytes).ok());
        let program = program.map(|byte| char::from(*byte)).collect();
        Ok(Some(Sight { versions, program, state }))
    }

    /// Tells the guest that it is going to be moved, and waits until it has prepared. Where there is
    /// no agent this takes no time. `bell` makes an event channel for the guest, if that can be.
    pub fn prepare(
        &mut self,
        wish: &Wish,
        bell: impl FnOnce() -> Option<B>,
        cancelled: &dyn Fn() -> bool,
    ) -> Outcome {
        let outcome = self.try_prepare(wish, bell, cancelled).unwrap_or_else(Outcome::Broken);
        if !matches!(outcome, Outcome::Prepared(_)) {
            self.end();
        }
        outcome
    }

    fn try_prepare(
        &mut self,
        wish: &Wish,
        bell: impl FnOnce() -> Option<B>,
        cancelled: &dyn Fn() -> bool,
    ) -> io::Result<Outcome> {
        let Some(sight) = self.look()? else { return Ok(Outcome::NoAgent) };
        let Some(version) = sight.versions.common(OURS) else {
            return Ok(Outcome::OtherVersion(sight.versions));
        };
        let deadman_s = wish.deadman_s.clamp(*DEADMAN_RANGE.start(), *DEADMAN_RANGE.end());
        self.session = Some(Session { version, deadman_s, beats: 0, last_beat: Instant::now() });
        self.bell = bell();
        let order = PrepareOrder {
            deadline_ms: u32::try_from(wish.deadline.as_millis()).unwrap_or(600_000).min(600_000),
            deadman_s,
            cache: wish.cache,
            balloon: wish.balloon,
            zero: wish.zero,
            port: self.bell.as_ref().map(Bell::port),
        };
        let started = Instant::now();
        self.say(Word::Prepare(order))?;
        let seen_by = Some(started + SEEN_WITHIN.min(wish.deadline));
        let heard = self.hear(seen_by, started + wish.deadline, cancelled)?;
        if matches!(heard, Heard::Reply(_)) {
            // The agent has closed it by now.
            self.bell = None;
        }
        Ok(match heard {
            Heard::Reply(Reply::Done { freed_kib, hooks_failed, soft_dirty, .. }) => {
                Outcome::Prepared(Prepared { freed_kib, hooks_failed, soft_dirty })
            }
            Heard::Reply(Reply::Failed(why)) => Outcome::Failed(why),
            Heard::Unseen => {
                // So that nobody waits for it again. A live one puts them back.
                self.store.remove(GUEST_FOLDER)?;
                Outcome::Silent
            }
            Heard::Late | Heard::Reply(Reply::Seen) => Outcome::Late,
            Heard::Cancelled => Outcome::Cancelled,
        })
    }

    /// The guest's memory is being copied. `rate_bytes_per_s` is what its processes may write
    /// together; may be called again with another rate. Waits for nothing.
    pub fn pre_copy(&mut self, rate_bytes_per_s: u64) {
        let Some(deadman_s) = self.session.as_ref().map(|session| session.deadman_s) else {
            return;
        };
        let rate_kib_s = u32::try_from(rate_bytes_per_s >> 10).unwrap_or(u32::MAX);
        self.tell(Word::PreCopy(Share { rate_kib_s, deadman_s }));
    }

    /// The guest is going to be suspended. Returns how many processes are held, if the agent says so
    /// at once.
    pub fn suspending(&mut self) -> Option<u32> {
        self.session.as_ref()?;
        self.tell(Word::Suspend);
        match self.hear(None, Instant::now() + SUSPEND_WITHIN, &|| false) {
            Ok(Heard::Reply(Reply::Done { held, .. })) => Some(held),
            _ => None,
        }
    }

    /// The guest goes on here after a suspend: a snapshot.
    pub fn resumed(&mut self) {
        self.release(Word::Resume);
    }

    /// The guest stays here.
    pub fn cancelled(&mut self) {
        self.release(Word::Cancel);
    }

    /// Whether an agent takes part. It may have left by itself: it was killed, or it did not hear us.
    pub fn has_agent(&mut self) -> bool {
        self.session.is_some()
            && self.store.read(STATE).is_ok_and(|state| {
                state.is_some_and(|state| State::parse(&state) != Ok(State::Idle))
            })
    }

    /// Lets the agent know that we live, if that is due. To be called twice a second or so.
    pub fn beat(&mut self) {
        let Some(session) = &mut self.session else { return };
        let period = Duration::from_secs(session.deadman_s.into()) / 5;
        if session.last_beat.elapsed() < period {
            return;
        }
        session.last_beat = Instant::now();
        session.beats += 1;
        let beats = session.beats;
        if let Err(error) = self.store.write(BEAT, &beats.to_string()) {
            log::warn!("the guest's agent cannot be told that we live: {error}");
        }
    }

    fn release(&mut self, word: Word) {
        if self.session.is_some() {
            self.tell(word);
            let _ = self.hear(None, Instant::now() + RELEASE_WITHIN, &|| false);
            self.end();
        }
    }

    /// Ends the session, if there is one: the agent is on its own.
    fn end(&mut self) {
        if self.session.take().is_none() {
            return;
        }
        // A guest that is gone has no nodes, and removing them is no error.
        if let Err(error) = self.store.remove(HOST_FOLDER) {
            log::warn!("the guest's agent cannot be told that it is over: {error}");
        }
        if let Some(bell) = self.bell.take() {
            bell.ring();
        }
    }

    fn tell(&mut self, word: Word) {
        if let Err(error) = self.say(word) {
            log::warn!("the guest's agent cannot be told to {word}: {error}");
        }
    }

    fn say(&mut self, word: Word) -> io::Result<()> {
        let Some(session) = &mut self.session else { return Ok(()) };
        self.number = self.number.wrapping_add(1);
        session.last_beat = Instant::now();
        let command = Command { version: session.version, number: self.number, word };
        log::debug!("to the guest's agent: {command}");
        self.store.write(COMMAND, &command.to_string())?;
        if let Some(bell) = &self.bell {
            bell.ring();
        }
        Ok(())
    }

    /// Waits for the answer to the last command.
    fn hear(
        &mut self,
        seen_by: Option<Instant>,
        deadline: Instant,
        cancelled: &dyn Fn() -> bool,
    ) -> io::Result<Heard> {
        let mut seen = false;
        loop {
            match self.answer()? {
                Some(Reply::Seen) => seen = true,
                Some(reply) => return Ok(Heard::Reply(reply)),
                None => {}
            }
            let now = Instant::now();
            if cancelled() {
                return Ok(Heard::Cancelled);
            }
            if !seen && seen_by.is_some_and(|seen_by| now >= seen_by) {
                return Ok(Heard::Unseen);
            }
            if now >= deadline {
                return Ok(Heard::Late);
            }
            self.beat();
            self.store.wait((deadline - now).min(MAX_NAP))?;
        }
    }

    /// The answer to the last command, if it is there and makes sense.
    fn answer(&mut self) -> io::Result<Option<Reply>> {
        let Some(bytes) = self.store.read(ANSWER)? else { return Ok(None) };
        match Answer::parse(&bytes) {
            Ok(answer) => Ok((answer.number == self.number).then_some(answer.reply)),
            Err(why) => {
                log::debug!("the guest's {ANSWER} makes no sense: {why}");
                Ok(None)
            }
        }
    }
}

impl<S: Store, B: Bell> Drop for Notifier<S, B> {
    fn drop(&mut self) {
        self.end();
    }
}
