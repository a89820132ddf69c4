//! Options of a command, as glibc's `getopt_long` takes them and `xl` answers to what is wrong.
//!
//! The first operand ends the options, and so does `--`: `xl` asks for that when it reads its global
//! options, and glibc keeps to it. Long options may be shortened as long as it is clear which one
//! is meant. Options are taken one at a time, since `xl` acts on each before it looks at the next.
//! What their values mean is in [`value`].

mod value;

use super::args::Args;
use super::failure::Failure;
use super::help;

/// A long option and the letter that means the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Long {
    name: &'static str,
    letter: u8,
    takes_value: bool,
}

/// One that every command has.
const HELP: Long = Long::flag("help", b'h');

impl Long {
    /// An option without a value.
    pub(super) const fn flag(name: &'static str, letter: u8) -> Self {
        Self { name, letter, takes_value: false }
    }

    /// An option with a value: `--name=value` or `--name value`.
    pub(super) const fn with_value(name: &'static str, letter: u8) -> Self {
        Self { name, letter, takes_value: true }
    }
}

/// An option that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given<'a> {
    /// Its letter.
    pub(super) letter: u8,
    /// Its whole name, without dashes; empty if the letter was given.
    pub(super) name: &'static str,
    /// Its value; empty for one that takes none.
    pub(super) value: &'a str,
}

#[cfg(test)]
impl<'a> Given<'a> {
    /// One of `all`, as if it had been given by its name.
    pub(super) fn long(all: &[Long], letter: u8, value: &'a str) -> Self {
        let long = all.iter().find(|long| long.letter == letter).expect("the command has it");
        Self { letter, name: long.name, value }
    }
}

/// The options of a command, and its operands after them.
#[derive(Debug)]
pub(super) struct Options<'a> {
    args: &'a Args,
    words: &'a [String],
    short: &'static str,
    long: &'static [Long],
    /// The next word.
    next: usize,
    /// What is left of a word of several letters.
    letters: &'a str,
    operands: &'a [String],
}

impl<'a> Options<'a> {
    pub(super) fn new(
        args: &'a Args,
        words: &'a [String],
        short: &'static str,
        long: &'static [Long],
    ) -> Self {
        Self { args, words, short, long, next: 0, letters: "", operands: &[] }
    }

    /// The next option, or none when only operands are left.
    ///
    /// # Errors
    /// For an option that the command does not have, or that lacks its value: exit status 2. For
    /// `-h`: the usage text, and exit status 0.
    pub(super) fn next(&mut self) -> Result<Option<Given<'a>>, Failure> {
        let given = self.take().map_err(|option| {
            // A bad use of --help is answered with help as well.
            if option == HELP.letter { self.help() } else { unsupported(option) }
        })?;
        match given {
            Some(Given { letter, .. }) if letter == HELP.letter => Err(self.help()),
            given => Ok(given),
        }
    }

    /// What is no option. To be called when there are no more options.
    ///
    /// # Errors
    /// When there are fewer than said: the usage text, and exit status 2.
    pub(super) fn operands(self, at_least: usize) -> Result<Vec<&'a str>, Failure> {
        if self.operands.len() >= at_least {
            return Ok(self.operands.iter().map(String::as_str).collect());
        }
        let Args { program, command, .. } = self.args;
        let plural = if at_least > 1 { "s" } else { "" };
        let text = format!(
            "'{program} {}' requires at least {at_least} argument{plural}.\n\n",
            command.name
        );
        let usage = help::usage(program, command);
        Err(Failure::said(text).with_help(usage).with_status(2))
    }

    fn help(&self) -> Failure {
        let usage = help::usage(self.args.program, self.args.command);
        Failure::silent().with_help(usage).with_status(0)
    }

    /// As `getopt_long`. The error is what it leaves in `optopt`: the letter, or 0.
    fn take(&mut self) -> Result<Option<Given<'a>>, u8> {
        if self.letters.is_empty() {
            let Some(word) = self.words.get(self.next) else { return Ok(None) };
            if word == "--" {
                return Ok(self.leave_the_rest(self.next + 1));
            }
            let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                return Ok(self.leave_the_rest(self.next));
            };
            self.next += 1;
            if let Some(long) = letters.strip_prefix('-') {
                return self.take_long(long).map(Some);
            }
            self.letters = letters;
        }
        self.take_letter().map(Some)
    }

    fn leave_the_rest(&mut self, from: usize) -> Option<Given<'a>> {
        self.operands = &self.words[from..];
        self.next = self.words.len();
        None
    }

    fn take_letter(&mut self) -> Result<Given<'a>, u8> {
        let letter = self.letters.as_bytes()[0];
        let known = self.short.as_bytes().iter().position(|&known| known == letter);
        let takes_value = match known {
            _ if letter == HELP.letter => false,
            Some(place) if letter.is_ascii_alphanumeric() => {
                self.short.as_bytes().get(place + 1) == Some(&b':')
            }
            _ => return Err(letter),
        };
        // A known letter is ASCII, so the rest begins with a character.
        let rest = &self.letters[1..];
        self.letters = if takes_value { "" } else { rest };
        let value = match (takes_value, rest) {
            (false, _) => "",
            (true, "") => self.take_word().ok_or(letter)?,
            (true, value) => value,
        };
        Ok(Given { letter, name: "", value })
    }

    fn take_long(&mut self, word: &'a str) -> Result<Given<'a>, u8> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let long = self.find_long(name).ok_or(0)?;
        let value = match (long.takes_value, value) {
            (false, None) => "",
            (true, Some(value)) => value,
            (true, None) => self.take_word().ok_or(long.letter)?,
            (false, Some(_)) => return Err(long.letter),
        };
        Ok(Given { letter: long.letter, name: long.name, value })
    }

    fn find_long(&self, name: &str) -> Option<Long> {
        let all = || self.long.iter().chain([&HELP]).copied();
        if let Some(exact) = all().find(|long| long.name == name) {
            return Some(exact);
        }
        let mut meant = all().filter(|long| long.name.starts_with(name));
        let first = meant.next()?;
        // Two names for one thing are not ambiguous.
        meant
            .all(|other| (other.letter, other.takes_value) == (first.letter, first.takes_value))
            .then_some(first)
    }

    fn take_word(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }
}

/// `option` is a byte as it was given, or 0 for a long option that is not known.
fn unsupported(option: u8) -> Failure {
    Failure::said([b"option `".as_slice(), &[option], b"' not supported.\n"].concat())
        .with_status(2)
}

#[cfg(test)]
mod tests {
    use super::super::args::{Args, Global};
    use super::super::table;
    use super::*;

    const LONG: &[Long] = &[
        Long::flag("force", b'f'),
        Long::flag("ignore-host", b'i'),
        Long::flag("ignore-global-affinity-masks", b'g'),
        Long::with_value("domain", b'd'),
    ];

    fn args(words: &[&str]) -> Args {
        let table::Found::Command(command) = table::find("stream") else { panic!("a command") };
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Args { program: "xl", global: Global::default(), command, words }
    }

    /// Options as `f`, `d=value`, and operands after a bar.
    fn taken(words: &[&str]) -> Result<String, Failure> {
        let args = args(words);
        let mut options = args.options("fid:", LONG);
        let mut all = Vec::new();
        while let Some(Given { letter, value, .. }) = options.next()? {
            let letter = char::from(letter);
            all.push(if value.is_empty() {
                letter.to_string()
            } else {
                format!("{letter}={value}")
            });
        }
        Ok(format!("{}|{}", all.join(" "), options.operands(0)?.join(" ")))
    }

    #[test]
    fn the_first_operand_ends_the_options() {
        assert_eq!(taken(&["-fi", "-d", "-f", "-dx", "c", "-f"]), Ok("f i d=-f d=x|c -f".into()));
        assert_eq!(taken(&["-f", "a", "--", "-i"]), Ok("f|a -- -i".into()));
        assert_eq!(taken(&["-f", "--", "-i", "--"]), Ok("f|-i --".into()));
        assert_eq!(taken(&["-", "-f"]), Ok("|- -f".into()));
        assert_eq!(taken(&["-d", "--", "-f"]), Ok("d=-- f|".into()), "it is a value here");
    }

    #[test]
    fn long_options_may_be_shortened() {
        assert_eq!(taken(&["--fo", "--domain=a=b", "--dom", "c"]), Ok("f d=a=b d=c|".into()));
        assert_eq!(taken(&["--ignore-h"]), Ok("i|".into()));
        assert_eq!(taken(&["--ignore"]), Err(unsupported(0)), "there are two");
        assert_eq!(taken(&["--nothing"]), Err(unsupported(0)));
    }

    #[test]
    fn what_is_wrong_is_said_in_xls_words() {
        let failure = taken(&["-fq"]).expect_err("no option");
        assert_eq!(failure, Failure::said("option `q' not supported.\n").with_status(2));
        assert_eq!(taken(&["-d"]), Err(unsupported(b'd')), "a value is missing");
        assert_eq!(taken(&["--domain"]), Err(unsupported(b'd')));
        assert_eq!(taken(&["--force=x"]), Err(unsupported(b'f')), "it takes no value");
        assert_eq!(taken(&["-:"]), Err(unsupported(b':')));
        assert_eq!(taken(&["-é"]), Err(unsupported(0xc3)), "one byte of it, as xl");
    }

    #[test]
    fn help_is_no_failure() {
        let args = args(&[]);
        let help = Failure::silent().with_help(help::usage("xl", args.command)).with_status(0);
        for words in [["-h"].as_slice(), &["--help"], &["-fh"], &["--he"], &["--help=x"]] {
            assert_eq!(taken(words).expect_err("help"), help);
        }
    }

    #[test]
    fn too_few_operands_are_answered_with_the_usage() {
        let args = args(&["a"]);
        let failure = args.operands(2).expect_err("too few");
        let said = Failure::said("'xl stream' requires at least 2 arguments.\n\n");
        assert_eq!(failure, said.with_help(help::usage("xl", args.command)).with_status(2));
        assert_eq!(args.operands(1), Ok(vec!["a"]));
    }
}
