//! The source's side of the conversation.

mod confirmed;
mod finishing;
mod handover;
mod transfer;

use std::thread;
use std::time::{Duration, Instant};

use super::control::{Control, Event};
use super::ear::{Ear, Heard};
use super::error::MigrateError;
use super::host::{Agent, HostError, NoAgent, SourceHost};
use super::recover::put_back;
use super::report::{Clock, Report};
use super::stage::{Stage, Step};
use super::words::BANNER;
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::migration::policy::adaptive::Settings;
use crate::migration::{Cancel, Tracking};
use crate::stream::xend::{
    self, Answer, GuestNeeds, Offer, Request, Token, Verdict, common_version,
};
use crate::stream::xl_header::XlHeader;
use crate::stream::{Place, Source, StreamError, StreamErrorKind};
use crate::toolstack::journal::{Identity, Journal, Side, SourceRecord, SourceState, now_s};
use crate::transport::{FdSink, FdSource, Least, Link, Peer};

/// What a receiver has to take, at least, within the time that a silent one is given, if it is to be
/// told from one that only wants to keep the guest waiting.
const LEAST_BYTES: u64 = 256 * 1024;

/// How long a guest's agent may take to prepare. The destination waits meanwhile, so it is no more than
/// a part of the time after which a silent peer is dead.
const AGENT_LIMIT: Duration = Duration::from_secs(10);

/// A guest that is to leave, and where to.
#[derive(Clone, Debug)]
pub struct Departure {
    /// The domain.
    pub domid: Domid,
    /// The guest.
    pub identity: Identity,
    /// Its configuration, as JSON.
    pub config: Vec<u8>,
    /// What it needs there.
    pub needs: GuestNeeds,
    /// Where it goes.
    pub peer: Peer,
    /// The attempt.
    pub token: Token,
    /// Only ask whether it could go.
    pub check_only: bool,
    /// How its writes are to be tracked.
    pub tracking: Tracking,
    /// What its rounds keep to.
    pub rounds: Settings,
    /// Send everything twice, to be compared.
    pub verify: bool,
    /// A peer that is silent for so long is dead.
    pub limit: Duration,
    /// How long an answer to the offer is waited for: a stock xl never gives one.
    pub answer_wait: Duration,
}

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
    let mut report = Report {
        name: departure.identity.name.clone(),
        uuid: departure.identity.uuid.clone(),
        domid: departure.domid.0,
        peer: departure.peer.to_string(),
        token: departure.token.to_string(),
        ..Report::default()
    };
    let clock = Clock::start(&mut report);
    let ear = Ear::new(stop.clone(), control.asked.clone(), departure.limit);
    let record = SourceRecord {
        token: departure.token,
        state: SourceState::Sending,
        domid: departure.domid.0,
        identity: departure.identity.clone(),
        peer: departure.peer.clone(),
        peer_is_xend: false,
        started_s: now_s(),
    };
    let (mut report, result, is_there) = thread::scope(|scope| {
        let mut sender = Sender {
            host,
            journal,
            departure,
            control,
            ask,
            ear: &ear,
            stop,
            sink,
            record,
            version: None,
            capabilities: 0,
            agent: Box::new(NoAgent),
            report,
            clock,
        };
        scope.spawn(|| ear.watch());
        let mut source = Source::new(source);
        let greeted = sender.greet(&mut source);
        let is_there = greeted.is_ok();
        let result = greeted.and_then(|()| {
            scope.spawn(|| ear.listen(source));
            sender.run()
        });
        ear.end();
        sender.clock.end(&mut sender.report);
        (sender.report, result, is_there)
    });
    // One that has done its work may take as long as it likes to end.
    if result.is_err()
        && let Some(text) = transport.and_then(|t| if is_there { t.end() } else { t.stop() })
    {
        control.line(text);
    }
    report.outcome = match &result {
        Ok(()) if departure.check_only => "checked",
        Ok(()) => "migrated",
        Err(MigrateError::Cancelled) => "cancelled",
        Err(error) if error.is_undecided() => "undecided",
        Err(_) => "failed",
    };
    report.error = result.as_ref().err().map(|e| error_line(e));
    (report, result)
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
    /// The guest's own, once it is to be told.
    agent: Box<dyn Agent>,
    report: Report,
    clock: Clock,
}

impl<H: SourceHost> Sender<'_, H> {
    /// Waits for the receiver's banner.
    fn greet(&mut self, source: &mut Source<FdSource>) -> Result<(), MigrateError> {
        self.stage(Stage::PreMigration);
        let mut banner = [0; BANNER.len()];
        // Byte by byte: what is no receiver may say a few bytes and then wait for more than we do.
        for at in 0..BANNER.len() {
            let read = source.read_whole("the receiver's greeting", &mut banner[at..=at]);
            if self.ear.is_cancelled() {
                return Err(MigrateError::Cancelled);
            }
            read.map_err(MigrateError::NoReceiver)?;
            if banner[at] != BANNER[at] {
                break;
            }
        }
        if &banner != BANNER {
            let kind = StreamErrorKind::BadMagic {
                what: "the receiver's greeting",
                found: u64::from_be_bytes(*banner.first_chunk().expect("54 bytes")),
                expected: u64::from_be_bytes(*BANNER.first_chunk().expect("54 bytes")),
            };
            let place = Place::PeerMessage;
            return Err(MigrateError::NoReceiver(StreamError { offset: 0, place, kind }));
        }
        // No more passwords from here on: what does not move for long is broken.
        let limit = self.departure.limit;
        self.sink.set_limit(Some(limit));
        self.sink.set_least(Some(Least { bytes: LEAST_BYTES, within: limit }));
        self.reach(Step::Connected);
        Ok(())
    }

    fn run(&mut self) -> Result<(), MigrateError> {
        self.offer()?;
        self.stage(Stage::Reservation);
        let answer = self.await_answer()?;
        self.choose(answer)?;
        if self.departure.check_only {
            return Ok(());
        }
        let claim = self.journal.claim(Side::Source, self.departure.token);
        let _claim = claim.map_err(MigrateError::Journal)?.ok_or(MigrateError::Busy)?;
        self.forget_earlier_attempts()?;
        self.note(SourceState::Sending).map_err(MigrateError::Journal)?;
        self.prepare_guest();
        let mut guest = match self.host.open_guest(self.departure.domid) {
            Ok(guest) => guest,
            Err(error) => return Err(self.take_back(error.into())),
        };
        self.reach(Step::Sending);
        // What is mapped of a suspended guest is unmapped, which takes time, once it runs again.
        if let Err(error) = self.send(&mut guest) {
            return Err(self.take_back(error));
        }
        self.reach(Step::Sent);
        if let Err(error) = self.await_ready() {
            return Err(self.take_back(error));
        }
        self.hand_over(guest)
    }

    /// Tells the guest that it is going to be moved. One without an agent is not waited for.
    fn prepare_guest(&mut self) {
        let started = Instant::now();
        self.agent = self.host.agent(self.departure.domid);
        let limit = AGENT_LIMIT.min(self.departure.limit / 3);
        if let Some(outcome) = self.agent.prepare(limit, self.stop) {
            self.control.line(format!("migration sender: {outcome}"));
            self.report.step("prepare the guest", started.elapsed());
        }
    }

    /// Header, configuration and offer.
    fn offer(&mut self) -> Result<(), MigrateError> {
        let departure = self.departure;
        let request = if departure.check_only { Request::Check } else { Request::Migrate };
        let offer = Offer {
            versions: xend::our_versions(),
            request,
            token: departure.token,
            capabilities: xend::CAPABILITIES,
            needs: departure.needs.clone(),
        };
        let mut header = XlHeader::with_json(departure.config.clone());
        header.beyond = offer.encode();
        header.write(&mut self.sink).map_err(MigrateError::Send)?;
        self.reach(Step::Offered);
        Ok(())
    }

    fn await_answer(&mut self) -> Result<Option<Answer>, MigrateError> {
        match self.ear.next(Some(self.departure.answer_wait)) {
            Some(Heard::Answer(answer)) if answer.token == self.departure.token => Ok(Some(answer)),
            Some(Heard::Answer(_)) => {
                Err(MigrateError::NoAnswer("the destination answers somebody else".to_owned()))
            }
            // Who cancels hangs up, and that is heard, too.
            _ if self.ear.is_cancelled() => Err(MigrateError::Cancelled),
            Some(Heard::Lost(why) | Heard::Failed(why)) => Err(MigrateError::Peer(why)),
            Some(other) => Err(unexpected(&other)),
            None => Ok(None),
        }
    }

    /// Decides which conversation it will be.
    fn choose(&mut self, answer: Option<Answer>) -> Result<(), MigrateError> {
        let only_xend = self.departure.peer.is_xend() || self.departure.check_only;
        let Some(answer) = answer else {
            if only_xend {
                return Err(MigrateError::NoAnswer(
                    "the destination does not answer as a xend does: it can be sent a guest \
                     through ssh or a command, but not be asked first"
                        .to_owned(),
                ));
            }
            self.report.conversation = "xl".to_owned();
            return Ok(());
        };
        self.report.warnings.clone_from(&answer.warnings);
        for warning in &answer.warnings {
            self.control.line(format!("migration sender: warning: {warning}"));
        }
        if answer.verdict != Verdict::Accepted {
            return Err(MigrateError::Refused(answer.problems));
        }
        let common = common_version(&xend::our_versions(), &answer.versions);
        if common.is_none() {
            let (theirs, ours) = (&answer.versions, xend::our_versions());
            self.control.line(format!(
                "migration sender: the destination's xend speaks versions {} to {}, this one {} \
                 to {}: going on as xl does",
                theirs.start(),
                theirs.end(),
                ours.start(),
                ours.end(),
            ));
        }
        self.version = common;
        self.capabilities = answer.capabilities & xend::CAPABILITIES;
        self.record.peer_is_xend = common.is_some();
        self.report.conversation =
            common.map_or_else(|| "xl".to_owned(), |version| format!("xend {version}"));
        if common.is_some() {
            self.ear.expect_life();
        }
        Ok(())
    }

    /// It stays here: as it was before.
    fn take_back(&mut self, after: MigrateError) -> MigrateError {
        let result = put_back(self.host, self.journal, &self.record);
        self.agent.cancelled();
        self.clock.runs_again(&mut self.report);
        match result {
            Ok(true) => after,
            Ok(false) => MigrateError::NotResumed {
                after: error_line(&after),
                source: HostError::new("it is not here any more"),
            },
            Err(source) => MigrateError::NotResumed { after: error_line(&after), source },
        }
    }

    /// Records of attempts that were killed: this one takes over from them, so that nobody settles
    /// them later over its head.
    fn forget_earlier_attempts(&self) -> Result<(), MigrateError> {
        for (side, token) in self.journal.list().map_err(MigrateError::Journal)? {
            if side != Side::Source || token == self.departure.token {
                continue;
            }
            let earlier = self.journal.source(token).map_err(MigrateError::Journal)?;
            let of_this_guest = |record: &SourceRecord| {
                record.domid == self.record.domid
                    && record.identity.uuid == self.record.identity.uuid
            };
            let Some(earlier) = earlier.filter(of_this_guest) else { continue };
            let claim = self.journal.claim(Side::Source, token).map_err(MigrateError::Journal)?;
            if claim.is_none() {
                return Err(MigrateError::Busy);
            }
            if earlier.state == SourceState::Given {
                return Err(MigrateError::Unsettled { peer: earlier.peer.to_string() });
            }
            self.journal.remove(Side::Source, token).map_err(MigrateError::Journal)?;
        }
        Ok(())
    }

    fn note(&mut self, state: SourceState) -> std::io::Result<()> {
        self.record.state = state;
        self.journal.write_source(&self.record)
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
