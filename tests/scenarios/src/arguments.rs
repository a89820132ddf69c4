//! The command line of the scenarios: which of them are to be run.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::runner::Selection;

/// Boots real Xen hosts and tries scenarios on them, as root. Without any argument, a way through
/// everything; the names of all are below.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo test -p scenarios --test lab --", no_binary_name = true)]
struct Options {
    /// Run those with one of these in their names.
    filters: Vec<String>,
    /// Run all there are, which takes an hour or more.
    #[arg(long, conflicts_with = "filters")]
    full: bool,
    /// Run none, and print the names of those that there are, or that the filters leave.
    #[arg(long, conflicts_with = "full")]
    list: bool,
    #[command(flatten)]
    harness: Harness,
}

/// What `cargo test` gives to the tests of a whole package is for the usual harness, and changes nothing
/// here: each scenario is told as it runs.
#[derive(Debug, clap::Args)]
struct Harness {
    #[arg(long, alias = "no-capture", hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    show_output: bool,
    #[arg(short, long, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    color: Option<String>,
    #[arg(long, hide = true)]
    test_threads: Option<u32>,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// To run these.
    Run(Selection),
    /// To be told of these.
    List(Selection),
}

/// Reads the command line, its program's name left out. Of the scenarios that there are by `names`, those in
/// `every_time` are run where nothing else is asked for.
///
/// # Errors
/// What is to be printed instead: the help, or why it is refused.
pub fn read(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    names: &[&str],
    every_time: &'static [&'static str],
) -> Result<Wish, clap::Error> {
    let told = names.iter().map(|name| match every_time.contains(name) {
        true => format!("\n  {name}"),
        false => format!("\n  {name} (not every time)"),
    });
    let all = format!("Scenarios:{}", told.collect::<String>());
    let mut command = Options::command().after_help(all);
    let options = Options::from_arg_matches(&command.try_get_matches_from_mut(arguments)?)?;
    let matches = |filter: &str| names.iter().any(|name| name.contains(filter));
    if let Some(filter) = options.filters.iter().find(|filter| !matches(filter)) {
        let why = format!("no scenario has `{filter}` in its name; --list tells which there are");
        return Err(command.error(ErrorKind::InvalidValue, why));
    }
    let selection = match options.filters {
        filters if !filters.is_empty() => Selection::Matching(filters),
        _ if options.full || options.list => Selection::All,
        _ => Selection::Named(every_time),
    };
    Ok(if options.list { Wish::List(selection) } else { Wish::Run(selection) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["pv::save", "pv::migrate", "damage::cut"];
    const EVERY_TIME: &[&str] = &["pv::save"];

    fn told(words: &[&str]) -> Result<Wish, clap::Error> {
        read(words.iter().copied(), NAMES, EVERY_TIME)
    }

    fn matching(filters: &[&str]) -> Selection {
        Selection::Matching(filters.iter().map(|&filter| filter.to_owned()).collect())
    }

    #[test]
    fn what_is_asked_for_is_run_or_listed() {
        for (words, expected) in [
            (&[][..], Wish::Run(Selection::Named(EVERY_TIME))),
            (&["--full"], Wish::Run(Selection::All)),
            (&["pv", "cut"], Wish::Run(matching(&["pv", "cut"]))),
            (&["--list"], Wish::List(Selection::All)),
            (&["--list", "pv"], Wish::List(matching(&["pv"]))),
            (&["--nocapture", "--test-threads=1", "-q"], Wish::Run(Selection::Named(EVERY_TIME))),
        ] {
            assert_eq!(told(words).unwrap(), expected, "{words:?}");
        }
    }

    #[test]
    fn help_tells_of_all_and_which_are_left_out() {
        for word in ["--help", "-h"] {
            let help = told(&[word]).unwrap_err();
            assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
            let text = help.to_string();
            assert!(text.contains("cargo test -p scenarios --test lab -- [OPTIONS] [FILTERS]..."));
            assert!(text.contains("--full") && text.contains("--list"), "{text}");
            assert!(text.contains("\n  pv::save\n  pv::migrate (not every time)\n"), "{text}");
            assert!(!text.contains("test-threads"), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            &["--fulll"][..],
            &["-x"],
            &["migrate", "nosuch"],
            &["--full", "pv"],
            &["--full", "--list"],
        ] {
            assert_eq!(told(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
        let why = told(&["nosuch"]).unwrap_err().to_string();
        assert!(why.contains("no scenario has `nosuch` in its name"), "{why}");
    }
}
