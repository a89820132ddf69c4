//! Commands in a Dom0: the client side of `image/serve.sh`.
//!
//! One TCP connection per command, over a network card of its own: the serial console drops
//! characters, and the migration link may be shaped or cut.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{LabError, Result};

/// No command of the lab has more output than this; more is taken for a broken connection.
const OUTPUT_LIMIT_BYTES: u64 = 512 * 1024 * 1024;
/// For what takes no time in Dom0 itself.
const SHORT: Duration = Duration::from_secs(20);

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 and the signal's number when a signal ended it.
    pub status: i32,
    /// Standard output, as it was.
    pub stdout: Vec<u8>,
    /// Standard error, as it was.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// The way to one Dom0's command server.
#[derive(Debug, Clone)]
pub(crate) struct CommandServer {
    host: String,
    port: u16,
    next_job: Arc<AtomicU64>,
}

impl CommandServer {
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, next_job: Arc::default() }
    }

    /// Starts a command and returns when it is running.
    pub(crate) fn start(&self, command: &str) -> Result<Background> {
        let job = format!("job{}", self.next_job.fetch_add(1, Ordering::Relaxed));
        let deadline = Instant::now() + SHORT;
        let mut connection = Connection::open(self, "start a command", deadline)?;
        connection.send(&format!("run {job}\n"), command.as_bytes())?;
        let line = connection.line(deadline)?;
        if line != "started" {
            return Err(self.nonsense("start a command", &line));
        }
        Ok(Background { server: self.clone(), job, command: command.to_owned(), connection })
    }

    /// Writes a file; `mode` in octal digits.
    pub(crate) fn put(&self, content: &[u8], path: &str, mode: u32) -> Result<()> {
        // The emulated machine takes in some 5 MB/s.
        let deadline = Instant::now() + SHORT + Duration::from_micros(content.len() as u64);
        let mut connection = Connection::open(self, "put a file", deadline)?;
        connection.send(&format!("put {mode:o} {path}\n"), content)?;
        match connection.line(deadline)?.as_str() {
            "ok" => Ok(()),
            other => Err(self.nonsense("put a file", other)),
        }
    }

    fn kill(&self, job: &str) -> Result<()> {
        let deadline = Instant::now() + SHORT;
        let mut connection = Connection::open(self, "kill a command", deadline)?;
        connection.send(&format!("kill {job}\n"), &[])?;
        connection.line(deadline).map(drop)
    }

    fn error(&self, operation: &str) -> impl FnOnce(io::Error) -> LabError {
        let (host, operation) = (self.host.clone(), operation.to_owned());
        |source| LabError::Connection { host, operation, source }
    }

    fn nonsense(&self, operation: &str, answer: &str) -> LabError {
        let message = format!("the answer was `{answer}`");
        self.error(operation)(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

/// A command that is running in a Dom0. It goes on when this is dropped.
#[derive(Debug)]
pub struct Background {
    server: CommandServer,
    job: String,
    command: String,
    connection: Connection,
}

impl Background {
    /// Waits for the end. When `timeout` passes first, the command and everything it started in
    /// its session is killed.
    ///
    /// # Errors
    /// [`LabError::Deadline`] after such a kill.
    pub fn wait(mut self, timeout: Duration) -> Result<Output> {
        if let Some(output) = self.poll(timeout)? {
            return Ok(output);
        }
        self.server.kill(&self.job)?;
        Err(LabError::Deadline {
            host: self.server.host.clone(),
            command: self.command,
            after: timeout,
        })
    }

    /// Waits for the end for `timeout` and leaves the command alone when it passes: `None` then.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<Output>> {
        let deadline = Instant::now() + timeout;
        match self.connection.line(deadline) {
            Ok(line) => self.connection.output(&line).map(Some),
            Err(LabError::Connection { source, .. }) if is_timeout(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Kills the command with SIGKILL, with all it started in its session, and returns what it
    /// had written.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn kill(mut self) -> Result<Output> {
        self.server.kill(&self.job)?;
        match self.poll(SHORT)? {
            Some(output) => Ok(output),
            None => Err(self.server.nonsense("kill a command", "that it still runs")),
        }
    }

    /// The process id in Dom0 of the shell that runs the command, also its session's id.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn pid(&self) -> Result<u32> {
        let output = self.server.start(&format!("cat /run/lab/{}/pid", self.job))?.wait(SHORT)?;
        let text = output.stdout_text();
        text.trim().parse().map_err(|_| self.server.nonsense("read a process id", &text))
    }

    /// What the command has written to its two outputs so far, standard output first.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn log(&self) -> Result<String> {
        let command = format!("cd /run/lab/{} && cat out err", self.job);
        Ok(self.server.start(&command)?.wait(SHORT)?.stdout_text())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// One connection, whose every step has a deadline.
#[derive(Debug)]
struct Connection {
    server: CommandServer,
    operation: String,
    reader: BufReader<TcpStream>,
    /// The part of a line that came before a deadline passed.
    partial: Vec<u8>,
}

impl Connection {
    fn open(server: &CommandServer, operation: &str, deadline: Instant) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
        let stream = TcpStream::connect_timeout(&address, remaining(deadline))
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(server.error(operation))?;
        Ok(Self {
            server: server.clone(),
            operation: operation.to_owned(),
            reader: BufReader::new(stream),
            partial: Vec::new(),
        })
    }

    fn send(&mut self, header: &str, body: &[u8]) -> Result<()> {
        let stream = self.reader.get_mut();
        stream
            .set_write_timeout(Some(SHORT))
            .and_then(|()| stream.write_all(header.as_bytes()))
            .and_then(|()| stream.write_all(body))
            .and_then(|()| stream.shutdown(Shutdown::Write))
            .map_err(self.server.error(&self.operation))
    }

    /// Reads up to a line's end. A deadline that passes loses nothing of what had come.
    fn line(&mut self, deadline: Instant) -> Result<String> {
        let server = self.server.clone();
        let fail = |source| server.error(&self.operation)(source);
        self.reader.get_ref().set_read_timeout(Some(remaining(deadline))).map_err(fail)?;
        let fail = |source| server.error(&self.operation)(source);
        self.reader.read_until(b'\n', &mut self.partial).map_err(fail)?;
        if self.partial.pop() != Some(b'\n') {
            let fail = server.error(&self.operation);
            return Err(fail(io::ErrorKind::UnexpectedEof.into()));
        }
        let line = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        Ok(line)
    }

    /// Reads what follows the line "STATUS OUT_BYTES ERR_BYTES".
    fn output(&mut self, line: &str) -> Result<Output> {
        let mut numbers = line.split(' ').map(str::parse::<u64>);
        let (Some(Ok(status)), Some(Ok(out)), Some(Ok(err))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return Err(self.server.nonsense(&self.operation, line));
        };
        if out.saturating_add(err) > OUTPUT_LIMIT_BYTES || status > 255 {
            return Err(self.server.nonsense(&self.operation, line));
        }
        let stdout = self.exactly(out)?;
        let stderr = self.exactly(err)?;
        Ok(Output { status: i32::try_from(status).unwrap_or(i32::MAX), stdout, stderr })
    }

    fn exactly(&mut self, bytes: u64) -> Result<Vec<u8>> {
        let fail = self.server.error(&self.operation);
        let mut read = || {
            self.reader.get_ref().set_read_timeout(Some(SHORT))?;
            let mut content = Vec::new();
            (&mut self.reader).take(bytes).read_to_end(&mut content)?;
            if content.len() as u64 == bytes {
                Ok(content)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        };
        read().map_err(fail)
    }
}

/// The time until a deadline; never zero, which a socket would take for "for ever".
fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}
