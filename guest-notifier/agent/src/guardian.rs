//! The process that outlives the agent, and releases what it held.
//!
//! It reads from a pipe whose other end only the agent has. The agent writes into it while it lives; at
//! the end of the pipe it is dead. One that is busy and writes nothing for [`PATIENCE`] hangs, and is
//! killed: then it is dead, too.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use guest_notifier::protocol::GUEST_FOLDER;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use xenstore_rs::Xs;
use xenstore_rs::unix::XsUnix;

use crate::grip::Places;
use crate::ledger;
use crate::memory::Files;
use crate::say::complain;

/// The command of the agent's program that runs a guardian.
pub const COMMAND: &str = "guardian";
/// How long a busy agent may show no life.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Looked at in two halves: a guest that stands still for a while has not been silent all that time.
const LOOKS: u32 = 2;

const BUSY: u8 = b'b';
const IDLE: u8 = b'i';

/// The agent's end.
#[derive(Debug)]
pub struct Guardian {
    program: PathBuf,
    folder: PathBuf,
    child: Child,
    pipe: ChildStdin,
}

impl Guardian {
    /// Starts one, from the agent's own `program`, for the ledger in `folder`.
    ///
    /// # Errors
    /// When it cannot be started: then nothing may be held.
    pub fn start(program: &Path, folder: &Path) -> io::Result<Self> {
        let (child, pipe) = spawn(program, folder)?;
        Ok(Self { program: program.to_path_buf(), folder: folder.to_path_buf(), child, pipe })
    }

    /// We live; `busy` says whether that is of interest. A guardian that is gone is replaced.
    ///
    /// # Errors
    /// When there is none and none can be started.
    pub fn alive(&mut self, busy: bool) -> io::Result<()> {
        let word = [if busy { BUSY } else { IDLE }];
        match nix::unistd::write(&self.pipe, &word) {
            // It is slow, and has enough to read.
            Ok(_) | Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(()),
            Err(_) => {
                let _ = self.child.wait();
                (self.child, self.pipe) = spawn(&self.program, &self.folder)?;
                Ok(())
            }
        }
    }
}

fn spawn(program: &Path, folder: &Path) -> io::Result<(Child, ChildStdin)> {
    let mut child = Command::new(program)
        .arg(COMMAND)
        .arg(folder)
        .stdin(Stdio::piped())
        // What is sent to the agent's group is not for it.
        .process_group(0)
        .spawn()?;
    let pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    // An agent must never wait for its guardian.
    fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((child, pipe))
}

/// The guardian's own life: returns when the agent is dead and everything is released.
///
/// # Errors
/// When its signals or its pipe cannot be set up.
pub fn run(folder: &Path, places: &Places, files: &Files) -> io::Result<()> {
    // A service that is stopped is sent these, as a whole. The pipe tells us when the agent is gone.
    for signal in
        [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP]
    {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let agent = getppid();
    let hung = await_end(&mut io::stdin(), agent)?;
    let released = ledger::release(folder, places, files);
    // So that the host waits for nobody. In its absence that cannot be done, and need not be.
    if let Ok(store) = XsUnix::new() {
        let _ = store.rm(GUEST_FOLDER);
    }
    // Last of all: what the agent hung at may be its output, which is ours.
    if hung {
        complain("the agent hung, and was killed");
    }
    if released > 0 {
        complain(format_args!("the agent is gone; {released} things that it held are released"));
    }
    Ok(())
}

/// Whether the agent had to be killed for it.
fn await_end(pipe: &mut (impl Read + AsFd), agent: Pid) -> io::Result<bool> {
    let mut words = [0; 256];
    let (mut busy, mut silent, mut hung) = (false, 0, false);
    let nap = PollTimeout::try_from(PATIENCE / LOOKS).unwrap_or(PollTimeout::MAX);
    loop {
        let ready = match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], nap) {
            Err(nix::Error::EINTR) => continue,
            other => other?,
        };
        if ready == 0 {
            silent += 1;
            // Only our own parent: after its end the pipe would have ended as well.
            if busy && silent >= LOOKS && getppid() == agent {
                hung = true;
                let _ = kill(agent, Signal::SIGKILL);
            }
            continue;
        }
        match pipe.read(&mut words) {
            Ok(0) => return Ok(hung),
            Ok(count) => {
                silent = 0;
                busy = words[count - 1] == BUSY;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
