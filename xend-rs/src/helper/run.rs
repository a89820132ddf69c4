//! The program: arguments in, engine, verdict out.

use std::os::fd::RawFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::libc;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::args::{self, Callbacks, Request};
use super::link::Link;
use super::logger;
use super::toolstack::{LibxlDestination, LibxlSource, tell_results};
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::{XenDestination, XenSource, inherited_fd};
use crate::hypervisor::{Rings, SourceGuest};
use crate::migration::{Cancel, SaveOptions, Tracking, restore, save};
use crate::stream::libxc::GuestType;
use crate::toolstack::migrate::here::{Purpose, Turn};
use crate::transport::{FdSink, FdSource};

/// Exit status for a command line that is not libxl's.
const EXIT_USAGE: u8 = 2;
/// Exit status where libxl could not be told how it ended.
const EXIT_UNHEARD: u8 = 1;

/// libxl asks us to stop with the first. The others reach all that runs on the terminal, and end
/// `xl` itself.
const STOPS: [i32; 4] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT];

/// Does what the command line `args` (without the program's name) asks for and tells libxl, over
/// standard output, how it went. Once libxl has heard that, the exit status is 0, as libxl expects
/// of its helper also where the transfer failed.
pub fn run(args: &[String]) -> ExitCode {
    let request = match args::parse(args) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("xend-save-helper: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    // From then on waits end, and the engine's failure path leaves the guest as it was.
    let flag = Arc::new(AtomicBool::new(false));
    for signal in STOPS {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&flag)) {
            eprintln!("xend-save-helper: cannot handle signal {signal}: {error}");
            return ExitCode::from(EXIT_UNHEARD);
        }
    }
    let cancel = Cancel::from_flag(flag);
    let link = Arc::new(Link::new(cancel.clone()));
    logger::install(Arc::clone(&link));

    let outcome = match request {
        Request::Save { io_fd, domid, live, verify, callbacks } => {
            wanted_tracking().and_then(|tracking| {
                let options = SaveOptions { verify, tracking, ..SaveOptions::stock(live) };
                save_domain(&link, io_fd, domid, callbacks, &options, &cancel)
            })
        }
        Request::Restore { io_fd, domid, rings, callbacks } => {
            restore_domain(&link, io_fd, domid, rings, callbacks, &cancel)
        }
    };
    let (retval, errno) = match outcome {
        Ok(()) => (0, 0),
        Err(failure) => {
            // Goes to libxl. Where that has gone there is nobody to tell: see below.
            log::error!("{}", failure.line);
            (-1, failure.errno)
        }
    };
    match link.complete(retval, errno) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_UNHEARD),
    }
}

/// What libxl is told of a failure: a line for its log and an errno.
struct Failure {
    line: String,
    errno: i32,
}

impl Failure {
    fn new(error: &(dyn std::error::Error + 'static), errno: i32) -> Self {
        Self { line: error_line(error), errno }
    }
}

/// The environment variable that says how to track a guest's writes, since libxl's command line has
/// no place for that.
const TRACKING: &str = "XEND_TRACKING";

fn wanted_tracking() -> Result<Tracking, Failure> {
    let Some(value) = std::env::var_os(TRACKING) else { return Ok(Tracking::Auto) };
    value.to_string_lossy().parse().map_err(|error| Failure {
        line: format!("the environment's {TRACKING}: {error}"),
        errno: libc::EINVAL,
    })
}

fn save_domain(
    link: &Arc<Link>,
    io_fd: RawFd,
    domid: Domid,
    callbacks: Callbacks,
    options: &SaveOptions<'_>,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let mut sink = inherited_fd(io_fd)
        .and_then(|fd| FdSink::new(fd, cancel.clone()))
        .map_err(|error| io_failure("save to", io_fd, &error))?;
    let _turn = turn(domid)?;
    let mut guest =
        XenSource::open(domid).map_err(|e| Failure::new(&e, e.errno().unwrap_or(libc::EINVAL)))?;
    let mut toolstack = LibxlSource {
        link: Arc::clone(link),
        callbacks,
        domid,
        is_hvm: guest.guest_type() == GuestType::X86Hvm,
    };
    let outcome = save(&mut guest, &mut toolstack, &mut sink, options, cancel);
    // This process is about to end, and that unmaps the guest's memory much faster. All that must
    // be undone in Xen has been, by the engine.
    std::mem::forget(guest);
    let report = outcome.map_err(|error| Failure::new(&error, error.cause.errno()))?;
    log::info!("saved {domid}: {report}");
    Ok(())
}

/// Keeps every `xend` of this host away from the guest: its log of writes can only be one's.
fn turn(domid: Domid) -> Result<Option<Turn>, Failure> {
    match Turn::take(domid, Purpose::Help) {
        Ok(Err(holder)) => Err(Failure { line: format!("{domid} {holder}"), errno: libc::EBUSY }),
        Ok(Ok(turn)) => Ok(Some(turn)),
        Err(error) => {
            log::warn!("{domid}: a xend could come in between: {error}");
            Ok(None)
        }
    }
}

fn restore_domain(
    link: &Arc<Link>,
    io_fd: RawFd,
    domid: Domid,
    rings: Rings,
    callbacks: Callbacks,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let source = inherited_fd(io_fd)
        .and_then(|fd| FdSource::new(fd, cancel.clone()))
        .map_err(|error| io_failure("restore from", io_fd, &error))?;
    let mut guest = XenDestination::open(domid, rings)
        .map_err(|e| Failure::new(&e, e.errno().unwrap_or(libc::EINVAL)))?;
    let mut toolstack = LibxlDestination { link: Arc::clone(link), callbacks };
    let (frames, report) = restore(&mut guest, &mut toolstack, source)
        .map_err(|error| Failure::new(&error, error.errno()))?;
    tell_results(link, frames).map_err(|error| Failure::new(&error, libc::EIO))?;
    log::info!("restored {domid}: {report}");
    Ok(())
}

fn io_failure(action: &str, io_fd: RawFd, error: &std::io::Error) -> Failure {
    Failure {
        line: format!("cannot {action} descriptor {io_fd}: {error}"),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}
