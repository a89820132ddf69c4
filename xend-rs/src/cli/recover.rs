//! `xend recover`: after a crash, whose guest is it?

use std::cell::Cell;
use std::process::ExitCode;
use std::time::Duration;

use super::args::Args;
use super::failure::Failure;
use super::options::Long;
use super::output;
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::toolstack::journal::{FileJournal, Journal, Side, SourceRecord};
use crate::toolstack::migrate::here::{Here, Turn, recover_saves, saves};
use crate::toolstack::migrate::host::Domains;
use crate::toolstack::migrate::{Case, Word, ask, recover};
use crate::toolstack::{Host, domain, probe, stun};

const JSON: u8 = 1;
const KEEP: u8 = 2;
const GIVE_UP: u8 = 3;
const CLEAN: u8 = 4;
const LONG: &[Long] = &[
    Long::flag("dry-run", b'n'),
    Long::flag("json", JSON),
    Long::with_value("keep", KEEP),
    Long::with_value("give-up", GIVE_UP),
    Long::flag("clean", CLEAN),
];

/// How long a peer that is asked may take.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut options = args.options("n", LONG);
    let (mut dry_run, mut json, mut clean) = (args.global.dry_run, false, false);
    let mut words = Words::default();
    while let Some(given) = options.next()? {
        match given.letter {
            JSON => json = true,
            KEEP => words.add(given.value, Word::Keep),
            GIVE_UP => words.add(given.value, Word::GiveUp),
            CLEAN => clean = true,
            _ => dry_run = true,
        }
    }
    options.operands(0)?;
    let journal = FileJournal::open()?;
    words.refuse_contradictions(&journal)?;
    if dry_run {
        return list(&journal);
    }
    let host = Host::open()?;
    let here = Here::new(&host);
    let ask_peer = |record: &SourceRecord| ask(&record.peer, record.token, LIMIT);
    let word = |record: &SourceRecord| words.about(record);
    let (ended, all_ended) = end_left(&host, &here)?;
    let cases = recover(&here, &journal, &ask_peer, &word)?;
    if json {
        output::print(format!("{}\n", serde_json::to_string_pretty(&cases)?))?;
        output::warn(ended);
    } else {
        let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
        let lines = ended + &lines;
        output::print(lines)?;
    }
    let orphans = orphans(&host, &journal, &cases)?;
    for (domid, name) in &orphans {
        if clean {
            domain::destroy(&host, *domid)?;
            output::warn(format!("{name} ({domid}) is destroyed\n"));
        } else {
            output::warn(format!(
                "{name} ({domid}) belongs to no migration that is known here: is a stock xl at \
                 work? If not, `xend recover --clean` destroys it\n"
            ));
        }
    }
    for name in words.unused() {
        output::warn(format!("xend: no migration from here is on record for {name}\n"));
    }
    let open = !all_ended
        || words.unused().next().is_some()
        || cases.iter().any(|case| case.finding.is_open());
    Ok(if open { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What was said of guests, each by its name or by the id of its domain.
#[derive(Default)]
struct Words(Vec<Said>);

struct Said {
    name: String,
    word: Word,
    /// There is such a guest.
    is_used: Cell<bool>,
}

impl Words {
    fn add(&mut self, name: &str, word: Word) {
        self.0.push(Said { name: name.to_owned(), word, is_used: Cell::new(false) });
    }

    fn of<'a>(&'a self, record: &'a SourceRecord) -> impl Iterator<Item = &'a Said> {
        let domid = record.domid.to_string();
        self.0.iter().filter(move |said| said.name == record.identity.name || said.name == domid)
    }

    /// What was said of a guest.
    fn about(&self, record: &SourceRecord) -> Option<Word> {
        let mut word = None;
        for said in self.of(record) {
            said.is_used.set(true);
            word = Some(said.word);
        }
        word
    }

    /// Those that were said of nobody.
    fn unused(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|said| !said.is_used.get()).map(|said| said.name.as_str())
    }

    /// One guest cannot be kept and given up.
    fn refuse_contradictions(&self, journal: &dyn Journal) -> Result<(), Failure> {
        for said in &self.0 {
            if self.0.iter().any(|other| other.name == said.name && other.word != said.word) {
                return Err(contradicted(&said.name));
            }
        }
        for (side, token) in journal.list()? {
            if side == Side::Source
                && let Ok(Some(record)) = journal.source(token)
                && let Some(first) = self.of(&record).next()
                && self.of(&record).any(|other| other.word != first.word)
            {
                return Err(contradicted(&record.identity.name));
            }
        }
        Ok(())
    }
}

fn contradicted(name: &str) -> Failure {
    Failure::line(format_args!("{name} cannot be both kept and given up"))
}

/// Ends what killed processes have left on guests that stay here, before anything is asked of another
/// host. Says what that was, and whether some of it could not be ended.
fn end_left(host: &Host, here: &Here<'_>) -> Result<(String, bool), Failure> {
    let hold = |domid| here.hold(domid).ok().flatten();
    let (mut lines, mut all_ended) = (String::new(), true);
    let mut tell = |line: Result<String, String>| match line {
        Ok(line) => lines += &(line + "\n"),
        Err(line) => {
            all_ended = false;
            output::warn(format!("xend: {line}\n"));
        }
    };
    for ended in stun::recover(host, hold)? {
        tell(ended.map(|ended| ended.to_string()).map_err(|error| error_line(&error)));
    }
    for ended in probe::recover(host, hold)? {
        let line = |domid| format!("{domid} is not looked at any more by a process that is gone");
        tell(ended.map(line).map_err(|error| error_line(&error)));
    }
    for ended in recover_saves(here)? {
        tell(ended.map(|ended| ended.to_string()).map_err(|error| error_line(&error)));
    }
    Ok((lines, all_ended))
}

/// Says what is in the journal, and does nothing.
fn list(journal: &FileJournal) -> Result<ExitCode, Failure> {
    let mut text = String::new();
    for (side, token) in journal.list()? {
        let alive = if journal.claim(side, token)?.is_none() { ", under way" } else { "" };
        let line = match side {
            Side::Source => journal.source(token).map(|record| {
                record.map(|r| format!("{} to {}: {:?}", r.identity.name, r.peer, r.state))
            }),
            Side::Destination => journal
                .destination(token)
                .map(|record| record.map(|r| format!("{}: {:?}", r.identity.name, r.state))),
        };
        match line {
            Ok(Some(line)) => text += &format!("{token} {side} {line}{alive}\n"),
            Ok(None) => {}
            Err(error) => text += &format!("{token} {side} cannot be read: {error}\n"),
        }
    }
    for saving in saves()? {
        let alive = if Turn::holder(saving.domid())?.is_some() { ", under way" } else { "" };
        text += &format!("save of {saving}{alive}\n");
    }
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// Paused domains with the name of an arrival that belong to no attempt.
fn orphans(
    host: &Host,
    journal: &FileJournal,
    cases: &[Case],
) -> Result<Vec<(Domid, String)>, Failure> {
    let known = |domid: Domid| cases.iter().any(|case| case.domid == Some(domid.0));
    let mut found = Vec::new();
    for listed in host.xen.domains()? {
        let name = domain::name(host, listed.domid)?.unwrap_or_default();
        if !name.ends_with("--incoming") || !listed.is_paused || known(listed.domid) {
            continue;
        }
        // Looked at last: a guest may have arrived since the cases were.
        let token = Here::new(host).attempt_of(listed.domid)?;
        // A record that cannot be read is one.
        if token.is_none_or(|token| matches!(journal.destination(token), Ok(None))) {
            found.push((listed.domid, name));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::xend::Token;
    use crate::toolstack::journal::{Identity, SourceState};
    use crate::transport::Peer;

    fn record(name: &str, domid: u16) -> SourceRecord {
        SourceRecord {
            token: Token::random().unwrap(),
            state: SourceState::Given,
            domid,
            identity: Identity { name: name.to_owned(), uuid: "0".to_owned() },
            peer: Peer::Tcp("hostb:8002".to_owned()),
            peer_is_xend: true,
            started_s: 0,
        }
    }

    fn words(said: &[(&str, Word)]) -> Words {
        let mut words = Words::default();
        for (name, word) in said {
            words.add(name, *word);
        }
        words
    }

    #[test]
    fn a_word_is_for_a_name_or_an_id_and_one_for_nobody_is_known() {
        let words = words(&[("web", Word::Keep), ("8", Word::GiveUp), ("wbe", Word::Keep)]);
        assert_eq!(words.unused().count(), 3);
        assert_eq!(words.about(&record("web", 7)), Some(Word::Keep));
        assert_eq!(words.about(&record("db", 8)), Some(Word::GiveUp));
        assert_eq!(words.about(&record("mail", 9)), None);
        assert_eq!(words.unused().collect::<Vec<_>>(), ["wbe"]);
    }

    #[test]
    fn a_guest_is_not_both_kept_and_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let journal = FileJournal::at(&at("records"), &at("locks")).unwrap();
        journal.write_source(&record("web", 7)).unwrap();
        let (keep, give_up) = (Word::Keep, Word::GiveUp);
        for (said, is_sense) in [
            (vec![("web", keep), ("7", keep)], true),
            (vec![("web", keep), ("db", give_up)], true),
            (vec![("db", keep), ("db", give_up)], false),
            (vec![("web", keep), ("7", give_up)], false),
        ] {
            assert_eq!(words(&said).refuse_contradictions(&journal).is_ok(), is_sense, "{said:?}");
        }
    }
}
