//! How a command ends before its end: what is printed, and the exit status.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use super::{PROGRAM, output};
use crate::error_line::error_line;

/// Why a command ended early. It is no error itself, so that any error becomes one by `?`: one
/// line that begins with the program's name, exit status 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For standard error, to the byte.
    stderr: Vec<u8>,
    /// For standard output, after that: usage texts go there, as `xl`'s do.
    stdout: String,
    status: u8,
}

impl Failure {
    /// Ends with a text of `xl`'s, which has its line break, and status 1.
    pub(super) fn said(text: impl Into<Vec<u8>>) -> Self {
        Self { stderr: text.into(), stdout: String::new(), status: 1 }
    }

    /// Ends with nothing to say (that has not been said).
    pub(super) fn silent() -> Self {
        Self::said("")
    }

    /// Ends with a line of our own, given without the program's name and line break.
    pub(super) fn line(text: impl std::fmt::Display) -> Self {
        Self::said(format!("{PROGRAM}: {text}\n"))
    }

    /// Says this after what it says already.
    pub(super) fn and_said(mut self, text: impl AsRef<[u8]>) -> Self {
        self.stderr.extend_from_slice(text.as_ref());
        self
    }

    /// Prints this to standard output as well, after the message.
    pub(super) fn with_help(mut self, text: String) -> Self {
        self.stdout = text;
        self
    }

    /// Exits with this.
    pub(super) fn with_status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// What it says on standard error, for tests.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Prints it. The status is what the program exits with.
    pub(super) fn report(self) -> ExitCode {
        // Nobody left to tell: nothing to be done about it.
        let _ = io::stderr().write_all(&self.stderr);
        let _ = output::print(self.stdout);
        ExitCode::from(self.status)
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::line(error_line(&error))
    }
}
