//! `xend recover`: after a crash, whose guest is it?

use std::process::ExitCode;
use std::time::Duration;

use super::args::Args;
use super::failure::Failure;
use super::options::Long;
use super::output;
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::toolstack::journal::{FileJournal, Journal, Side, SourceRecord};
use crate::toolstack::migrate::here::Here;
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
    let mut words: Vec<(String, Word)> = Vec::new();
    while let Some(given) = options.next()? {
        match given.letter {
            JSON => json = true,
            KEEP => words.push((given.value.to_owned(), Word::Keep)),
            GIVE_UP => words.push((given.value.to_owned(), Word::GiveUp)),
            CLEAN => clean = true,
            _ => dry_run = true,
        }
    }
    options.operands(0)?;
    let journal = FileJournal::open()?;
    if dry_run {
        return list(&journal);
    }
    let host = Host::open()?;
    let here = Here::new(&host);
    let ask_peer = |record: &SourceRecord| ask(&record.peer, record.token, LIMIT);
    let word = |record: &SourceRecord| {
        let names = |name: &str| name == record.identity.name || name == record.domid.to_string();
        words.iter().find(|(name, _)| names(name)).map(|&(_, word)| word)
    };
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
    let open = !all_ended || cases.iter().any(|case| case.finding.is_open());
    Ok(if open { ExitCode::FAILURE } else { ExitCode::SUCCESS })
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
    Ok((lines, all_ended))
}

/// Says what is in the journal, and does nothing.
fn list(journal: &FileJournal) -> Result<ExitCode, Failure> {
    let mut text = String::new();
    for (side, token) in journal.list()? {
        let alive = if journal.claim(side, token)?.is_none() { ", under way" } else { "" };
        let line = match side {
            Side::Source => journal
                .source(token)?
                .map(|r| format!("{} to {}: {:?}", r.identity.name, r.peer, r.state)),
            Side::Destination => {
                journal.destination(token)?.map(|r| format!("{}: {:?}", r.identity.name, r.state))
            }
        };
        if let Some(line) = line {
            text += &format!("{token} {side} {line}{alive}\n");
        }
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
        if token.map(|token| journal.destination(token)).transpose()?.flatten().is_none() {
            found.push((listed.domid, name));
        }
    }
    Ok(found)
}
