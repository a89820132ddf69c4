//! The source's side of the conversation.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use super::control::{Control, Event};
use super::ear::{Ear, Heard};
use super::error::MigrateError;
use super::host::{HostError, SourceHost};
use super::recover::put_back;
use super::report::{Clock, Report};
use super::stage::{Stage, Step};
use super::words::{BANNER, GO};
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::migration::progress::{self, Progress};
use crate::migration::toolstack::{SourceToolstack, ToolstackError};
use crate::migration::{Cancel, SaveFailure, SaveOptions, policy, save};
use crate::stream::xend::{
    self, Answer, Frame, GuestNeeds, Offer, Request, Token, Verdict, common_version,
};
use crate::stream::xl_header::XlHeader;
use crate::stream::{Source, StreamError, StreamErrorKind, libxl};
use crate::toolstack::journal::{Identity, Journal, Side, SourceRecord, SourceState, now_s};
use crate::transport::{FdSink, Link, Peer};

/// How long the peer's last words are waited for once the connection broke.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// libxl's END record.
const LIBXL_END: &[u8] = &[0; 8];

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
    let (mut report, result) = thread::scope(|scope| {
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
            report,
            clock,
        };
        scope.spawn(|| ear.watch());
        let mut source = Source::new(source);
        let result = sender.greet(&mut source).and_then(|()| {
            scope.spawn(|| ear.listen(source));
            sender.run()
        });
        ear.end();
        sender.clock.end(&mut sender.report);
        (sender.report, result)
    });
    // One that has done its work may take as long as it likes to end.
    if result.is_err()
        && let Some(text) = transport.and_then(|t| t.end())
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
    report: Report,
    clock: Clock,
}

impl<H: SourceHost> Sender<'_, H> {
    /// Waits for the receiver's banner.
    fn greet(
        &mut self,
        source: &mut Source<crate::transport::FdSource>,
    ) -> Result<(), MigrateError> {
        self.stage(Stage::PreMigration);
        let mut banner = [0; BANNER.len()];
        let read = source.read_whole("the receiver's greeting", &mut banner);
        if self.ear.is_cancelled() {
            return Err(MigrateError::Cancelled);
        }
        read.map_err(MigrateError::NoReceiver)?;
        if &banner != BANNER {
            let kind = StreamErrorKind::BadMagic {
                what: "the receiver's greeting",
                found: u64::from_be_bytes(*banner.first_chunk().expect("54 bytes")),
                expected: u64::from_be_bytes(*BANNER.first_chunk().expect("54 bytes")),
            };
            let place = crate::stream::Place::PeerMessage;
            return Err(MigrateError::NoReceiver(StreamError { offset: 0, place, kind }));
        }
        // No more passwords from here on: what does not move for long is broken.
        self.sink.set_limit(Some(self.departure.limit));
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
        self.note(SourceState::Sending).map_err(MigrateError::Journal)?;
        let mut guest = match self.host.open_guest(self.departure.domid) {
            Ok(guest) => guest,
            Err(error) => return Err(self.take_back(error.into())),
        };
        self.reach(Step::Sending);
        if let Err(error) = self.send(&mut guest) {
            drop(guest);
            return Err(self.take_back(error));
        }
        self.reach(Step::Sent);
        if let Err(error) = self.await_ready() {
            drop(guest);
            return Err(self.take_back(error));
        }
        self.hand_over(guest)
    }

    /// Header, configuration and offer.
    fn offer(&mut self) -> Result<(), MigrateError> {
        let departure = self.departure;
        let request = if departure.check_only { Request::Check } else { Request::Migrate };
        let offer = Offer {
            versions: xend::our_versions(),
            request,
            token: departure.token,
            capabilities: 0,
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
            Some(Heard::Lost(why) | Heard::Failed(why)) => Err(MigrateError::Peer(why)),
            Some(other) => Err(unexpected(&other)),
            None if self.ear.is_cancelled() => Err(MigrateError::Cancelled),
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
        self.record.peer_is_xend = common.is_some();
        self.report.conversation =
            common.map_or_else(|| "xl".to_owned(), |version| format!("xend {version}"));
        if common.is_some() {
            self.ear.expect_life();
        }
        Ok(())
    }

    /// The stream, up to and including its END.
    fn send(&mut self, guest: &mut H::Guest) -> Result<(), MigrateError> {
        let mut head = Vec::new();
        if let Some(version) = self.version {
            head.extend(xend::encode_preface(version));
        }
        let built = libxl::write::header(&mut head, &libxl::Header::default())
            .and_then(|()| libxl::write::libxc_context(&mut head));
        built.and_then(|()| self.sink.write_all(&head)).map_err(|e| self.blame(e.into()))?;
        let options = SaveOptions {
            live: true,
            verify: self.departure.verify,
            policy: policy::stock,
            trailer: LIBXL_END,
            keep_tracking: true,
        };
        let mut bridge = Bridge {
            host: self.host,
            journal: self.journal,
            control: self.control,
            record: &mut self.record,
            stop: self.stop,
            clock: &mut self.clock,
            report: &mut self.report,
        };
        match save(guest, &mut bridge, &mut self.sink, &options, self.stop) {
            Ok(saved) => {
                self.report.add_save(&saved);
                Ok(())
            }
            Err(error) => Err(self.blame(Blame::Save(error))),
        }
    }

    /// What a failed transfer is put down to: who cancelled it, or what the peer said last.
    fn blame(&self, failure: Blame) -> MigrateError {
        if self.ear.is_cancelled() {
            return MigrateError::Cancelled;
        }
        let is_connection = match &failure {
            Blame::Io(_) => true,
            Blame::Save(e) => matches!(e.cause, SaveFailure::Send { .. } | SaveFailure::Cancelled),
        };
        if is_connection
            && let Some(Heard::Lost(why) | Heard::Failed(why)) = self.ear.next(Some(LAST_WORDS))
        {
            return MigrateError::Peer(why);
        }
        match failure {
            Blame::Io(error) => MigrateError::Send(error),
            Blame::Save(error) => error.into(),
        }
    }

    /// Everything is there: waits until the destination says so, and does meanwhile what it must
    /// before it hands over.
    fn await_ready(&mut self) -> Result<(), MigrateError> {
        self.stage(Stage::Commitment);
        let started = Instant::now();
        let identity = &self.departure.identity;
        self.host.rename(self.departure.domid, &identity.name, &identity.away_name())?;
        if self.version.is_some() {
            // A peer that can be asked: this takes nothing away from the guest if we go now.
            self.note(SourceState::Given).map_err(MigrateError::Journal)?;
        }
        self.report.step("rename and journal", started.elapsed());
        let started = Instant::now();
        loop {
            match self.ear.next(None) {
                // One that comes late.
                Some(Heard::Answer(_)) => {}
                Some(Heard::Ready(None)) if self.version.is_none() => break,
                Some(Heard::Ready(Some(token)))
                    if self.version.is_some() && token == self.departure.token =>
                {
                    break;
                }
                Some(Heard::Lost(why) | Heard::Failed(why)) => return Err(MigrateError::Peer(why)),
                Some(other) => return Err(unexpected(&other)),
                None if self.ear.is_cancelled() => return Err(self.tell_cancelled()),
                None => {}
            }
        }
        self.report.step("wait for ready", started.elapsed());
        self.control.line("migration sender: Target has acknowledged transfer.");
        if self.version.is_none() {
            self.note(SourceState::Given).map_err(MigrateError::Journal)?;
        }
        self.reach(Step::Given);
        if self.ear.commit() { Ok(()) } else { Err(self.tell_cancelled()) }
    }

    /// The peer would find out by itself that the connection is closed; so it knows why.
    fn tell_cancelled(&mut self) -> MigrateError {
        if self.version.is_some() {
            let _ = Frame::Cancel("cancelled at the source".to_owned()).write(&mut self.sink);
        }
        MigrateError::Cancelled
    }

    /// The point of no return.
    fn hand_over(&mut self, guest: H::Guest) -> Result<(), MigrateError> {
        self.control.line("migration sender: Giving target permission to start.");
        let started = Instant::now();
        let written = match self.version {
            None => self.sink.write_all(GO),
            Some(_) => Frame::Handover(self.departure.token).write(&mut self.sink),
        };
        self.reach(Step::HandedOver);
        self.stage(Stage::Activation);
        let end = match written {
            Ok(()) => self.await_running(),
            Err(error) => Handed::Unknown(error.to_string()),
        };
        let end = match end {
            Handed::Unknown(why) if self.version.is_some() => self.ask_who_owns_it(&why),
            end => end,
        };
        match end {
            Handed::Running => {
                self.report.step("wait for running", started.elapsed());
                self.clock.runs_again(&mut self.report);
                self.control.line("migration sender: Target reports successful startup.");
                self.reach(Step::Confirmed);
                drop(guest);
                self.tear_down()
            }
            Handed::Returned(why) => {
                drop(guest);
                self.control.line("migration sender: Trying to resume at our end.");
                Err(self.take_back(MigrateError::Peer(why)))
            }
            Handed::Unknown(why) => {
                // Nobody needs it to be tracked, whoever it belongs to.
                drop(guest);
                Err(MigrateError::Undecided { why })
            }
        }
    }

    fn await_running(&mut self) -> Handed {
        let wait = self.version.map(|_| self.departure.limit);
        let mut failed = None;
        loop {
            match self.ear.next(wait) {
                Some(Heard::Answer(_)) => {}
                Some(Heard::Running(timings)) => {
                    self.report.add_destination(&timings);
                    return Handed::Running;
                }
                Some(Heard::Report(0)) => return Handed::Running,
                Some(Heard::Report(status)) => {
                    let text = format!("Target reports startup failure (status code {status}).");
                    self.control.line(format!("migration sender: {text}"));
                    failed = Some(text);
                }
                Some(Heard::Failed(why)) => return Handed::Returned(why),
                Some(Heard::Back) if failed.is_some() => {
                    return Handed::Returned(failed.unwrap_or_default());
                }
                Some(Heard::Lost(why)) => return Handed::Unknown(why),
                Some(other) => return Handed::Unknown(unexpected(&other).to_string()),
                None => return Handed::Unknown("no word from it in time".to_owned()),
            }
        }
    }

    /// The connection is gone: asks on another one, for as long as a dead peer is waited for.
    fn ask_who_owns_it(&self, lost: &str) -> Handed {
        self.control.line(format!("migration sender: {lost}; asking the destination who owns it"));
        let deadline = Instant::now() + self.departure.limit;
        loop {
            let why = match (self.ask)(self.departure.token) {
                Ok(Verdict::Mine) => return Handed::Running,
                Ok(Verdict::Yours) => return Handed::Returned(lost.to_owned()),
                Ok(_) => return Handed::Unknown("the destination knows nothing of it".to_owned()),
                Err(error) => error_line(&error),
            };
            if Instant::now() >= deadline {
                return Handed::Unknown(why);
            }
            thread::sleep(Duration::from_secs(1).min(self.departure.limit));
        }
    }

    /// It runs elsewhere.
    fn tear_down(&mut self) -> Result<(), MigrateError> {
        self.host.destroy(self.departure.domid).map_err(MigrateError::NotDestroyed)?;
        self.journal.remove(Side::Source, self.departure.token).map_err(MigrateError::Journal)?;
        self.control.line("Migration successful.");
        Ok(())
    }

    /// It stays here: as it was before.
    fn take_back(&mut self, after: MigrateError) -> MigrateError {
        let result = put_back(self.host, self.journal, &self.record);
        self.clock.runs_again(&mut self.report);
        match result {
            Ok(_) => after,
            Err(source) => MigrateError::NotResumed { after: error_line(&after), source },
        }
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

/// How a handover ended.
enum Handed {
    /// It runs there.
    Running,
    /// It never will.
    Returned(String),
    /// Nobody knows.
    Unknown(String),
}

/// What a transfer failed with.
enum Blame {
    Io(std::io::Error),
    Save(crate::migration::SaveError),
}

impl From<std::io::Error> for Blame {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

fn unexpected(heard: &Heard) -> MigrateError {
    let what = match heard {
        Heard::Answer(_) => "an answer",
        Heard::Ready(_) => "that it is ready",
        Heard::Running(_) | Heard::Report(_) => "that the guest runs",
        Heard::Back => "that we can have the guest back",
        Heard::Failed(_) => "that it failed",
        Heard::Lost(_) => "nothing more",
    };
    MigrateError::Peer(format!("it said {what} when that made no sense"))
}

/// The toolstack, as the engine asks it.
struct Bridge<'a, H> {
    host: &'a H,
    journal: &'a dyn Journal,
    control: &'a Control,
    record: &'a mut SourceRecord,
    stop: &'a Cancel,
    clock: &'a mut Clock,
    report: &'a mut Report,
}

impl<H: SourceHost> SourceToolstack for Bridge<'_, H> {
    fn suspend(&mut self) -> Result<(), ToolstackError> {
        let request = "suspend the guest";
        self.record.state = SourceState::Suspending;
        self.journal
            .write_source(self.record)
            .map_err(|e| ToolstackError::Failed { request, source: e.into() })?;
        self.control.steps.reach(Step::Suspending);
        self.clock.stopped = Some(Instant::now());
        self.host
            .suspend(self.record.domid(), self.stop)
            .map_err(|e| ToolstackError::Failed { request, source: e.into() })?;
        self.control.steps.reach(Step::Suspended);
        Ok(())
    }

    fn resume(&mut self) -> Result<(), ToolstackError> {
        // Once the guest is as it was before, in all respects: see `put_back`.
        Ok(())
    }

    /// Guests with a device model are refused before.
    fn set_device_model_log_dirty(&mut self, _: bool) -> Result<(), ToolstackError> {
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        let stage = match progress.stage {
            progress::Stage::PreCopy { .. } | progress::Stage::Receiving => Stage::PreCopy,
            progress::Stage::StopAndCopy | progress::Stage::Verify => Stage::StopAndCopy,
        };
        if progress.done_pages == 0 {
            self.clock.enter(stage, self.report);
            (self.control.show)(&Event::Stage(stage));
        }
        (self.control.show)(&Event::Progress(*progress));
    }
}
