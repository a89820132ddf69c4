//! The source's side of the conversation.
//!
//! ```text
//! departure    what is to be moved, and how
//! agreement    a greeting, an offer, and the answer to it
//! charge       the journal; taking the guest back
//! transfer     memory and state, through the engine
//!   confirmed    a sink that knows what the receiver has read
//!   foresight    what will become of it, said when it has hardly begun
//! handover     the point of no return, and both sides of it
//!   finishing    how long the destination may take to finish
//! ```

mod agreement;
mod charge;
mod confirmed;
mod departure;
mod finishing;
mod foresight;
mod handover;
mod transfer;

pub(super) use self::foresight::Foretold;

use std::thread;
use std::time::{Duration, Instant};

pub use self::departure::Departure;
use super::control::{Control, Event};
use super::ear::{Ear, Heard};
use super::error::MigrateError;
use super::host::{Agent, HostError, NoAgent, SourceHost};
use super::report::{Clock, Report};
use super::stage::{Stage, Step};
use crate::error_line::error_line;
use crate::migration::Cancel;
use crate::stream::Source;
use crate::stream::xend::{Token, Verdict};
use crate::toolstack::journal::{Journal, SourceRecord};
use crate::transport::{FdSink, FdSource, Link};

/// How long a guest's agent may take to prepare. The destination waits meanwhile, so it is no more than
/// a part of the time after which a silent peer is dead.
const AGENT_LIMIT: Duration = Duration::from_secs(10);

/// Asks the destination, on a new connection, who owns the guest.
pub type Ask<'a> = dyn Fn(Token) -> Result<Verdict, HostError> + 'a;

/// Moves a guest over `link`, whose transfers `stop` ends.
///
/// The report is complete whether it went well or not.
///
/// # Errors
/// Why the guest is not at the destination. Unless the error says otherwise it runs here as
/// before.
pub fn migrate<H: SourceHost>(
    host: &H,
    journal: &dyn Journal,
    link: Link,
    stop: &Cancel,
    departure: &Departure,
    control: &Control,
    ask: &Ask<'_>,
) -> (Report, Result<(), MigrateError>) {
    let Link { sink, source, transport } = link;
    let mut report = departure.report();
    let clock = Clock::start(&mut report);
    let ear = Ear::new(stop.clone(), control.asked.clone(), departure.limit);
    let sender = Sender {
        host,
        journal,
        departure,
        control,
        ask,
        ear: &ear,
        stop,
        sink,
        record: departure.record(),
        version: None,
        capabilities: 0,
        agent: Box::new(NoAgent),
        report,
        clock,
    };
    let Conversation { mut report, result, met } = sender.converse(source);
    // One that has done its work may take as long as it likes to end.
    if result.is_err()
        && let Some(text) = transport.and_then(|t| if met { t.end() } else { t.stop() })
    {
        control.line(text);
    }
    report.outcome = outcome(departure, &result);
    report.error = result.as_ref().err().map(|e| error_line(e));
    (report, result)
}

/// How it ended, in a word.
fn outcome(departure: &Departure, result: &Result<(), MigrateError>) -> &'static str {
    match result {
        Ok(()) if departure.check_only => "checked",
        Ok(()) => "migrated",
        Err(MigrateError::Cancelled) => "cancelled",
        Err(error) if error.is_undecided() => "undecided",
        Err(_) => "failed",
    }
}

/// What became of a conversation.
struct Conversation {
    report: Report,
    result: Result<(), MigrateError>,
    /// The destination has greeted us.
    met: bool,
}

/// The source's side under way.
struct Sender<'a, H> {
    host: &'a H,
    journal: &'a dyn Journal,
    departure: &'a Departure,
    control: &'a Control,
    ask: &'a Ask<'a>,
    ear: &'a Ear,
    stop: &'a Cancel,
    sink: FdSink,
    record: SourceRecord,
    /// Of the extended conversation, if that is the one.
    version: Option<u16>,
    /// What both xends understand beyond it.
    capabilities: u64,
    /// The guest's own, once it is told.
    agent: Box<dyn Agent>,
    report: Report,
    clock: Clock,
}

impl<H: SourceHost> Sender<'_, H> {
    /// The whole conversation, heard by threads of its own.
    fn converse(self, source: FdSource) -> Conversation {
        thread::scope(move |scope| {
            let (mut sender, mut source) = (self, Source::new(source));
            let ear = sender.ear;
            // The scope waits for both threads, whatever becomes of this one.
            let end = ear.end_on_drop();
            scope.spawn(move || ear.watch());
            let greeted = sender.greet(&mut source);
            let met = greeted.is_ok();
            let result = greeted.and_then(|()| {
                scope.spawn(move || ear.listen(source));
                sender.run()
            });
            drop(end);
            sender.clock.end(&mut sender.report);
            if result.is_ok()
                && let Some(text) = sender.report.outcome_beside_expected()
            {
                sender.control.line(format!("migration sender: {text}"));
            }
            Conversation { report: sender.report, result, met }
        })
    }

    /// The stages, once the destination has greeted us.
    fn run(&mut self) -> Result<(), MigrateError> {
        self.offer()?;
        self.reserve()?;
        if self.departure.check_only {
            return Ok(());
        }
        let _charge = self.take_charge()?;
        self.prepare_guest();
        let opened = self.host.open_guest(self.departure.domid);
        let mut guest = opened.map_err(|error| self.take_back(error.into()))?;
        // What is mapped of a suspended guest is unmapped, which takes time, once it runs again.
        self.copy(&mut guest).map_err(|error| self.take_back(error))?;
        self.hand_over(guest)
    }

    /// Tells the guest that it is going to be moved, unless it is not to know. One without an agent is
    /// not waited for.
    fn prepare_guest(&mut self) {
        if !self.departure.agent {
            return;
        }
        let started = Instant::now();
        self.agent = self.host.agent(self.departure.domid);
        let limit = AGENT_LIMIT.min(self.departure.limit / 3);
        if let Some(outcome) = self.agent.prepare(limit, self.stop) {
            self.control.line(format!("migration sender: {outcome}"));
            self.report.step("prepare the guest", started.elapsed());
        }
    }

    /// Pre-copy, stop-and-copy, and the destination's word that it has everything.
    fn copy(&mut self, guest: &mut H::Guest) -> Result<(), MigrateError> {
        self.reach(Step::Sending);
        self.send(guest)?;
        self.reach(Step::Sent);
        self.await_ready()
    }

    fn stage(&mut self, stage: Stage) {
        self.clock.enter(stage, &mut self.report);
        (self.control.show)(&Event::Stage(stage));
    }

    fn reach(&self, step: Step) {
        self.control.steps.reach(step);
    }
}

fn unexpected(heard: &Heard) -> MigrateError {
    let what = match heard {
        Heard::Answer(_) => "an answer",
        Heard::Ready(_) => "that it is ready",
        Heard::Running(_) | Heard::Report(_) => "that the guest runs",
        Heard::Back => "that we can have the guest back",
        Heard::Failed(_) => "that it failed",
        Heard::Taken(_) => "how far it is",
        Heard::Lost(_) => "nothing more",
    };
    MigrateError::Peer(format!("it said {what} when that made no sense"))
}
