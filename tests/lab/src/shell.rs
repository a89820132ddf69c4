//! A running lab's door for other terminals: shells and commands in its Dom0s.
//!
//! The hosts are in a network namespace that another process cannot reach; a unix socket in a
//! folder of the user's own is passed through it. A connection begins with one line of JSON
//! that says what is wanted.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::termios::{self, SetArg};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::error::{LabError, Result};
use crate::exec::CommandServer;
use crate::lab::Lab;

/// A command given to `lab run` may take this long.
const RUN_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
const SOCKET: &str = "lab.sock";
const REQUEST_LIMIT_BYTES: u64 = 64 * 1024;

/// What a connection to the door asks for.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// A shell on a terminal in the Dom0 of `host`.
    Shell { host: String },
    /// One command in the Dom0 of `host`.
    Run { host: String, command: String },
}

/// The result of a `Run`.
#[derive(Debug, Serialize, Deserialize)]
struct RunAnswer {
    status: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// What the lab itself could not do; the other fields mean nothing then.
    error: Option<String>,
}

/// How to reach each host.
#[derive(Debug, Clone)]
struct Entrance {
    name: String,
    server: CommandServer,
    shell_port: u16,
}

/// The door, taken but not open yet: there is one per user.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
}

impl Door {
    /// Takes the door. Do it before hosts are booted, to learn at once that another lab has it.
    ///
    /// # Errors
    /// When another lab of this user has it, or the socket cannot be made.
    pub fn take() -> Result<Self> {
        let path = runtime_folder()?.join(SOCKET);
        if UnixStream::connect(&path).is_ok() {
            return Err(LabError::Missing(format!(
                "another lab is up already (its socket is {}): end that one first",
                path.display()
            )));
        }
        // What a killed lab left: nobody listens there.
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(LabError::file("listen on", &path))?;
        Ok(Self { listener })
    }

    /// Opens it to the hosts of a lab, for as long as the process lives.
    pub fn open(self, lab: &Lab) {
        let entrances: Vec<Entrance> = lab
            .hosts()
            .iter()
            .map(|host| Entrance {
                name: host.name().to_owned(),
                server: host.command_server(),
                shell_port: host.shell_port(),
            })
            .collect();
        thread::spawn(move || {
            for stream in self.listener.incoming().flatten() {
                let entrances = entrances.clone();
                // A visitor who breaks off is no concern of the lab's.
                thread::spawn(move || drop(answer(stream, &entrances)));
            }
        });
    }
}

/// Connects this terminal to a shell in a Dom0, until that shell ends.
///
/// # Errors
/// When no lab is up or it has no such host.
pub fn shell(host: &str) -> Result<()> {
    let mut stream = connect()?;
    send(&mut stream, &Request::Shell { host: host.to_owned() })?;
    let _raw = RawTerminal::enter();
    let input = stream.try_clone().map_err(broken)?;
    thread::spawn(move || copy_and_shut(io::stdin(), input));
    pump(&mut stream, &mut io::stdout()).map_err(broken)
}

/// Runs one command in a Dom0 of the lab that is up, passes its two outputs through, and returns
/// its exit status.
///
/// # Errors
/// When no lab is up, it has no such host, or the host does not answer.
pub fn run(host: &str, command: &str) -> Result<i32> {
    let mut stream = connect()?;
    send(&mut stream, &Request::Run { host: host.to_owned(), command: command.to_owned() })?;
    let answer: RunAnswer =
        serde_json::from_reader(&mut stream).map_err(|error| broken(error.into()))?;
    if let Some(error) = answer.error {
        return Err(LabError::Missing(error));
    }
    io::stdout().write_all(&answer.stdout).map_err(broken)?;
    io::stderr().write_all(&answer.stderr).map_err(broken)?;
    Ok(answer.status)
}

fn answer(stream: UnixStream, entrances: &[Entrance]) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    (&mut reader).take(REQUEST_LIMIT_BYTES).read_line(&mut line)?;
    let find = |name: &str| entrances.iter().find(|entrance| entrance.name == name);
    match serde_json::from_str(&line)? {
        Request::Shell { host } => match find(&host) {
            Some(entrance) => relay(reader, stream, entrance.shell_port),
            None => writeln!(&stream, "{}\r", unknown(&host)),
        },
        Request::Run { host, command } => {
            let answer = match find(&host) {
                Some(entrance) => run_here(entrance, &command),
                None => refusal(unknown(&host)),
            };
            serde_json::to_writer(stream, &answer)?;
            Ok(())
        }
    }
}

fn run_here(entrance: &Entrance, command: &str) -> RunAnswer {
    match entrance.server.start(command).and_then(|job| job.wait(RUN_TIMEOUT)) {
        Ok(output) => RunAnswer {
            status: output.status,
            stdout: output.stdout,
            stderr: output.stderr,
            error: None,
        },
        Err(error) => refusal(error.to_string()),
    }
}

fn refusal(error: String) -> RunAnswer {
    RunAnswer { status: 1, stdout: Vec::new(), stderr: Vec::new(), error: Some(error) }
}

fn unknown(host: &str) -> String {
    format!("there is no host `{host}` in this lab")
}

/// Passes bytes both ways between a visitor and a shell's port until either side ends.
fn relay(reader: BufReader<UnixStream>, stream: UnixStream, port: u16) -> io::Result<()> {
    let shell = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    shell.set_nodelay(true)?;
    let input = shell.try_clone()?;
    thread::spawn(move || {
        let mut input = input;
        let _ = pump(reader, &mut input);
        // The visitor is gone: the shell goes too.
        let _ = input.shutdown(Shutdown::Both);
    });
    let mut output = stream;
    let result = pump(shell, &mut output);
    let _ = output.shutdown(Shutdown::Both);
    result
}

/// Copies what comes as it comes. `io::copy` may hold back what an interactive user waits for.
fn pump(mut from: impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length])?;
        to.flush()?;
    }
}

fn copy_and_shut(from: impl Read, mut to: UnixStream) {
    let _ = pump(from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Puts the local terminal into raw mode, so that keys go to the Dom0's terminal as they are
/// typed, and back when dropped. Without a terminal it does nothing.
struct RawTerminal {
    before: Option<termios::Termios>,
}

impl RawTerminal {
    fn enter() -> Self {
        let before = termios::tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            termios::cfmakeraw(&mut raw);
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &raw);
        }
        Self { before }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

fn connect() -> Result<UnixStream> {
    let path = runtime_folder()?.join(SOCKET);
    UnixStream::connect(&path).map_err(|_| {
        LabError::Missing("no lab is up: start one with `lab up` in another terminal".to_owned())
    })
}

fn send(stream: &mut UnixStream, request: &Request) -> Result<()> {
    let mut line = serde_json::to_vec(request).map_err(|error| broken(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(broken)
}

fn broken(source: io::Error) -> LabError {
    LabError::Network { operation: "talk to the lab".to_owned(), source }
}

/// A folder that only this user can use: who reaches the socket is root in every Dom0.
fn runtime_folder() -> Result<PathBuf> {
    let uid = geteuid().as_raw();
    let base = if uid == 0 { Path::new("/run").to_owned() } else { std::env::temp_dir() };
    let folder = base.join(format!("xend-rs-lab-{uid}"));
    let made = fs::DirBuilder::new().mode(0o700).create(&folder);
    if let Err(error) = made
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(LabError::file("create", folder)(error));
    }
    let found = fs::symlink_metadata(&folder).map_err(LabError::file("look at", &folder))?;
    if !found.is_dir() || found.uid() != uid || found.mode() & 0o077 != 0 {
        return Err(LabError::Missing(format!(
            "{} is not a folder that this user alone can use: remove it",
            folder.display()
        )));
    }
    Ok(folder)
}
