//! `xend receive`: listens for guests that come over TCP.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use super::args::Args;
use super::failure::Failure;
use super::options::Long;
use super::output;
use crate::transport::tcp;

const PLAIN_TCP: u8 = 1;
const LISTEN: u8 = 2;
const LONG: &[Long] = &[Long::flag("plain-tcp", PLAIN_TCP), Long::with_value("listen", LISTEN)];

/// Where it listens unless told otherwise: at all of the host's addresses.
const EVERYWHERE: &str = "0.0.0.0";
/// Guests that may come at the same time.
const MAX_GUESTS: usize = 8;
/// How often the idle look up.
const CHECK: Duration = Duration::from_millis(20);
/// How long a dead peer is waited for.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut options = args.options("edFp", LONG);
    let (mut plain, mut address, mut handed_on) = (false, EVERYWHERE.to_owned(), Vec::new());
    while let Some(given) = options.next()? {
        match given.letter {
            PLAIN_TCP => plain = true,
            LISTEN => given.value.clone_into(&mut address),
            letter => handed_on.push(format!("-{}", char::from(letter))),
        }
    }
    options.operands(0)?;
    if !plain {
        return Err(Failure::line(
            "guests would be received unencrypted and from anybody who can reach the port: say \
             --plain-tcp if the network is to be trusted, or have them sent through ssh, which \
             needs no receiver",
        ));
    }
    let listener = tcp::listen(&address)
        .map_err(|error| Failure::line(format_args!("cannot listen at {address}: {error}")))?;
    listener.set_nonblocking(true)?;
    let end = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&end))?;
    }
    output::warn(format!("xend: listening at {}\n", listener.local_addr()?));
    serve(&listener, &handed_on, &end)?;
    Ok(ExitCode::SUCCESS)
}

/// Gives each connection to a process of its own, so that a bad peer hurts no other.
fn serve(listener: &TcpListener, options: &[String], end: &AtomicBool) -> Result<(), Failure> {
    let mut children: Vec<Child> = Vec::new();
    while !end.load(Ordering::Relaxed) {
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        match listener.accept() {
            Ok((stream, from)) if children.len() < MAX_GUESTS => {
                log::info!("connection from {from}");
                match receiver(stream, options) {
                    Ok(child) => children.push(child),
                    Err(error) => output::warn(format!("xend: {from}: {error}\n")),
                }
            }
            Ok((_, from)) => {
                output::warn(format!(
                    "xend: {from} is turned away: {MAX_GUESTS} guests are coming already\n"
                ));
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => thread::sleep(CHECK),
            Err(error) => {
                output::warn(format!("xend: cannot take a connection: {error}\n"));
                thread::sleep(CHECK * 10);
            }
        }
    }
    // Guests that are on their way arrive all the same.
    Ok(())
}

fn receiver(stream: TcpStream, options: &[String]) -> std::io::Result<Child> {
    stream.set_nonblocking(false)?;
    tcp::prepare(&stream, LIMIT)?;
    let input = OwnedFd::from(stream.try_clone()?);
    Command::new(std::env::current_exe()?)
        .arg("migrate-receive")
        .args(options)
        // Ctrl-C ends the listening, and not what is on its way.
        .process_group(0)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(OwnedFd::from(stream)))
        .spawn()
}
