//! What can go wrong in the lab, said so that the reader knows what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Short form for the lab's results.
pub type Result<T> = std::result::Result<T, LabError>;

/// An error of the lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Something this machine has to offer is not there; the text says what and how to get it.
    #[error("{0}")]
    Missing(String),

    /// A program on this machine could not be started.
    #[error("cannot run {program}")]
    Spawn {
        /// The program's name.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },

    /// A program on this machine failed.
    #[error("`{command}` ended with {status}: {stderr}")]
    Program {
        /// The program and its arguments.
        command: String,
        /// Its exit status in words.
        status: String,
        /// What it said.
        stderr: String,
    },

    /// A file operation failed.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was being done, as a verb.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },

    /// The network on this machine could not be used.
    #[error("cannot {operation}")]
    Network {
        /// What was being done, as a verb.
        operation: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },

    /// A host did not come up, or fell over.
    #[error("host {host}: {reason}; its console ends with:\n{console}")]
    Host {
        /// The host's name.
        host: String,
        /// What happened.
        reason: String,
        /// The last lines of its console.
        console: String,
    },

    /// A command in a Dom0 ended with a status other than 0.
    #[error("host {host}: `{command}` ended with status {status}: {stderr}")]
    Command {
        /// The host's name.
        host: String,
        /// The command.
        command: String,
        /// Its exit status.
        status: i32,
        /// What it wrote to standard error.
        stderr: String,
    },

    /// A command in a Dom0 did not end in time and was killed there.
    #[error("host {host}: `{command}` was killed after {seconds} s without an end", seconds = after.as_secs_f32())]
    Deadline {
        /// The host's name.
        host: String,
        /// The command.
        command: String,
        /// The time it was given.
        after: Duration,
    },

    /// The connection to a host's command server broke or carried nonsense.
    #[error("host {host}: {operation} over the command network failed")]
    Connection {
        /// The host's name.
        host: String,
        /// What was being done.
        operation: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },

    /// A guest did not do what was asked of it.
    #[error("guest {guest}: {reason}")]
    Guest {
        /// The guest's name.
        guest: String,
        /// What happened.
        reason: String,
    },

    /// The emulator itself computes wrongly; nothing measured on it means anything.
    #[error(
        "host {host}: the emulator corrupts SIMD registers ({detail}): wrong pages on this \
         machine would not be the migration's fault"
    )]
    Emulator {
        /// The host where it was seen.
        host: String,
        /// What the check said.
        detail: String,
    },
}

impl LabError {
    /// For `map_err` on file operations.
    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }
}
