//! The nodes and the states together: what the agent does all day.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use guest_notifier::Store;
use guest_notifier::protocol::{
    ANSWER, Answer, BEAT, COMMAND, GUEST_FOLDER, INSTANCE, OURS, PROGRAM, PrepareOrder, Reply,
    STATE, Share, State, VERSIONS,
};

use crate::machine::{Action, Machine};
use crate::say::{complain, say};

/// How often the nodes are looked at while nothing goes on, besides when they change.
const IDLE_LOOK: Duration = Duration::from_secs(2);
/// The same within a session. Each look costs xenstored three requests, and the host has other things to
/// do then.
const BUSY_LOOK: Duration = Duration::from_millis(500);
/// The same while the guest prepares: the end of it is not told by a node.
const PREPARING_LOOK: Duration = Duration::from_millis(50);
/// How long xenstore is left alone after it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What a session does to the guest.
pub trait Deeds {
    /// Begins to prepare, and returns at once.
    fn prepare(&mut self, order: &PrepareOrder);

    /// How preparing ended, once.
    fn prepared(&mut self) -> Option<Reply>;

    /// Holds those that write more than their share, from now on or with another share.
    fn share(&mut self, share: &Share);

    /// Lets nobody run who is held; how many there are.
    fn still(&mut self) -> u32;

    /// Undoes everything. Must do what it can even if nothing is known to be held.
    fn release(&mut self);

    /// We live. Called often.
    fn alive(&mut self, busy: bool);
}

/// The agent: one guest's nodes, and what is done about them.
#[derive(Debug)]
pub struct Session<S, D> {
    store: S,
    deeds: D,
    machine: Machine,
    instance: String,
    started: Instant,
}

impl<S: Store, D: Deeds> Session<S, D> {
    /// Publishes the agent under the name `instance`, which no other agent process has.
    ///
    /// # Errors
    /// When xenstore cannot be read or written.
    pub fn start(mut store: S, deeds: D, instance: String) -> io::Result<Self> {
        let machine = Machine::new(store.read(COMMAND)?.as_deref());
        let mut session = Self { store, deeds, machine, instance, started: Instant::now() };
        session.publish()?;
        Ok(session)
    }

    /// Serves the host until `stop`, and leaves nothing behind.
    pub fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let busy = self.machine.state() != State::Idle;
            self.deeds.alive(busy);
            let nap = match self.machine.state() {
                State::Idle => IDLE_LOOK,
                State::Preparing => PREPARING_LOOK,
                State::Prepared | State::PreCopy | State::Suspending => BUSY_LOOK,
            };
            if let Err(error) = self.store.wait(nap).and_then(|()| self.step()) {
                complain(format_args!("xenstore: {error}"));
                // What the host says cannot be heard any more; the guardian must not mind the pause.
                self.deeds.alive(busy);
                std::thread::sleep(PAUSE);
                self.silence();
            }
        }
        self.deeds.release();
        let _ = self.store.remove(GUEST_FOLDER);
    }

    /// Looks once, and does what is to be done.
    ///
    /// # Errors
    /// When xenstore cannot be read or written.
    pub fn step(&mut self) -> io::Result<()> {
        if self.store.read(INSTANCE)?.as_deref() != Some(self.instance.as_bytes()) {
            let actions = self.machine.moved();
            self.carry_out(actions)?;
            self.publish()?;
        }
        if let Some(reply) = self.deeds.prepared() {
            // Long before the guest stops: see `Bell`.
            self.store.listen(None);
            let actions = self.machine.prepared(reply);
            self.carry_out(actions)?;
        }
        let (command, beat) = (self.store.read(COMMAND)?, self.store.read(BEAT)?);
        let now = self.started.elapsed();
        let actions = self.machine.look(now, command.as_deref(), beat.as_deref());
        self.carry_out(actions)
    }

    /// Without xenstore nothing holds us: only what must be done in the guest is.
    fn silence(&mut self) {
        if self.machine.moved().contains(&Action::Release) {
            self.store.listen(None);
            self.deeds.release();
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> io::Result<()> {
        // What is done in the guest comes first, whatever becomes of telling it.
        let mut told = Ok(());
        for action in actions {
            let result = match action {
                Action::Answer(answer) => self.answer(&answer),
                Action::Prepare(order) => {
                    self.store.listen(order.port);
                    self.deeds.prepare(&order);
                    Ok(())
                }
                Action::Share(share) => {
                    self.store.listen(None);
                    self.deeds.share(&share);
                    Ok(())
                }
                Action::Still { number } => {
                    let held = self.deeds.still();
                    let reply =
                        Reply::Done { freed_kib: 0, hooks_failed: 0, soft_dirty: false, held };
                    self.answer(&Answer { number, reply })
                }
                Action::Release => {
                    // First: what is released may take until after the guest has stopped. See `Bell`.
                    self.store.listen(None);
                    self.deeds.release();
                    Ok(())
                }
                Action::Show(state, why) => {
                    say(format_args!("{state}{}{why}", if why.is_empty() { "" } else { ": " }));
                    self.store.write(STATE, format!("{state} {why}").trim_end())
                }
            };
            told = told.and(result);
        }
        told
    }

    fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        self.store.write(ANSWER, &answer.to_string())
    }

    fn publish(&mut self) -> io::Result<()> {
        self.store.write(INSTANCE, &self.instance)?;
        self.store.write(PROGRAM, concat!("xend-agent ", env!("CARGO_PKG_VERSION")))?;
        self.store.write(STATE, &self.machine.state().to_string())?;
        // Last: with it the agent is there.
        self.store.write(VERSIONS, &OURS.to_string())
    }
}
