//! The destination's side of the conversation.

mod handover;
mod transfer;

use std::io::{Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) use transfer::restore_file;

use super::control::{Control, Event};
use super::error::ReceiveError;
use super::host::{DestinationHost, Findings, Incoming};
use super::settle::settle;
use super::stage::{Stage, Step};
use super::words::BANNER;
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::migration::RestoreReport;
use crate::stream::Source;
use crate::stream::xend::{
    self, Answer, Frame, Offer, Request, Timing, Token, Verdict, common_version,
};
use crate::stream::xl_header::XlHeader;
use crate::toolstack::journal::{
    DestinationRecord, DestinationState, Identity, Journal, Side, now_s,
};
use crate::transport::{FdSink, FdSource, Link};

/// How long what a sender has on its way is taken after it was told that the guest cannot come.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How to receive.
#[derive(Clone, Copy, Debug)]
pub struct Reception {
    /// Leave the guest paused.
    pub paused: bool,
    /// Have a program watch over it.
    pub monitor: bool,
    /// How long a sender may take for what needs no time: to introduce itself, to hand over.
    pub limit: Duration,
    /// How long a sender may be silent while memory comes.
    pub stream_limit: Duration,
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
        self.set_deadline(Some(self.reception.limit));
        let header = XlHeader::read(&mut self.source, false)?;
        self.set_deadline(None);
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
        if let Err(error) = self.answer(&guest, Verdict::Accepted, &findings) {
            self.decline(token);
            return Err(error);
        }
        if guest.offer.as_ref().is_some_and(|o| o.request == Request::Check) {
            drop(incoming);
            self.forget(token);
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
                self.forget(guest.token);
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
            capabilities: offer.capabilities & xend::CAPABILITIES,
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
        let result = self.transfer(&mut incoming).and_then(|transferred| {
            self.await_handover(guest)?;
            Ok(transferred)
        });
        let (report, _unmapped_last) = match result {
            Ok(transferred) => transferred,
            Err(error) => {
                if self.decline(guest.token) {
                    drop(incoming);
                    self.tell_failure(&error);
                    if !matches!(error, ReceiveError::NotGiven(_)) {
                        self.hear_out();
                    }
                } else {
                    // It may be ours: a recovery, or the sender's question, settles that.
                    incoming.keep();
                }
                return Err(error);
            }
        };
        self.activate(guest, incoming, report)
    }

    /// It will never run here, even if it has been noted as ours: it has not been started. Whoever asks
    /// is told so. Gives `false` if it may still be noted as ours.
    fn decline(&self, token: Token) -> bool {
        const UNSTARTED: [DestinationState; 2] =
            [DestinationState::Receiving, DestinationState::Owned];
        match self.journal.decide(token, &UNSTARTED, DestinationState::Declined) {
            Ok(_) => true,
            Err(error) => {
                log::error!("cannot write the journal of migrations: {error}");
                let noted = self.journal.destination(token);
                noted.is_ok_and(|r| r.is_none_or(|r| r.state != DestinationState::Owned))
            }
        }
    }

    /// It came to nothing that anybody could ask for, and no domain is left of it.
    fn forget(&self, token: Token) {
        if let Err(error) = self.journal.remove(Side::Destination, token) {
            log::error!("cannot write the journal of migrations: {error}");
        }
    }

    /// In the extended conversation the sender is told why. It may be gone.
    fn tell_failure(&self, error: &ReceiveError) {
        if self.version.is_some() {
            let _ = self.say_frame(&Frame::Failed(error_line(error)));
        }
    }

    /// The end of a connection on which something is still unread would overtake what was said last.
    fn hear_out(&mut self) {
        if self.version.is_some() {
            self.set_deadline(Some(LAST_WORDS));
            let mut rest = [0; 16 << 10];
            while self.source.read(&mut rest).is_ok_and(|read_bytes| read_bytes > 0) {}
        }
    }

    /// From now on everything that the sender has to say next has to be said within `time`.
    fn set_deadline(&mut self, time: Option<Duration>) {
        let deadline = time.map(|time| Instant::now() + time);
        self.source.get_mut().set_deadline(deadline);
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

fn locked(sink: &Mutex<FdSink>) -> MutexGuard<'_, FdSink> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}
