//! What a command is called with.

use super::options::{Long, Options};
use super::table::Command;

/// The words of a command, and what was said before it.
#[derive(Debug)]
pub(super) struct Args {
    /// The name the program goes by in usage texts: `xl` when it was called so.
    pub(super) program: &'static str,
    /// The options before the command.
    pub(super) global: Global,
    /// The command.
    pub(super) command: &'static Command,
    /// What follows the command's name.
    pub(super) words: Vec<String>,
}

/// The options before the command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Global {
    /// `-v`, how often.
    pub(super) verbosity: u8,
    /// `-N`: say what would be done, and leave it.
    pub(super) dry_run: bool,
    /// `-t`: progress is shown on one line, with carriage returns.
    pub(super) progress_with_cr: bool,
    /// `-T`: messages begin with the time and the process id.
    pub(super) timestamps: bool,
}

/// A command line of which the command has not been looked up yet.
#[derive(Debug)]
pub(super) struct Unresolved {
    pub(super) program: &'static str,
    pub(super) global: Global,
    /// The command's name as it was typed, perhaps shortened.
    pub(super) called: String,
    pub(super) words: Vec<String>,
}

impl Unresolved {
    /// The arguments of `command`.
    pub(super) fn of(self, command: &'static Command) -> Args {
        Args { program: self.program, global: self.global, command, words: self.words }
    }
}

impl Args {
    /// The command's options, to be taken one by one. `short` is as for getopt, `h` is always
    /// understood.
    pub(super) fn options(&self, short: &'static str, long: &'static [Long]) -> Options<'_> {
        Options::new(self, &self.words, short, long)
    }

    /// As [`options`](Self::options), without the first so many words: for commands that look at
    /// those by themselves.
    pub(super) fn options_after(
        &self,
        words: usize,
        short: &'static str,
        long: &'static [Long],
    ) -> Options<'_> {
        Options::new(self, self.words.get(words..).unwrap_or_default(), short, long)
    }

    /// The operands of a command that has no options, at least as many as said.
    pub(super) fn operands(&self, at_least: usize) -> Result<Vec<&str>, super::Failure> {
        let mut options = self.options("", &[]);
        while options.next()?.is_some() {}
        options.operands(at_least)
    }
}
