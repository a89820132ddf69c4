//! Usage texts.

use std::fmt::Write;

use super::failure::Failure;
use super::table::{self, Command, Found};

/// Where Debian's stock `xl` is, whatever is called `xl` on the path.
pub(super) const STOCK_XL: &str = "/usr/lib/xen-4.17/bin/xl";

/// All commands, one a line. Those that only stock `xl` has are not listed as if they were here.
pub(super) fn overview(program: &str) -> String {
    const WIDTH: usize = 19;
    let mut text = format!(
        "Usage {program} [-vfNtT] <subcommand> [args]\n\n{program} full list of subcommands:\n\n"
    );
    for Command { name, summary, .. } in table::listed() {
        let _ = write!(text, " {name:WIDTH$} ");
        if name.len() > WIDTH {
            let _ = write!(text, "\n {:WIDTH$} ", "");
        }
        let _ = writeln!(text, "{summary}");
    }
    let _ = writeln!(text, "\nFor the other commands of xl see {STOCK_XL} help.");
    text
}

/// What `help` prints, of all commands or of one.
pub(super) fn about(program: &str, command: Option<&str>) -> String {
    match command {
        None | Some("help") => overview(program),
        Some(name) => match table::find(name) {
            Found::Command(command) => usage(program, command),
            Found::Stock(name) => {
                format!("command \"{name}\" is in stock xl only: {STOCK_XL} help {name}\n")
            }
            Found::Nothing => format!("command \"{name}\" not implemented\n"),
        },
    }
}

/// How a command is used.
pub(super) fn usage(program: &str, command: &Command) -> String {
    let Command { name, summary, usage, options, can_dry_run, modifies, .. } = command;
    let force = if *modifies { "f" } else { "" };
    let dry_run = if *can_dry_run { "N" } else { "" };
    let mut text =
        format!("Usage: {program} [-vtT{force}{dry_run}] {name} {usage}\n\n{summary}.\n\n");
    if let Some(options) = options {
        let _ = writeln!(text, "Options:\n\n{options}");
    }
    text
}

/// The answer to a command that is not here.
pub(super) fn only_in_stock(name: &str) -> Failure {
    Failure::line(format_args!("{name} is not here; stock xl has it: {STOCK_XL} {name}"))
}

/// The answer to a command that is not here for a guest with such a part, which stock `xl` made.
pub(super) fn only_by_stock(command: &str, guest: &str, part: &str) -> Failure {
    Failure::line(format_args!(
        "{guest} has {part}: use stock xl for it: {STOCK_XL} {command} {guest}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_printed_as_xl_prints_it() {
        let expected = "Usage: xl [-vtTf] mem-max <Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]\
                        |'t'[TB]]>\n\nSet the maximum amount reservation for a domain.\n\n";
        assert_eq!(about("xl", Some("mem-m")), expected);
        let expected = "Usage: xl [-vtT] list [options] [Domain]\n\n\n\
                        List information about all/some domains.\n\nOptions:\n\n\
                        -l, --long              Output all VM details\n";
        assert!(about("xl", Some("list")).starts_with(expected));
        assert_eq!(about("xl", Some("nothing")), "command \"nothing\" not implemented\n");
    }

    #[test]
    fn the_overview_lists_what_is_here() {
        let text = overview("xend");
        assert!(text.starts_with("Usage xend [-vfNtT] <subcommand> [args]\n\n"));
        assert!(text.contains("\n stream              "), "{text}");
        assert!(!text.contains("cpupool"), "{text}");
    }

    #[test]
    fn stock_xl_is_named_for_guests_of_its_own() {
        let said = "xend: win has a device model: use stock xl for it: \
                    /usr/lib/xen-4.17/bin/xl destroy win\n";
        assert_eq!(only_by_stock("destroy", "win", "a device model").text(), said);
    }

    #[test]
    fn stock_xl_is_named_for_what_is_not_here() {
        let said = "command \"cpupool-list\" is in stock xl only: \
                    /usr/lib/xen-4.17/bin/xl help cpupool-list\n";
        assert_eq!(about("xl", Some("cpupool-l")), said);
    }
}
