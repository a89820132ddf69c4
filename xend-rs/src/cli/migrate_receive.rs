//! `xend migrate-receive`: a guest comes, over standard input and output.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use super::args::Args;
use super::failure::Failure;
use super::options::Long;
use super::progress::Screen;
use super::{output, transfer};
use crate::error_line::error_line;
use crate::migration::Cancel;
use crate::toolstack::Host;
use crate::toolstack::journal::FileJournal;
use crate::toolstack::migrate::here::Here;
use crate::toolstack::migrate::{ReceiveError, Received, Reception, receive};
use crate::transport::Link;

const COLO: u8 = 1;
const LONG: &[Long] = &[
    Long::flag("colo", COLO),
    Long::with_value("coloft-script", COLO),
    Long::flag("userspace-colo-proxy", COLO),
];

/// How long a sender may be silent while memory comes: longer than a guest may take to suspend.
const STREAM_LIMIT: Duration = Duration::from_secs(180);
/// How long it may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut options = args.options("Fedrp", LONG);
    let mut reception =
        Reception { paused: false, monitor: true, limit: LIMIT, stream_limit: STREAM_LIMIT };
    while let Some(given) = options.next()? {
        match given.letter {
            b'F' | b'e' => reception.monitor = false,
            b'p' => reception.paused = true,
            b'r' | COLO => {
                return Err(Failure::line("Remus and COLO are not here; stock xl has them"));
            }
            // For the messages of xl's debugging.
            _ => {}
        }
    }
    if !options.operands(0)?.is_empty() {
        let usage = super::help::usage(args.program, args.command);
        return Err(Failure::silent().with_help(usage));
    }
    let control = transfer::control(Screen::of_receiver(&args.global, "migration target"))?;
    let host = Host::open()?;
    let journal = FileJournal::open()?;
    // What waits for the peer ends when somebody wants this process to end.
    let link = Link::new(
        io::stdout().as_fd().try_clone_to_owned()?,
        io::stdin().as_fd().try_clone_to_owned()?,
        &Cancel::clone(&control.asked),
        Some(STREAM_LIMIT),
    )?;
    let here = Here::new(&host);
    match receive(&here, &journal, link, reception, &control) {
        Ok(Received::Guest { report, .. }) => {
            log::info!("received: {report}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Received::Checked(_) | Received::Settled(_)) => Ok(ExitCode::SUCCESS),
        Err(ReceiveError::Refused(problems)) => {
            for problem in problems {
                output::warn(format!("migration target: {problem}\n"));
            }
            Err(Failure::said("migration target: Domain creation failed (code -3).\n"))
        }
        Err(error) => Err(Failure::said(format!("migration target: {}\n", error_line(&error)))),
    }
}
