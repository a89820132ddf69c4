//! A command of the administrator's that reaches the peer: `ssh HOST xl migrate-receive`, or
//! whatever else carries bytes on its standard input and output.
//!
//! Ctrl-C at the terminal goes to every process of the foreground, and so to `ssh`, too. After the
//! handover that would cut off the word that the guest runs there; before it, we hang up ourselves.
//! So the command ignores it. It is not put into a process group or a session of its own: there it
//! could not ask the terminal for a password.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Link;
use crate::migration::Cancel;

/// How long a transport may take to end once the connection is closed.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one may take to end by itself that is not wanted any more.
const LAST_WORDS: Duration = Duration::from_millis(500);
const END_CHECK: Duration = Duration::from_millis(1);

/// Ignored signals stay ignored in what the shell starts, and `ssh` leaves them so.
const IGNORE_TERMINAL: &str = "trap '' HUP INT QUIT\n";

/// Runs `rune` with a shell and speaks to it.
///
/// # Errors
/// If there is no shell. What becomes of the command is only seen on the link.
pub fn connect(rune: &str, cancel: &Cancel, limit: Option<Duration>) -> io::Result<Link> {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("{IGNORE_TERMINAL}{rune}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let no_pipe = || io::Error::other("the transport has no pipe");
    let to_peer = OwnedFd::from(child.stdin.take().ok_or_else(no_pipe)?);
    let from_peer = OwnedFd::from(child.stdout.take().ok_or_else(no_pipe)?);
    let mut link = Link::new(to_peer, from_peer, cancel, limit)?;
    link.transport = Some(Transport(child));
    Ok(link)
}

/// The process that carries a link.
#[derive(Debug)]
pub struct Transport(Child);

impl Transport {
    /// The same for one that has not reached a receiver yet: it may be asking for a password on a
    /// terminal that others want back. One that has is left alone, for the receiver behind it may
    /// still be clearing up, and say so.
    pub fn stop(self) -> Option<String> {
        let pid = Pid::from_raw(self.0.id().cast_signed());
        let deadline = Instant::now() + LAST_WORDS;
        let mut this = self;
        while Instant::now() < deadline {
            if !matches!(this.0.try_wait(), Ok(None)) {
                return this.end();
            }
            thread::sleep(END_CHECK);
        }
        // Not yet waited for, so the id is still its own.
        let _ = kill(pid, Signal::SIGTERM);
        this.end()
    }

    /// Once the link's ends are closed: waits a moment for the process and says in words how it
    /// ended, if not well.
    pub fn end(mut self) -> Option<String> {
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            match self.0.try_wait() {
                Ok(Some(status)) => return in_words(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(END_CHECK),
                Ok(None) => {
                    let id = self.0.id();
                    return Some(format!(
                        "migration transport process [{id}] not exiting, no longer waiting (exit \
                         status will be unreported)"
                    ));
                }
                Err(error) => {
                    return Some(format!("wait for migration transport process failed: {error}"));
                }
            }
        }
    }
}

fn in_words(status: ExitStatus) -> Option<String> {
    if status.success() {
        return None;
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with error status {code}"),
        (None, Some(signal)) => format!("died due to fatal signal {signal}"),
        (None, None) => "ended for an unknown reason".to_owned(),
    };
    Some(format!("migration transport process {how}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn ctrl_c_and_a_closed_terminal_do_not_reach_the_command() {
        // As the terminal would: to the shell, and to what it has started.
        let all = "kill -INT $$; kill -HUP $$; sh -c 'kill -INT $$; kill -QUIT $$; exec cat'";
        let mut link = connect(all, &Cancel::default(), None).unwrap();
        link.sink.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        link.source.read_exact(&mut heard).unwrap();
        let Link { sink, source, transport } = link;
        drop((sink, source));
        assert_eq!(transport.expect("a command").end(), None);
    }

    #[test]
    fn a_command_that_is_not_wanted_any_more_is_ended() {
        let link = connect("exec sleep 60", &Cancel::default(), None).unwrap();
        let Link { sink, source, transport } = link;
        drop((sink, source));
        let started = Instant::now();
        let end = transport.expect("a command").stop();
        assert_eq!(end.as_deref(), Some("migration transport process died due to fatal signal 15"));
        assert!(started.elapsed() < END_TIMEOUT);
    }

    #[test]
    fn speaks_over_the_commands_pipes_and_tells_how_it_ended() {
        let mut link = connect("cat; exit 3", &Cancel::default(), None).unwrap();
        link.sink.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        link.source.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
        let Link { sink, source, transport } = link;
        drop((sink, source));
        let end = transport.expect("a command").end();
        assert_eq!(end.as_deref(), Some("migration transport process exited with error status 3"));
    }
}
