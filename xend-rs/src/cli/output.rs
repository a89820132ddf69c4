//! Standard output of commands.

use std::io::{self, ErrorKind, Write};

use super::failure::Failure;

/// Prints to standard output. A reader that has gone is no reason for a message.
pub(super) fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_ref()).and_then(|()| out.flush());
    printed.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::silent(),
        _ => Failure::line(format_args!("cannot write to standard output: {error}")),
    })
}

/// Prints to standard error: a warning, or what is going on.
pub(super) fn warn(text: impl AsRef<[u8]>) {
    // Nobody left to tell: nothing to be done about it.
    let _ = io::stderr().write_all(text.as_ref());
}
