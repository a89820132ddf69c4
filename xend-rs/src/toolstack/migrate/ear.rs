//! What the source hears from its peer, while it does something else.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::words::{self, GO, HEAD_BYTES, READY, REPORT};
use crate::error_line::error_line;
use crate::migration::Cancel;
use crate::stream::xend::{ANSWER_MAGIC, Answer, Frame, Timing, Token};
use crate::stream::{Source, StreamError};
use crate::transport::FdSource;

/// Messages that may wait to be attended to. A receiver has no more than a few to send.
const MAX_UNHEARD: usize = 16;
/// How often the waiting look up.
const TICK: Duration = Duration::from_millis(20);

/// Something that the receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// To the offer.
    Answer(Answer),
    /// It has read so much.
    Taken(u64),
    /// It has everything; in xl's words without a token.
    Ready(Option<Token>),
    /// The guest runs there.
    Running(Vec<Timing>),
    /// xl's status: 0 for well.
    Report(u8),
    /// xl's leave to have the guest back.
    Back,
    /// It could not, and its copy will never run.
    Failed(String),
    /// Nothing more will come.
    Lost(String),
}

/// The next message, or `None` for one that says nothing.
fn listen(source: &mut Source<FdSource>) -> Result<Option<Heard>, StreamError> {
    let mut head = [0; HEAD_BYTES];
    source.read_whole("the receiver's next message", &mut head)?;
    let heard = if head == ANSWER_MAGIC {
        Heard::Answer(Answer::read_rest(source)?)
    } else if let Some(heard) = listen_to_xl(head, source)? {
        heard
    } else if Frame::is_head(head) {
        match Frame::read_body(head, source)? {
            Frame::Ready(token) => Heard::Ready(Some(token)),
            Frame::Running(timings) => Heard::Running(timings),
            Frame::Failed(text) => Heard::Failed(text),
            Frame::KeepAlive | Frame::Other(_) => return Ok(None),
            Frame::Taken(bytes) => Heard::Taken(bytes),
            Frame::Handover(_) | Frame::Cancel(_) => {
                Heard::Lost("the receiver sent what only a sender says".to_owned())
            }
        }
    } else {
        Heard::Lost("migration receiver stream contained unexpected data".to_owned())
    };
    Ok(Some(heard))
}

/// What xl says, if it starts like this.
fn listen_to_xl(
    head: [u8; HEAD_BYTES],
    source: &mut Source<FdSource>,
) -> Result<Option<Heard>, StreamError> {
    let messages: [(&[u8], &str); 3] = [
        (READY, "ready message"),
        (REPORT, "success/failure report message"),
        (GO, "permission for sender to resume"),
    ];
    let Some((message, what)) = messages.into_iter().find(|(m, _)| words::head(m) == head) else {
        return Ok(None);
    };
    let mut rest = vec![0; message.len() - HEAD_BYTES];
    source.read_whole("the receiver's message", &mut rest)?;
    if rest != message[HEAD_BYTES..] {
        let text = format!("migration receiver stream contained unexpected data instead of {what}");
        return Ok(Some(Heard::Lost(text)));
    }
    if message == READY {
        return Ok(Some(Heard::Ready(None)));
    }
    if message == GO {
        return Ok(Some(Heard::Back));
    }
    let mut status = [0];
    source.read_whole("the receiver's status", &mut status)?;
    Ok(Some(Heard::Report(status[0])))
}

/// What was heard and not yet attended to, and what follows from it for the transfer.
pub(super) struct Ear {
    state: Mutex<State>,
    changed: Condvar,
    /// What the peer has read of the stream, as it said last. 0 for one that does not say.
    taken_bytes: AtomicU64,
    /// Ends the transfer under way.
    stop: Cancel,
    /// Somebody wants the migration to end.
    asked: Cancel,
    /// A peer that is silent for so long is dead, once it is one that would not be.
    limit: Duration,
}

struct State {
    queue: VecDeque<Heard>,
    last_heard: Instant,
    /// The peer sends signs of life.
    expects_life: bool,
    /// It is too late to cancel.
    committed: bool,
    /// The conversation is over.
    done: bool,
}

impl Ear {
    pub(super) fn new(stop: Cancel, asked: Cancel, limit: Duration) -> Self {
        let state = State {
            queue: VecDeque::new(),
            last_heard: Instant::now(),
            expects_life: false,
            committed: false,
            done: false,
        };
        let taken_bytes = AtomicU64::new(0);
        Self { state: Mutex::new(state), changed: Condvar::new(), taken_bytes, stop, asked, limit }
    }

    /// Listens until there is nothing more to hear.
    pub(super) fn listen(&self, mut source: Source<FdSource>) {
        loop {
            let heard = listen(&mut source).unwrap_or_else(|e| Some(Heard::Lost(error_line(&e))));
            let is_last = matches!(heard, Some(Heard::Lost(_)));
            let mut state = self.state();
            state.last_heard = Instant::now();
            match heard {
                Some(Heard::Taken(bytes)) => self.taken_bytes.store(bytes, Ordering::Relaxed),
                Some(heard) => self.note(&mut state, heard),
                None => {}
            }
            if is_last || state.done {
                return;
            }
        }
    }

    /// Looks after silence and cancellation until the conversation is over.
    pub(super) fn watch(&self) {
        let mut state = self.state();
        while !state.done {
            if self.asked.is_cancelled() && !state.committed {
                self.stop.cancel();
                self.changed.notify_all();
            }
            if state.expects_life && state.last_heard.elapsed() > self.limit {
                state.expects_life = false;
                let text = format!("nothing was heard from it for {} s", self.limit.as_secs());
                self.note(&mut state, Heard::Lost(text));
            }
            state = self
                .changed
                .wait_timeout(state, TICK)
                .map_or_else(|e| e.into_inner().0, |(state, _)| state);
        }
    }

    /// What comes now ends the transfer, or is waited for.
    fn note(&self, state: &mut State, heard: Heard) {
        log::debug!("heard {heard:?}");
        let heard = match state.queue.len() {
            ..MAX_UNHEARD => heard,
            MAX_UNHEARD => Heard::Lost("it says more than it has to".to_owned()),
            _ => return,
        };
        if matches!(heard, Heard::Lost(_) | Heard::Failed(_)) && !state.committed {
            self.stop.cancel();
        }
        state.queue.push_back(heard);
        self.changed.notify_all();
    }

    /// The next message, if one comes within `timeout`; without one, for as long as the peer is
    /// there and nobody cancels.
    pub(super) fn next(&self, timeout: Option<Duration>) -> Option<Heard> {
        let deadline = timeout.map(|t| Instant::now() + t);
        let mut state = self.state();
        loop {
            if let Some(heard) = state.queue.pop_front() {
                return Some(heard);
            }
            if self.asked.is_cancelled() && !state.committed {
                return None;
            }
            let nap = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return None,
                Some(left) => left,
                None => TICK * 50,
            };
            state = self
                .changed
                .wait_timeout(state, nap)
                .map_or_else(|e| e.into_inner().0, |(state, _)| state);
        }
    }

    /// What the peer has read of the stream, as it said last; `None` for one that does not say.
    pub(super) fn taken_bytes(&self) -> Option<u64> {
        Some(self.taken_bytes.load(Ordering::Relaxed)).filter(|&bytes| bytes > 0)
    }

    /// From now on silence means that the peer is dead.
    pub(super) fn expect_life(&self) {
        let mut state = self.state();
        state.last_heard = Instant::now();
        state.expects_life = true;
    }

    /// From now on nobody can cancel. Gives `false` if somebody already has.
    pub(super) fn commit(&self) -> bool {
        let mut state = self.state();
        state.committed = !self.asked.is_cancelled();
        state.committed
    }

    /// Somebody has asked to end it, in time.
    pub(super) fn is_cancelled(&self) -> bool {
        self.asked.is_cancelled() && !self.state().committed
    }

    /// Ends the conversation when what it gives is dropped, also by a panic: whoever watches or listens
    /// would otherwise be waited for for ever.
    pub(super) fn end_on_drop(&self) -> EndOnDrop<'_> {
        EndOnDrop(self)
    }

    /// The conversation is over.
    fn end(&self) {
        self.state().done = true;
        self.stop.cancel();
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a conversation.
pub(super) struct EndOnDrop<'a>(&'a Ear);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{self, AssertUnwindSafe};
    use std::thread;

    use super::*;

    #[test]
    fn a_panic_does_not_leave_the_watching_behind() {
        let (stop, limit) = (Cancel::default(), Duration::from_secs(60));
        let ear = Ear::new(stop.clone(), Cancel::default(), limit);
        let result: thread::Result<()> = panic::catch_unwind(AssertUnwindSafe(|| {
            thread::scope(|scope| {
                let _end = ear.end_on_drop();
                scope.spawn(|| ear.watch());
                panic!("on purpose");
            });
        }));
        // To be here at all is what is tested: a scope waits for its threads.
        assert!(result.is_err());
        assert!(stop.is_cancelled(), "who listens is woken, too");
    }
}
