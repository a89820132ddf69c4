//! The table of commands: one place for their names, and what each is about.
//!
//! [`here`] has an entry for each command of this program, [`stock`] the names of those that only
//! stock `xl` has. Both count when a name is shortened, so that what is unambiguous for `xl` is so
//! here, and means the same.

mod here;
mod stock;

use std::process::ExitCode;

use super::args::Args;
use super::failure::Failure;

/// A command.
#[derive(Debug)]
pub(super) struct Command {
    /// Its name.
    pub(super) name: &'static str,
    /// What carries it out.
    pub(super) run: Run,
    /// Whether it understands the global `-N`.
    pub(super) can_dry_run: bool,
    /// Whether it changes anything; the usage shows `-f` then, as `xl`'s does.
    pub(super) modifies: bool,
    /// What it does, without a full stop.
    pub(super) summary: &'static str,
    /// Its operands.
    pub(super) usage: &'static str,
    /// Its options, one a line.
    pub(super) options: Option<&'static str>,
}

/// What carries out a command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Run {
    /// A function here.
    Here(fn(&Args) -> Result<ExitCode, Failure>),
    /// A function here, for this program's own use: not listed, and not to be shortened.
    Hidden(fn(&Args) -> Result<ExitCode, Failure>),
}

/// Which command a name means.
#[derive(Debug)]
pub(super) enum Found {
    /// This one.
    Command(&'static Command),
    /// One that only stock `xl` has: its whole name.
    Stock(&'static str),
    /// None, or more than one.
    Nothing,
}

/// The commands that are listed, in the order of the list.
pub(super) fn listed() -> impl Iterator<Item = &'static Command> {
    here::COMMANDS.iter().filter(|command| matches!(command.run, Run::Here(_)))
}

/// Looks a command up by its name, or the beginning of its name when no other begins so.
pub(super) fn find(name: &str) -> Found {
    if let Some(command) = here::COMMANDS.iter().find(|command| command.name == name) {
        return Found::Command(command);
    }
    let here = here::COMMANDS
        .iter()
        .filter(|command| !matches!(command.run, Run::Hidden(_)))
        .map(|command| (command.name, Found::Command(command)));
    let stock = stock::COMMANDS.iter().map(|&name| (name, Found::Stock(name)));
    let mut meant = here.chain(stock).filter(|(full, _)| full.starts_with(name));
    match (meant.next(), meant.next()) {
        (Some((_, found)), None) => found,
        (Some(first), Some(second)) => {
            // A whole name counts even if another begins with it.
            let all = [first, second].into_iter().chain(meant);
            all.into_iter().find(|(full, _)| *full == name).map_or(Found::Nothing, |(_, it)| it)
        }
        (None, _) => Found::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(shortened: &str) -> Option<&'static str> {
        match find(shortened) {
            Found::Command(command) => Some(command.name),
            Found::Stock(name) => Some(name),
            Found::Nothing => None,
        }
    }

    #[test]
    fn a_name_may_be_shortened_while_it_is_clear() {
        assert_eq!(name("li"), Some("list"));
        assert_eq!(name("vcpu-l"), Some("vcpu-list"));
        assert_eq!(name("cpupool-li"), Some("cpupool-list"));
        assert_eq!(name("cpupool"), None, "there are many");
        assert_eq!(name("sched-credit"), Some("sched-credit"), "sched-credit2 begins so");
        assert_eq!(name("migrate"), Some("migrate"), "and so does migrate-receive");
        assert_eq!(name("mi"), None);
        assert_eq!(name("help"), None, "it is none of the commands");
        assert_eq!(name(""), None);
    }

    #[test]
    fn our_own_commands_take_no_abbreviation_from_xl() {
        // What xl users type for short: it has to mean the same with our own commands beside.
        for (short, full) in [("li", "list"), ("in", "info"), ("mo", ""), ("up", "uptime")] {
            assert_eq!(name(short), (!full.is_empty()).then_some(full));
        }
        for own in ["stream", "monitor"] {
            let is_xls = stock::COMMANDS.contains(&own);
            assert!(!is_xls && matches!(find(own), Found::Command(_)), "{own}");
        }
    }

    #[test]
    fn no_name_is_there_twice() {
        let mut names: Vec<_> = here::COMMANDS.iter().map(|command| command.name).collect();
        names.extend(stock::COMMANDS);
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
