//! What the agent says, to whoever reads its output: nobody may do so, and it must not end for that.

use std::fmt::Display;
use std::io::{self, Write};

/// A line of what is as it should be.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(io::stdout(), "xend-agent: {text}");
}

/// A line of what is not.
pub(crate) fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "xend-agent: {text}");
}
