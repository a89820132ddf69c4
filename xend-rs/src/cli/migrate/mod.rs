//! `xend migrate`: a guest goes to another host.

mod rounds;
mod wishes;

use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use self::wishes::Wishes;
use crate::cli::args::Args;
use crate::cli::config_source::{self, ConfigSource};
use crate::cli::failure::Failure;
use crate::cli::progress::Screen;
use crate::cli::reports;
use crate::cli::{domains, output, transfer};
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::migration::Cancel;
use crate::migration::policy::adaptive::Settings;
use crate::stream::xend::Token;
use crate::toolstack::journal::FileJournal;
use crate::toolstack::migrate::here::{self, Here, Holder, PrepareError, Purpose, Turn};
use crate::toolstack::migrate::{self, Departure, MigrateError, Report, ask};
use crate::toolstack::{Host, domain};
use crate::transport::Peer;

/// What a destination that listens is named by.
const TCP: &str = "tcp://";
/// How long an answer to the offer is waited for: a stock xl gives none.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (wishes, operands) = Wishes::read(args)?;
    let host = Host::open()?;
    let domid = domains::domid(domains::find(&host, operands[0])?);
    if wishes.cancel {
        return cancel(&host, domid, operands[0]);
    }
    migrate(args, &host, domid, operands[1], &wishes)
}

fn migrate(
    args: &Args,
    host: &Host,
    domid: Domid,
    destination: &str,
    wishes: &Wishes,
) -> Result<ExitCode, Failure> {
    let peer = peer(args, destination, wishes)?;
    let rounds = rounds_to(&peer, wishes)?;
    let control = transfer::control(Screen::of_sender(&args.global, "migration sender"))?;
    let config = here::ConfigSource {
        instead: instead(host, wishes.config_file.as_deref())?,
        keep_domid: wishes.keep_domid,
    };
    let (config, identity, needs) =
        here::prepare(host, domid, &config).map_err(|error| match error {
            PrepareError::NoConfig => Failure::said(
                "No config file stored for running domain and none supplied - cannot migrate.\n",
            ),
            error => Failure::from(error),
        })?;
    let outlook = here::movable(host, domid, &config, wishes.tracking)?;
    if outlook.is_usual(wishes.tracking) {
        log::info!("{outlook}");
    } else {
        control.line(format!("migration sender: {outlook}"));
    }
    let _turn = Turn::take(domid, Purpose::Migrate)?
        .map_err(|holder| Failure::line(format_args!("{} {holder}", identity.name)))?;
    domains::require_running(host, domid, &identity.name)?;
    // Whoever listens for TCP is a xend, which answers.
    let answer_wait = match peer {
        Peer::Tcp(_) => wishes.peer_timeout,
        Peer::Command(_) => ANSWER_WAIT.min(wishes.peer_timeout),
    };
    let departure = Departure {
        domid,
        config: config.to_json().into_bytes(),
        needs,
        peer,
        token: Token::random()?,
        check_only: wishes.dry_run,
        tracking: wishes.tracking,
        rounds,
        agent: wishes.agent,
        verify: wishes.verify,
        limit: wishes.peer_timeout,
        answer_wait,
        identity,
    };
    let stop = Cancel::default();
    let link = departure.peer.connect(&stop, wishes.peer_timeout).map_err(|error| {
        Failure::line(format_args!("cannot connect to {}: {error}", departure.peer))
    })?;
    let journal = FileJournal::open()?;
    let here = Here::new(host);
    let again = |token| ask(&departure.peer, token, departure.limit);
    let (report, result) =
        migrate::migrate(&here, &journal, link, &stop, &departure, &control, &again);
    // The bar is taken off the screen.
    drop(control);
    // What became of the guest must be said, whatever becomes of the report.
    keep(&report, wishes);
    end(&report, result, wishes)
}

/// What the rounds keep to, with what stops have cost lately.
fn rounds_to(peer: &Peer, wishes: &Wishes) -> Result<Settings, Failure> {
    Ok(reports::with_stop_cost(wishes.rounds.settings()?, Some(&peer.to_string())))
}

/// In xl's words, where it has some.
fn end(
    report: &Report,
    result: Result<(), MigrateError>,
    wishes: &Wishes,
) -> Result<ExitCode, Failure> {
    if wishes.json {
        // A reader that has gone is no reason not to say what became of the guest.
        let _ = output::print(format!("{}\n", serde_json::to_string_pretty(report)?));
    }
    let error = match result {
        Ok(()) if wishes.dry_run => {
            output::warn(format!("{} can be migrated to {}\n", report.name, report.peer));
            return Ok(ExitCode::SUCCESS);
        }
        Ok(()) => {
            log::info!("{}", report.summary());
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => error,
    };
    let line = error_line(&error);
    let (before, after) = match error {
        MigrateError::Refused(_) => ("", ""),
        MigrateError::Undecided { .. } => ("** Migration failed during final handshake **\n", ""),
        MigrateError::NotDestroyed(_) | MigrateError::NotResumed { .. } => ("", ""),
        _ if wishes.dry_run => ("", ""),
        _ if report.passes.is_empty() && report.stages.len() < 3 => ("", "Migration failed.\n"),
        _ => ("", "Migration failed, resuming at sender.\n"),
    };
    Err(Failure::said(format!("{before}xend: {line}\n{after}")))
}

fn keep(report: &Report, wishes: &Wishes) {
    let text = match serde_json::to_string_pretty(report) {
        Ok(text) => text + "\n",
        Err(error) => return log::error!("cannot write the report: {error}"),
    };
    if let Some(path) = &wishes.report
        && let Err(error) = fs::write(path, &text)
    {
        log::error!("cannot write the report to {}: {error}", path.display());
    }
    if !wishes.dry_run {
        reports::keep(report, &text);
    }
}

fn instead(
    host: &Host,
    file: Option<&str>,
) -> Result<Option<crate::toolstack::config::DomainConfig>, Failure> {
    let Some(file) = file else { return Ok(None) };
    let text = ConfigSource::default().text(file)?;
    config_source::parse(host, file, &text).map(Some)
}

/// How the destination is reached.
fn peer(args: &Args, destination: &str, wishes: &Wishes) -> Result<Peer, Failure> {
    if let Some(address) = destination.strip_prefix(TCP) {
        if !wishes.plain_tcp {
            return Err(Failure::line(
                "over tcp:// the guest's memory travels unencrypted: say --plain-tcp if the network \
                 is to be trusted with it, or name the host alone to go through ssh",
            ));
        }
        if wishes.paused || wishes.unwatched {
            return Err(Failure::line(
                "-p, -e and -F are for the receiver: over tcp:// give them to `xend receive`",
            ));
        }
        return Ok(Peer::Tcp(address.to_owned()));
    }
    if wishes.ssh.is_empty() {
        return Ok(Peer::Command(destination.to_owned()));
    }
    let flag = |on: bool, text: &'static str| if on { text } else { "" };
    let verbosity = match args.global.verbosity {
        0 => String::new(),
        n => format!(" -{}", "v".repeat(usize::from(n))),
    };
    Ok(Peer::Command(format!(
        "exec {} {destination} xl{}{}{verbosity} migrate-receive{}{}{}",
        wishes.ssh,
        flag(
            args.global.progress_with_cr || nix::unistd::isatty(std::io::stderr()) == Ok(true),
            " -t"
        ),
        flag(args.global.timestamps, " -T"),
        flag(wishes.unwatched, " -e"),
        flag(wishes.verify, " -d"),
        flag(wishes.paused, " -p"),
    )))
}

/// Ends a migration that another process carries out.
fn cancel(host: &Host, domid: Domid, name: &str) -> Result<ExitCode, Failure> {
    const WAIT: Duration = Duration::from_secs(60);
    let holder = Turn::holder(domid)?;
    let pid = match holder {
        // A xend of another version need not say what it is at.
        Some(Holder { pid: Some(pid), purpose: Some(Purpose::Migrate | Purpose::Help) | None }) => {
            pid
        }
        Some(holder) => {
            return Err(Failure::line(format_args!("{name} is not being migrated: it {holder}")));
        }
        None => return Err(Failure::line(format_args!("{name} is not being migrated"))),
    };
    kill(pid, Signal::SIGTERM)?;
    let deadline = Instant::now() + WAIT;
    while Turn::holder(domid)? == holder {
        if Instant::now() > deadline {
            return Err(Failure::line(format_args!(
                "process {pid} does not stop migrating {name}"
            )));
        }
        thread::sleep(Duration::from_millis(20));
    }
    match settled(host, domid)? {
        Whereabouts::Here => {
            output::warn(format!("the migration of {name} is cancelled: it runs here\n"));
            Ok(ExitCode::SUCCESS)
        }
        Whereabouts::Stopped => Err(Failure::line(format_args!(
            "{name} is not migrated any more, and still suspended here: see `xend recover`"
        ))),
        Whereabouts::Away => Err(Failure::line(format_args!(
            "too late: {name} has been handed over to its destination"
        ))),
    }
}

/// Where a guest is whose migration has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    /// It runs here.
    Here,
    /// It is suspended, by its own name: nobody else has it.
    Stopped,
    /// It is gone, or may be its destination's.
    Away,
}

impl Whereabouts {
    fn of(runs: bool, name: Option<&str>) -> Self {
        match name {
            Some(name) if !name.ends_with("--migratedaway") => {
                if runs {
                    Self::Here
                } else {
                    Self::Stopped
                }
            }
            _ => Self::Away,
        }
    }
}

/// Where it is once that is settled: a stock `xl` resumes its guest, and names it, after the process that
/// helped it has ended.
fn settled(host: &Host, domid: Domid) -> Result<Whereabouts, Failure> {
    const WAIT: Duration = Duration::from_secs(10);
    let deadline = Instant::now() + WAIT;
    loop {
        let Ok(info) = host.xen.domain_info(domid) else { return Ok(Whereabouts::Away) };
        let name = domain::name(host, domid)?;
        let found = Whereabouts::of(info.shutdown_reason.is_none(), name.as_deref());
        if found == Whereabouts::Here || info.is_dying || Instant::now() > deadline {
            return Ok(if info.is_dying { Whereabouts::Away } else { found });
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_is_not_named_away_has_not_been_handed_over() {
        for (runs, name, expected) in [
            (true, Some("web"), Whereabouts::Here),
            (false, Some("web"), Whereabouts::Stopped),
            (true, Some("web--migratedaway"), Whereabouts::Away),
            (false, Some("web--migratedaway"), Whereabouts::Away),
            (false, None, Whereabouts::Away),
        ] {
            assert_eq!(Whereabouts::of(runs, name), expected, "{runs} {name:?}");
        }
    }
}
