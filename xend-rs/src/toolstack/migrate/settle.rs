//! Who owns a guest whose handover was interrupted.

use std::io;
use std::time::{Duration, Instant};

use super::host::{Domains, HostError};
use super::recover::{finish_arrival, remove_copy};
use super::words::BANNER;
use crate::error_line::error_line;
use crate::migration::Cancel;
use crate::stream::Source;
use crate::stream::xend::{self, ANSWER_MAGIC, Answer, GuestNeeds, Offer, Request, Token, Verdict};
use crate::stream::xl_header::XlHeader;
use crate::toolstack::journal::{DestinationState, Journal, Side};
use crate::transport::{Link, Peer};

/// The destination's answer. If it is *yours*, the guest will never run here, whatever still
/// arrives on an old connection: that is decided, durably, before it is said.
///
/// # Errors
/// If it could not be decided, or is not yet: whoever asks is to ask again.
pub fn settle<D: Domains>(
    host: &D,
    journal: &dyn Journal,
    token: Token,
) -> Result<Verdict, HostError> {
    if journal.destination(token).map_err(journal_error)?.is_none() {
        return Ok(Verdict::Unknown);
    }
    // Before it is looked at what the state is, which only who has this may take back.
    let claim = journal.claim(Side::Destination, token).map_err(journal_error)?;
    let decided = journal
        .decide(token, &[DestinationState::Receiving], DestinationState::Declined)
        .map_err(journal_error)?;
    let Some(record) = decided else { return Ok(Verdict::Unknown) };
    if record.state == DestinationState::Owned && claim.is_none() {
        return Err(HostError::new("the guest is being started, which may still fail"));
    }
    // Unless the process of that attempt still lives, and does so itself: what is decided is done.
    let result = match record.state {
        _ if claim.is_none() => Ok(()),
        DestinationState::Owned => finish_arrival(host, journal, &record).map(drop),
        DestinationState::Declined => remove_copy(host, journal, &record).map(drop),
        DestinationState::Receiving | DestinationState::Running => Ok(()),
    };
    if let Err(error) = result {
        log::error!("{token}: {}", error_line(&error));
    }
    Ok(match record.state {
        DestinationState::Owned | DestinationState::Running => Verdict::Mine,
        DestinationState::Receiving | DestinationState::Declined => Verdict::Yours,
    })
}

/// Asks the peer, on a connection of its own, for the attempt `token`. It has `limit` to be reached, and
/// the same to answer.
///
/// # Errors
/// If there is no answer.
pub fn ask(peer: &Peer, token: Token, limit: Duration) -> Result<Verdict, HostError> {
    let failed = |error: io::Error| HostError::because(format!("cannot ask {peer}"), error);
    let link = peer.connect(&Cancel::default(), limit).map_err(failed)?;
    let Link { mut sink, mut source, transport } = link;
    // Nobody sits there to be asked for a password.
    sink.set_limit(Some(limit));
    source.set_limit(Some(limit));
    source.set_deadline(Some(Instant::now() + limit));
    let offer = Offer {
        versions: xend::our_versions(),
        request: Request::Settle,
        token,
        capabilities: 0,
        needs: GuestNeeds::default(),
    };
    let header = XlHeader { config: None, config_is_json: true, beyond: offer.encode() };
    let mut source = Source::new(source);
    let mut met = false;
    let mut talk = |source: &mut Source<_>| {
        let mut banner = [0; BANNER.len()];
        source.read_whole("the receiver's greeting", &mut banner).map_err(io::Error::other)?;
        if &banner != BANNER {
            return Err(io::Error::other("there is no receiver"));
        }
        met = true;
        header.write(&mut sink)?;
        let mut magic = [0; ANSWER_MAGIC.len()];
        source.read_whole("the receiver's answer", &mut magic).map_err(io::Error::other)?;
        if magic != ANSWER_MAGIC {
            return Err(io::Error::other("the receiver is no xend"));
        }
        Answer::read_rest(source).map_err(io::Error::other)
    };
    let answer = talk(&mut source).map_err(failed);
    drop((sink, source));
    drop(transport.map(|t| if met { t.end() } else { t.stop() }));
    let answer = answer?;
    if answer.token != token {
        return Err(HostError::new(format!("{peer} answers somebody else")));
    }
    Ok(answer.verdict)
}

pub(super) fn journal_error(error: io::Error) -> HostError {
    HostError::because("cannot use the journal of migrations", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolstack::journal::{DestinationRecord, FileJournal};
    use crate::toolstack::migrate::fake::{Fake, identity};

    #[test]
    fn a_guest_that_is_being_started_is_nobodys_yet() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let journal = FileJournal::at(&at("records"), &at("locks")).unwrap();
        let token = Token::random().unwrap();
        let host = Fake::default();
        assert_eq!(settle(&host, &journal, token).unwrap(), Verdict::Unknown);
        let record = DestinationRecord {
            token,
            state: DestinationState::Owned,
            domid: Some(7),
            identity: identity(),
            paused: false,
            monitor: false,
            since_s: 0,
        };
        journal.write_destination(&record).unwrap();
        let claim = journal.claim(Side::Destination, token).unwrap();
        settle(&host, &journal, token).expect_err("its process may still give it back");
        let state = journal.destination(token).unwrap().unwrap().state;
        assert_eq!(state, DestinationState::Owned);
        drop(claim);
        assert_eq!(settle(&host, &journal, token).unwrap(), Verdict::Mine);
    }
}
