//! The destination's side of the conversation.

use std::io::{Read, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::control::{Control, Event};
use super::error::ReceiveError;
use super::host::{DestinationHost, Findings, HostError, Incoming};
use super::settle::settle;
use super::stage::{Stage, Step};
use super::words::{BANNER, GO, READY, REPORT};
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::hypervisor::{MissingPolicies, RingFrames};
use crate::migration::progress::Progress;
use crate::migration::toolstack::{DestinationToolstack, ToolstackError};
use crate::migration::{RestoreReport, restore};
use crate::stream::xend::{
    self, Answer, Frame, Offer, PREFACE_BYTES, PREFACE_MAGIC, Request, Timing, Token, Verdict,
    common_version,
};
use crate::stream::xl_header::XlHeader;
use crate::stream::{Source, libxl};
use crate::toolstack::journal::{
    DestinationRecord, DestinationState, Identity, Journal, Side, now_s,
};
use crate::transport::{FdSink, FdSource, Link};

/// How often a receiver shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// How to receive.
#[derive(Clone, Copy, Debug)]
pub struct Reception {
    /// Leave the guest paused.
    pub paused: bool,
    /// Have a program watch over it.
    pub monitor: bool,
    /// A sender that can be told from a slow one and is silent for so long is dead.
    pub limit: Duration,
}

/// How a conversation ended well.
#[derive(Clone, Debug)]
pub enum Received {
    /// The guest is here, and runs unless it was to stay paused.
    Guest {
        /// Its domain.
        domid: Domid,
        /// Its name.
        name: String,
        /// What its memory took.
        report: RestoreReport,
        /// How long the steps after the last byte took.
        timings: Vec<Timing>,
    },
    /// The sender only wanted to know, and was told this.
    Checked(Findings),
    /// The sender asked who owns a guest, and was told this.
    Settled(Verdict),
}

/// Receives a guest over `link`.
///
/// # Errors
/// Why it is not here. Nothing of it is left, unless the error says otherwise.
pub fn receive<H: DestinationHost>(
    host: &H,
    journal: &dyn Journal,
    link: Link,
    reception: Reception,
    control: &Control,
) -> Result<Received, ReceiveError> {
    let Link { sink, source, transport: _transport } = link;
    let mut receiver = Receiver {
        host,
        journal,
        reception,
        control,
        sink: Mutex::new(sink),
        source: Source::new(source),
        version: None,
        timings: Vec::new(),
    };
    receiver.run()
}

struct Receiver<'a, H> {
    host: &'a H,
    journal: &'a dyn Journal,
    reception: Reception,
    control: &'a Control,
    /// Shared with the signs of life.
    sink: Mutex<FdSink>,
    source: Source<FdSource>,
    /// Of the extended conversation, if that is the one.
    version: Option<u16>,
    timings: Vec<Timing>,
}

/// A guest that the sender has announced.
struct Announced {
    config: Vec<u8>,
    identity: Identity,
    offer: Option<Offer>,
    token: Token,
}

impl<H: DestinationHost> Receiver<'_, H> {
    fn run(&mut self) -> Result<Received, ReceiveError> {
        self.control.line("migration target: Ready to receive domain.");
        self.say(BANNER)?;
        let header = XlHeader::read(&mut self.source, false)?;
        let offer = header.offer()?;
        if let Some(Offer { request: Request::Settle, token, .. }) = &offer {
            return self.settle(*token);
        }
        let config = header.config.ok_or(ReceiveError::NoConfig)?;
        self.reach(Step::Accepted);
        self.stage(Stage::PreMigration);
        let identity = self.host.identify(&config)?;
        let token = match &offer {
            Some(offer) => offer.token,
            None => Token::random().map_err(ReceiveError::Journal)?,
        };
        let guest = Announced { config, identity, offer, token };
        let findings = self.check(&guest)?;
        let claim = self.journal.claim(Side::Destination, token);
        let _claim = claim.map_err(ReceiveError::Journal)?.ok_or(ReceiveError::Busy)?;
        self.stage(Stage::Reservation);
        let incoming = self.reserve(&guest, &findings)?;
        self.answer(&guest, Verdict::Accepted, &findings)?;
        if guest.offer.as_ref().is_some_and(|o| o.request == Request::Check) {
            return Ok(Received::Checked(findings));
        }
        self.reach(Step::Receiving);
        self.take_in(&guest, incoming)
    }

    fn settle(&mut self, token: Token) -> Result<Received, ReceiveError> {
        let verdict = settle(self.host, self.journal, token)?;
        let answer = Answer {
            version: Some(xend::CURRENT),
            versions: xend::our_versions(),
            verdict,
            token,
            capabilities: 0,
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        self.say(&answer.encode())?;
        Ok(Received::Settled(verdict))
    }

    /// Asks the host, and refuses the guest if it cannot come.
    fn check(&mut self, guest: &Announced) -> Result<Findings, ReceiveError> {
        let findings = self.host.check(&guest.config, guest.offer.as_ref())?;
        for warning in &findings.warnings {
            self.control.line(format!("migration target: warning: {warning}"));
        }
        if findings.problems.is_empty() {
            return Ok(findings);
        }
        self.answer(guest, Verdict::Refused, &findings)?;
        Err(ReceiveError::Refused(findings.problems))
    }

    /// The empty domain, and a note of it before it is there.
    fn reserve(
        &mut self,
        guest: &Announced,
        findings: &Findings,
    ) -> Result<H::Incoming, ReceiveError> {
        let mut record = DestinationRecord {
            token: guest.token,
            state: DestinationState::Receiving,
            domid: None,
            identity: guest.identity.clone(),
            paused: self.reception.paused,
            monitor: self.reception.monitor,
            since_s: now_s(),
        };
        self.journal.write_destination(&record).map_err(ReceiveError::Journal)?;
        let needs = guest.offer.as_ref().map(|offer| &offer.needs);
        let result = self.host.reserve(&guest.config, needs, guest.token);
        let incoming = match result {
            Ok(incoming) => incoming,
            Err(error) => {
                self.decline(guest.token);
                let problems = vec![error_line(&error)];
                let findings = Findings { problems, ..findings.clone() };
                self.answer(guest, Verdict::Refused, &findings)?;
                return Err(error.into());
            }
        };
        record.domid = Some(incoming.domid().0);
        let written = self.journal.write_destination(&record);
        if let Err(error) = written {
            self.decline(guest.token);
            return Err(ReceiveError::Journal(error));
        }
        Ok(incoming)
    }

    /// Tells a sender that has made an offer.
    fn answer(
        &mut self,
        guest: &Announced,
        verdict: Verdict,
        findings: &Findings,
    ) -> Result<(), ReceiveError> {
        let Some(offer) = &guest.offer else { return Ok(()) };
        let versions = xend::our_versions();
        let answer = Answer {
            version: common_version(&versions, &offer.versions),
            versions,
            verdict,
            token: guest.token,
            capabilities: 0,
            problems: findings.problems.clone(),
            warnings: findings.warnings.clone(),
        };
        self.say(&answer.encode())
    }

    /// The transfer, from the sender's choice of conversation to the guest's first instruction.
    fn take_in(
        &mut self,
        guest: &Announced,
        mut incoming: H::Incoming,
    ) -> Result<Received, ReceiveError> {
        let result = self.transfer(&mut incoming).and_then(|report| {
            self.await_handover(guest)?;
            Ok(report)
        });
        let report = match result {
            Ok(report) => report,
            Err(error) => {
                self.decline(guest.token);
                drop(incoming);
                self.tell_failure(&error);
                return Err(error);
            }
        };
        self.activate(guest, incoming, report)
    }

    /// Everything up to the end of the stream, and the devices meanwhile.
    fn transfer(&mut self, incoming: &mut H::Incoming) -> Result<RestoreReport, ReceiveError> {
        let mut first = [0; PREFACE_MAGIC.len()];
        self.source.read_whole("the sender's choice of conversation", &mut first)?;
        let mut before = first.to_vec();
        if first == PREFACE_MAGIC {
            let mut rest = [0; PREFACE_BYTES - PREFACE_MAGIC.len()];
            self.source.read_whole("the sender's choice of conversation", &mut rest)?;
            let version = xend::decode_preface(rest);
            if !xend::our_versions().contains(&version) {
                return Err(ReceiveError::Unexpected(format!("version {version} of xend's")));
            }
            self.version = Some(version);
            before.clear();
        }
        let mut engine_guest = incoming.open_guest()?;
        self.stage(Stage::PreCopy);
        let (control, sink) = (self.control, &self.sink);
        let alive = self.version.is_some();
        let source = &mut self.source;
        let (restored, prepared) = thread::scope(|scope| {
            let (end, ended) = channel::<()>();
            if alive {
                scope.spawn(move || {
                    while ended.recv_timeout(KEEP_ALIVE) == Err(RecvTimeoutError::Timeout) {
                        if Frame::KeepAlive.write(&mut *locked(sink)).is_err() {
                            return;
                        }
                    }
                });
            }
            let devices = scope.spawn(|| {
                let started = Instant::now();
                let result = incoming.prepare_devices();
                control.steps.reach(Step::Prepared);
                result.map(|()| started.elapsed())
            });
            let restored = read_stream(&before, source, &mut engine_guest, control);
            let waited = Instant::now();
            let prepared = devices.join().expect("preparing devices does not panic");
            drop::<Sender<()>>(end);
            (restored, prepared.map(|took| (took, waited.elapsed())))
        });
        // A guest whose devices cannot be had is refused even if all its memory came.
        let (prepared, waited) = prepared?;
        let (frames, report) = restored?;
        log::info!("devices were prepared in {} ms", prepared.as_millis());
        self.time("finish", report.finish);
        self.time("wait for devices", waited);
        let started = Instant::now();
        incoming.introduce(frames)?;
        self.time("introduce", started.elapsed());
        drop(engine_guest);
        self.reach(Step::Received);
        Ok(report)
    }

    /// Says that all is there, and waits for the sender's word.
    fn await_handover(&mut self, guest: &Announced) -> Result<(), ReceiveError> {
        self.stage(Stage::Commitment);
        self.control
            .line("migration target: Transfer complete, requesting permission to start domain.");
        let started = Instant::now();
        match self.version {
            None => self.say(READY)?,
            Some(_) => self.say_frame(&Frame::Ready(guest.token))?,
        }
        self.reach(Step::Ready);
        if self.version.is_none() {
            let mut go = [0; GO.len()];
            let read = self.source.read_whole("the sender's permission to start", &mut go);
            read.map_err(|e| ReceiveError::NotGiven(error_line(&e)))?;
            if &go != GO {
                let text = "the migration stream contained unexpected data instead of GO message";
                return Err(ReceiveError::NotGiven(text.to_owned()));
            }
        } else {
            self.source.get_mut().set_limit(Some(self.reception.limit));
            loop {
                match Frame::read(&mut self.source) {
                    Ok(Frame::Handover(token)) if token == guest.token => break,
                    Ok(Frame::KeepAlive | Frame::Other(_)) => {}
                    Ok(Frame::Cancel(why)) => return Err(ReceiveError::NotGiven(why)),
                    Ok(_) => {
                        let text = "the sender said what makes no sense here";
                        return Err(ReceiveError::NotGiven(text.to_owned()));
                    }
                    Err(error) => return Err(ReceiveError::NotGiven(error_line(&error))),
                }
            }
        }
        self.time("wait for handover", started.elapsed());
        let started = Instant::now();
        let decided = self
            .journal
            .decide(guest.token, &[DestinationState::Receiving], DestinationState::Owned)
            .map_err(ReceiveError::Journal)?;
        if decided.map(|record| record.state) != Some(DestinationState::Owned) {
            return Err(ReceiveError::Declined);
        }
        self.time("journal", started.elapsed());
        self.reach(Step::Owned);
        Ok(())
    }

    /// The guest is ours: lets it run, tells everybody.
    fn activate(
        &mut self,
        guest: &Announced,
        incoming: H::Incoming,
        report: RestoreReport,
    ) -> Result<Received, ReceiveError> {
        self.stage(Stage::Activation);
        self.control.line("migration target: Got permission, starting domain.");
        let domid = incoming.domid();
        // Should this process die now, the journal says that the guest is to be started.
        incoming.keep();
        if let Err(error) = self.start(domid, &guest.identity) {
            return Err(self.give_back(guest, domid, error));
        }
        self.control.line("migration target: Domain started successsfully.");
        // The sender has only this to wait for; the guest is ours whether it hears it or not.
        let told = match self.version {
            None => self.say(REPORT).and_then(|()| self.say(&[0])),
            Some(_) => self.say_frame(&Frame::Running(self.timings.clone())),
        };
        if let Err(error) = told {
            log::warn!("the sender does not hear that the guest runs: {}", error_line(&error));
        }
        self.reach(Step::Running);
        if self.reception.monitor
            && let Err(error) = self.host.start_monitor(domid)
        {
            log::error!("nothing watches over {domid}: {}", error_line(&error));
        }
        self.journal
            .decide(guest.token, &[DestinationState::Owned], DestinationState::Running)
            .map_err(ReceiveError::Journal)?;
        let (name, timings) = (guest.identity.name.clone(), self.timings.clone());
        Ok(Received::Guest { domid, name, report, timings })
    }

    /// From its temporary name to its first instruction.
    fn start(&mut self, domid: Domid, identity: &Identity) -> Result<(), HostError> {
        let started = Instant::now();
        self.host.rename(domid, &identity.incoming_name(), &identity.name)?;
        self.time("rename", started.elapsed());
        if self.reception.paused {
            return Ok(());
        }
        let started = Instant::now();
        self.host.unpause(domid)?;
        self.time("unpause", started.elapsed());
        self.host.announce(domid);
        Ok(())
    }

    /// It is ours, has never run, and cannot: the sender gets it back.
    fn give_back(&mut self, guest: &Announced, domid: Domid, error: HostError) -> ReceiveError {
        if self.version.is_none() {
            let _ = self.say(REPORT).and_then(|()| self.say(&[3]));
        }
        self.control.line("migration target: Failure, destroying our copy.");
        let declined = self.journal.decide(
            guest.token,
            &[DestinationState::Owned],
            DestinationState::Declined,
        );
        if let Err(error) = declined {
            return ReceiveError::Journal(error);
        }
        if let Err(error) = self.host.destroy(domid) {
            self.control.line(format!(
                "migration target: Failed to destroy our copy ({}).",
                error_line(&error)
            ));
            return error.into();
        }
        self.control.line("migration target: Cleanup OK, granting sender permission to resume.");
        let _ = match self.version {
            None => self.say(GO),
            Some(_) => self.say_frame(&Frame::Failed(error_line(&error))),
        };
        error.into()
    }

    /// It will never run here. Whoever asks is told so.
    fn decline(&self, token: Token) {
        let declined =
            self.journal.decide(token, &[DestinationState::Receiving], DestinationState::Declined);
        if let Err(error) = declined {
            log::error!("cannot write the journal of migrations: {error}");
        }
    }

    /// In the extended conversation the sender is told why. It may be gone.
    fn tell_failure(&self, error: &ReceiveError) {
        if self.version.is_some() {
            let _ = self.say_frame(&Frame::Failed(error_line(error)));
        }
    }

    fn say(&self, bytes: &[u8]) -> Result<(), ReceiveError> {
        locked(&self.sink).write_all(bytes).map_err(ReceiveError::Send)
    }

    fn say_frame(&self, frame: &Frame) -> Result<(), ReceiveError> {
        frame.write(&mut *locked(&self.sink)).map_err(ReceiveError::Send)
    }

    fn time(&mut self, step: &str, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.timings.push(Timing { step: step.to_owned(), micros });
    }

    fn stage(&self, stage: Stage) {
        (self.control.show)(&Event::Stage(stage));
    }

    fn reach(&self, step: Step) {
        self.control.steps.reach(step);
    }
}

/// The libxl stream, of which `before` has been read: its image into `guest`.
fn read_stream<G: crate::hypervisor::DestinationGuest>(
    before: &[u8],
    source: &mut Source<FdSource>,
    guest: &mut G,
    control: &Control,
) -> Result<(RingFrames, RestoreReport), ReceiveError> {
    let whole = before.chain(source);
    let mut reader = libxl::Reader::new(whole)?;
    expect(reader.next_record()?, &libxl::Record::LibxcContext)?;
    let mut toolstack = Watcher { control };
    let (frames, report) = restore(guest, &mut toolstack, reader.image())?;
    expect(reader.next_record()?, &libxl::Record::End)?;
    Ok((frames, report))
}

fn expect(found: Option<libxl::Record>, expected: &libxl::Record) -> Result<(), ReceiveError> {
    match found {
        Some(record) if record == *expected => Ok(()),
        Some(record) => Err(ReceiveError::Unexpected(record.record_type().to_string())),
        None => Err(ReceiveError::Unexpected("end".to_owned())),
    }
}

fn locked(sink: &Mutex<FdSink>) -> MutexGuard<'_, FdSink> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The toolstack, as the engine tells it.
struct Watcher<'a> {
    control: &'a Control,
}

impl DestinationToolstack for Watcher<'_> {
    fn static_data_done(&mut self, missing: MissingPolicies) -> Result<(), ToolstackError> {
        if missing.cpuid || missing.msr {
            let source = "the stream carries no CPU policy: it is from before Xen 4.14".into();
            return Err(ToolstackError::Failed { request: "make up a CPU policy", source });
        }
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        (self.control.show)(&Event::Progress(*progress));
    }
}

/// Reads the whole of a saved guest into `incoming`: a restore from a file.
///
/// # Errors
/// As [`receive`].
pub(super) fn restore_file<I: Incoming>(
    incoming: &mut I,
    source: &mut Source<FdSource>,
    control: &Control,
) -> Result<RestoreReport, ReceiveError> {
    let mut guest = incoming.open_guest()?;
    let (frames, report) = read_stream(&[], source, &mut guest, control)?;
    drop(guest);
    incoming.prepare_devices()?;
    incoming.introduce(frames)?;
    Ok(report)
}
