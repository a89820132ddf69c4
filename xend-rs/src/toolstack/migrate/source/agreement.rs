//! Before anything is touched: a greeting, an offer, and the answer to it.

use super::{Sender, unexpected};
use crate::stream::xend::{self, Answer, Offer, Request, Verdict, common_version};
use crate::stream::xl_header::XlHeader;
use crate::stream::{Place, Source, StreamError, StreamErrorKind};
use crate::toolstack::migrate::ear::Heard;
use crate::toolstack::migrate::error::MigrateError;
use crate::toolstack::migrate::host::SourceHost;
use crate::toolstack::migrate::stage::{Stage, Step};
use crate::toolstack::migrate::words::BANNER;
use crate::transport::{FdSource, Least};

/// What a receiver has to take, at least, within the time that a silent one is given, if it is to be
/// told from one that only wants to keep the guest waiting.
const LEAST_BYTES: u64 = 256 * 1024;

impl<H: SourceHost> Sender<'_, H> {
    /// Waits for the receiver's banner.
    pub(super) fn greet(&mut self, source: &mut Source<FdSource>) -> Result<(), MigrateError> {
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

    /// Header, configuration and offer.
    pub(super) fn offer(&mut self) -> Result<(), MigrateError> {
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

    /// Waits until the destination has said whether the guest may come.
    pub(super) fn reserve(&mut self) -> Result<(), MigrateError> {
        self.stage(Stage::Reservation);
        let answer = self.await_answer()?;
        self.choose(answer)
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
}
