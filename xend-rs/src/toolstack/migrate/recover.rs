//! After a crash: whose guest is it, and what is still to be done?

use std::fmt;

use serde::Serialize;

use super::host::{Domains, Found, HostError};
use super::settle::journal_error;
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::stream::xend::{Token, Verdict};
use crate::toolstack::journal::{
    DestinationRecord, DestinationState, Identity, Journal, KEPT_DAYS, Side, SourceRecord,
    SourceState, now_s,
};

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Which end of it this host was.
    #[serde(serialize_with = "as_text")]
    pub side: Side,
    /// The attempt.
    pub token: Token,
    /// The guest.
    #[serde(flatten)]
    pub identity: Identity,
    /// Its domain here, if it had one.
    pub domid: Option<u16>,
    /// What was found and done.
    pub finding: Finding,
    /// Why that could not be done, or more about it.
    pub detail: Option<String>,
}

fn as_text<S: serde::Serializer>(side: &Side, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(side)
}

/// What was found and done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// A living process works on it.
    UnderWay,
    /// The guest is this host's, and runs again as before.
    PutBack,
    /// It had been this host's, and is gone with the host's restart.
    Gone,
    /// It runs at the destination; what was left here is destroyed.
    MovedAway,
    /// Nobody can say yet whose it is. It stays suspended.
    Undecided,
    /// It is this host's now, and runs.
    Arrived,
    /// It never came; what was left of it is destroyed.
    Discarded,
    /// Something could not be done: try again.
    Failed,
}

impl Finding {
    /// Whether it needs another look.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Undecided | Self::Failed)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.finding {
            Finding::UnderWay => "is being migrated by a process that is alive",
            Finding::PutBack => "runs here, as before its migration",
            Finding::Gone => "is gone: this host has been restarted since",
            Finding::MovedAway => "runs at its destination; its copy here is destroyed",
            Finding::Undecided => {
                "was handed over, and may run at its destination: it stays \
                                   suspended here"
            }
            Finding::Arrived => "was handed over to this host and runs here",
            Finding::Discarded => "did not arrive; nothing of it is left here",
            Finding::Failed => "needs another try",
        };
        match self.identity.name.as_str() {
            "" => write!(f, "attempt {} {what}", self.token)?,
            name => write!(f, "{name} {what}")?,
        }
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

/// What an administrator knows that the journals do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The guest does not run at its destination: keep it here.
    Keep,
    /// It does: give up the copy that is here.
    GiveUp,
}

/// Asks a source's peer who owns the guest.
pub type AskPeer<'a> = dyn Fn(&SourceRecord) -> Result<Verdict, HostError> + 'a;

/// Looks after all attempts that no living process works on. May be run at any time, and again.
///
/// # Errors
/// If the journal cannot be read. What goes wrong with one attempt stands in its case.
pub fn recover<D: Domains>(
    host: &D,
    journal: &dyn Journal,
    ask: &AskPeer<'_>,
    word: &dyn Fn(&SourceRecord) -> Option<Word>,
) -> Result<Vec<Case>, HostError> {
    let mut attempts = journal.list().map_err(journal_error)?;
    attempts.sort();
    let mut cases = Vec::new();
    for (side, token) in attempts {
        let case = case(host, journal, side, token, ask, word);
        cases.extend(case.unwrap_or_else(|error| Some(unreadable(side, token, &error))));
    }
    Ok(cases)
}

fn case<D: Domains>(
    host: &D,
    journal: &dyn Journal,
    side: Side,
    token: Token,
    ask: &AskPeer<'_>,
    word: &dyn Fn(&SourceRecord) -> Option<Word>,
) -> Result<Option<Case>, HostError> {
    let claim = journal.claim(side, token).map_err(journal_error)?;
    let alive = claim.is_none();
    match side {
        Side::Source => source_case(host, journal, token, alive, ask, word),
        Side::Destination => destination_case(host, journal, token, alive),
    }
}

/// An attempt of which nothing can be read is no reason to leave the others as they are.
fn unreadable(side: Side, token: Token, error: &HostError) -> Case {
    let identity = Identity { name: String::new(), uuid: String::new() };
    let detail = Some(error_line(error));
    Case { side, token, identity, domid: None, finding: Finding::Failed, detail }
}

fn source_case<D: Domains>(
    host: &D,
    journal: &dyn Journal,
    token: Token,
    alive: bool,
    ask: &AskPeer<'_>,
    word: &dyn Fn(&SourceRecord) -> Option<Word>,
) -> Result<Option<Case>, HostError> {
    let Some(record) = journal.source(token).map_err(journal_error)? else { return Ok(None) };
    let word = word(&record);
    // Not only a process that works on this attempt: a later one may have the guest by now.
    let held = host.hold(record.domid())?;
    let (finding, detail) = if alive || held.is_none() {
        (Finding::UnderWay, None)
    } else {
        recover_source(host, journal, &record, ask, word)
            .unwrap_or_else(|error| (Finding::Failed, Some(error_line(&error))))
    };
    let (identity, domid) = (record.identity, Some(record.domid));
    Ok(Some(Case { side: Side::Source, token, identity, domid, finding, detail }))
}

fn recover_source<D: Domains>(
    host: &D,
    journal: &dyn Journal,
    record: &SourceRecord,
    ask: &AskPeer<'_>,
    word: Option<Word>,
) -> Result<(Finding, Option<String>), HostError> {
    let put_back = || {
        let is_here = put_back(host, journal, record)?;
        Ok((if is_here { Finding::PutBack } else { Finding::Gone }, None))
    };
    let give_up = || {
        if let Some(found) = of_source(host, record)? {
            if let Err(error) = host.stop_tracking(found.domid) {
                log::warn!("{}: {}", found.domid, error_line(&error));
            }
            host.destroy(found.domid)?;
        }
        journal.remove(Side::Source, record.token).map_err(journal_error)?;
        Ok((Finding::MovedAway, None))
    };
    if record.state != SourceState::Given {
        return put_back();
    }
    // Once handed over, a guest is only ever resumed here because it is ours.
    if of_source(host, record)?.is_some_and(|found| !found.suspended) {
        return put_back();
    }
    match word {
        Some(Word::Keep) => return put_back(),
        Some(Word::GiveUp) => return give_up(),
        None => {}
    }
    if !record.peer_is_xend {
        let detail = format!("{} is no xend and cannot be asked", record.peer);
        return Ok((Finding::Undecided, Some(detail)));
    }
    match ask(record) {
        Ok(Verdict::Mine) => give_up(),
        Ok(Verdict::Yours) => put_back(),
        Ok(_) => {
            let detail = format!("{} knows nothing of it", record.peer);
            Ok((Finding::Undecided, Some(detail)))
        }
        Err(error) => Ok((Finding::Undecided, Some(error_line(&error)))),
    }
}

/// The guest stays at the source, as it was. Gives `false` if it is not there any more.
pub(super) fn put_back<D: Domains>(
    host: &D,
    journal: &dyn Journal,
    record: &SourceRecord,
) -> Result<bool, HostError> {
    let found = of_source(host, record)?;
    if let Some(found) = &found {
        // Its name first: who sees it run sees it by its name.
        if found.name == record.identity.away_name() {
            let renamed = host.rename(found.domid, &found.name, &record.identity.name);
            note_misnamed(found.domid, renamed);
        }
        // A stock xl's monitor leaves its guest when that suspends, and not before. Ours comes before
        // the guest runs: if this process is killed in between, the next recovery still sees why.
        if (found.suspended || record.state == SourceState::Given)
            && let Err(error) = host.start_monitor(found.domid)
        {
            log::error!("nothing watches over {}: {}", found.domid, error_line(&error));
        }
        if found.suspended {
            host.resume(found.domid)?;
        } else if record.state == SourceState::Suspending
            && let Err(error) = host.call_off_suspend(found.domid)
        {
            log::error!("{}: {}", found.domid, error_line(&error));
        }
        // Not before: that it goes on is worth more than that it goes on at its full speed.
        if let Err(error) = host.stop_tracking(found.domid) {
            note_tracked(journal, record, &error)?;
            return Ok(true);
        }
    }
    journal.remove(Side::Source, record.token).map_err(journal_error)?;
    Ok(found.is_some())
}

/// The guest is put back but for its tracking, which is left to the next recovery or migration: to
/// them it is one whose memory was being sent.
fn note_tracked(
    journal: &dyn Journal,
    record: &SourceRecord,
    error: &HostError,
) -> Result<(), HostError> {
    log::error!(
        "{} runs, but its writes are still tracked; `xend recover` tries again: {}",
        record.identity.name,
        error_line(error)
    );
    let record = SourceRecord { state: SourceState::Sending, ..record.clone() };
    journal.write_source(&record).map_err(journal_error)
}

/// A name that somebody else has taken is no reason to keep a guest from running.
fn note_misnamed(domid: Domid, renamed: Result<(), HostError>) {
    if let Err(error) = renamed {
        log::error!("{domid} has not its own name: {}", error_line(&error));
    }
}

/// The guest at its source, whatever somebody has named it since. A copy of it that arrives on the
/// same host has another id.
fn of_source<D: Domains>(host: &D, record: &SourceRecord) -> Result<Option<Found>, HostError> {
    let found = host.find(&record.identity.uuid)?;
    let incoming = record.identity.incoming_name();
    Ok(found.into_iter().find(|f| f.domid == record.domid() && f.name != incoming))
}

fn destination_case<D: Domains>(
    host: &D,
    journal: &dyn Journal,
    token: Token,
    alive: bool,
) -> Result<Option<Case>, HostError> {
    let Some(record) = journal.destination(token).map_err(journal_error)? else { return Ok(None) };
    let outcome = match record.state {
        _ if alive => Some((Finding::UnderWay, None)),
        DestinationState::Receiving => {
            journal
                .decide(token, &[DestinationState::Receiving], DestinationState::Declined)
                .map_err(journal_error)?;
            let removed = remove_copy(host, journal, &record).map(|_| Finding::Discarded);
            Some(finding(removed))
        }
        DestinationState::Declined => match remove_copy(host, journal, &record) {
            Ok(false) => None,
            removed => Some(finding(removed.map(|_| Finding::Discarded))),
        },
        DestinationState::Owned => Some(finding(finish_arrival(host, journal, &record))),
        DestinationState::Running => None,
    };
    let Some((finding, detail)) = outcome else {
        if now_s().saturating_sub(record.since_s) > KEPT_DAYS * 24 * 3600 {
            journal.remove(Side::Destination, token).map_err(journal_error)?;
        }
        return Ok(None);
    };
    let (identity, domid) = (record.identity, record.domid);
    Ok(Some(Case { side: Side::Destination, token, identity, domid, finding, detail }))
}

fn finding(result: Result<Finding, HostError>) -> (Finding, Option<String>) {
    match result {
        Ok(finding) => (finding, None),
        Err(error) => (Finding::Failed, Some(error_line(&error))),
    }
}

/// Destroys what there is of a guest that never will be this host's. Gives `false` if there is
/// nothing.
pub(super) fn remove_copy<D: Domains>(
    host: &D,
    journal: &dyn Journal,
    record: &DestinationRecord,
) -> Result<bool, HostError> {
    let Some(found) = of_destination(host, journal, record)? else { return Ok(false) };
    host.destroy(found.domid)?;
    Ok(true)
}

/// Has a guest run that has been handed over to this host.
pub(super) fn finish_arrival<D: Domains>(
    host: &D,
    journal: &dyn Journal,
    record: &DestinationRecord,
) -> Result<Finding, HostError> {
    let found = of_destination(host, journal, record)?;
    if let Some(found) = &found {
        if found.name != record.identity.name {
            let renamed = host.rename(found.domid, &found.name, &record.identity.name);
            note_misnamed(found.domid, renamed);
        }
        if !record.paused {
            host.unpause(found.domid)?;
        }
        if record.monitor
            && let Err(error) = host.start_monitor(found.domid)
        {
            log::error!("nothing watches over {}: {}", found.domid, error_line(&error));
        }
    }
    journal
        .decide(record.token, &[DestinationState::Owned], DestinationState::Running)
        .map_err(journal_error)?;
    Ok(if found.is_some() { Finding::Arrived } else { Finding::Gone })
}

/// The domain of an arrival: by its mark. If its process was killed before it could mark it, it
/// has the name that only arrivals have, and nobody else is at work on the guest.
fn of_destination<D: Domains>(
    host: &D,
    journal: &dyn Journal,
    record: &DestinationRecord,
) -> Result<Option<Found>, HostError> {
    let mut found = host.find(&record.identity.uuid)?;
    if let Some(at) = found.iter().position(|f| f.token == Some(record.token)) {
        return Ok(Some(found.swap_remove(at)));
    }
    // One whose destruction was cut short has lost its nodes, and with them mark and name.
    let is_its_rest = |f: &Found| record.domid == Some(f.domid.0) && f.name.is_empty();
    if let Some(at) = found.iter().position(is_its_rest) {
        return Ok(Some(found.swap_remove(at)));
    }
    let incoming = record.identity.incoming_name();
    let unmarked = found.into_iter().find(|f| f.token.is_none() && f.name == incoming);
    if record.domid.is_some() || unmarked.is_none() || is_arriving(journal, record)? {
        return Ok(None);
    }
    Ok(unmarked)
}

/// Whether another attempt to bring the guest here is under way.
fn is_arriving(journal: &dyn Journal, record: &DestinationRecord) -> Result<bool, HostError> {
    for (side, token) in journal.list().map_err(journal_error)? {
        if side == Side::Destination
            && token != record.token
            && may_be_of(journal, token, &record.identity.uuid)
            && journal.claim(side, token).map_err(journal_error)?.is_none()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an attempt may be to bring that guest here. One that cannot be read may be to bring any.
fn may_be_of(journal: &dyn Journal, token: Token, uuid: &str) -> bool {
    match journal.destination(token) {
        Ok(other) => other.is_some_and(|other| other.identity.uuid == uuid),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::toolstack::journal::FileJournal;
    use crate::toolstack::migrate::fake::{Fake, found, identity};
    use crate::transport::Peer;

    fn journal() -> (tempfile::TempDir, FileJournal) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let journal = FileJournal::at(&at("records"), &at("locks")).unwrap();
        (folder, journal)
    }

    fn sent(state: SourceState) -> SourceRecord {
        SourceRecord {
            token: Token::random().unwrap(),
            state,
            domid: 7,
            identity: identity(),
            peer: Peer::Tcp("hostb:8002".to_owned()),
            peer_is_xend: true,
            started_s: 0,
        }
    }

    fn recovered(host: &Fake, journal: &FileJournal) -> Vec<Case> {
        let ask = |_: &SourceRecord| Err(HostError::new("not to be asked"));
        recover(host, journal, &ask, &|_| None).unwrap()
    }

    #[test]
    fn a_guest_goes_on_even_if_its_tracking_cannot_be_ended() {
        let (_folder, journal) = journal();
        let record = sent(SourceState::Suspending);
        journal.write_source(&record).unwrap();
        let suspended = vec![found(7, "web", true)];
        let host = Fake { fails: "stop tracking", ..Fake::with(suspended) };
        assert_eq!(recovered(&host, &journal)[0].finding, Finding::PutBack);
        assert_eq!(host.done.take(), ["watch", "resume"]);
        // That is left to the next.
        assert_eq!(journal.source(record.token).unwrap().unwrap().state, SourceState::Sending);
        let host = Fake::with(vec![found(7, "web", false)]);
        assert_eq!(recovered(&host, &journal)[0].finding, Finding::PutBack);
        assert_eq!(host.done.take(), ["stop tracking"]);
        assert!(journal.list().unwrap().is_empty());
    }

    #[test]
    fn a_record_that_cannot_be_read_keeps_no_other_back() {
        let (folder, journal) = journal();
        let record = sent(SourceState::Sending);
        journal.write_source(&record).unwrap();
        let torn = [Token::random().unwrap(), Token::random().unwrap()];
        for (token, side) in torn.iter().zip([Side::Source, Side::Destination]) {
            fs::write(folder.path().join(format!("records/{token}-{side}.json")), "{").unwrap();
        }
        let cases = recovered(&Fake::with(vec![found(7, "web", false)]), &journal);
        assert_eq!(cases.len(), 3);
        for case in cases {
            let expected =
                if case.token == record.token { Finding::PutBack } else { Finding::Failed };
            assert_eq!(case.finding, expected, "{case}");
            assert!(!case.to_string().starts_with(' '), "{case}");
        }
        assert_eq!(journal.list().unwrap().len(), 2);
    }
}
