//! The `xend` program: global options, the table of commands, and one file for each command.
//!
//! It is called as `xl` is, also by the name `xl`: the same options, the same abbreviations, and
//! where `xl` has a text for what happens, the same text and exit status. A command is a function
//! `run(&Args) -> Result<ExitCode, Failure>` with one entry in the table of commands.

mod affinity;
mod agent;
mod args;
mod c_numbers;
mod columns;
mod config_source;
mod config_update;
mod console;
mod create;
mod destroy;
mod devices;
mod dirty_rate;
mod dmesg;
mod domains;
mod failure;
mod global;
mod help;
mod info;
mod interruption;
mod list;
mod logger;
mod memory;
mod migrate;
mod migrate_receive;
mod monitor;
mod names;
mod options;
mod output;
mod painter;
mod poke;
mod power;
mod progress;
mod receive;
mod recover;
mod reports;
mod restore;
mod save;
mod sched;
mod stream;
mod table;
mod top;
mod transfer;
mod uptime;
mod vcpus;

use std::ffi::OsString;
use std::process::ExitCode;

use args::Args;
use failure::Failure;
use global::Start;
use table::{Found, Run};

/// What the program calls itself in messages that `xl` has no text for.
const PROGRAM: &str = "xend";

/// Runs the program with the words of its command line, the program's own name first.
#[must_use]
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    match dispatch(words) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn dispatch(words: impl IntoIterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let args = match global::read(words)? {
        Start::Command(args) => args,
        Start::Version => {
            output::print(format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION")))?;
            return Ok(ExitCode::SUCCESS);
        }
        Start::Help => {
            output::print(help::overview(PROGRAM))?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    logger::install(&args.global);
    match table::find(&args.called) {
        Found::Command(command) => run_command(&args.of(command)),
        Found::Stock(name) => Err(help::only_in_stock(name)),
        Found::Nothing if args.called == "help" => {
            let about = args.words.first().map(String::as_str);
            output::print(help::about(args.program, about))?;
            Ok(ExitCode::SUCCESS)
        }
        Found::Nothing => Err(Failure::said("command not implemented\n")),
    }
}

fn run_command(args: &Args) -> Result<ExitCode, Failure> {
    let command = args.command;
    if args.global.dry_run && !command.can_dry_run {
        return Err(Failure::said("command does not implement -N (dryrun) option\n"));
    }
    match command.run {
        Run::Here(run) | Run::Hidden(run) => run(args),
    }
}
