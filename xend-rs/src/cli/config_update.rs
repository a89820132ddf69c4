//! `xend config-update`: what a guest is to be the next time it starts.

use std::process::ExitCode;

use super::args::Args;
use super::config_source::{self, ConfigSource};
use super::failure::Failure;
use super::options::Long;
use super::{domains, help, output};
use crate::toolstack::Host;
use crate::toolstack::domain::names;
use crate::toolstack::userdata::Userdata;

const LONG: &[Long] = &[Long::with_value("defconfig", b'f')];

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    if args.words.is_empty() {
        let text = format!("{} config-update requires a domain argument\n", args.program);
        return Err(Failure::said(text).with_help(help::usage(args.program, args.command)));
    }
    eprintln!(
        "WARNING: xl now has better capability to manage domain configuration, avoid using this \
         command when possible"
    );
    let mut source = ConfigSource::default();
    let is_dry = args.global.dry_run;
    let mut is_shown = is_dry;
    let host = Host::open()?;
    let number = domains::find(&host, &args.words[0])?;
    let first = 1 + usize::from(source.take_first(args.words.get(1)));
    let mut options = args.options_after(first, "dqf:", LONG);
    while let Some(given) = options.next()? {
        match given.letter {
            b'd' => is_shown = true,
            b'f' => source.file = Some(given.value.to_owned()),
            _ => {}
        }
    }
    for operand in options.operands(0)? {
        if !source.take(operand) {
            let usage = help::usage(args.program, args.command);
            return Err(Failure::silent().with_help(usage).with_status(2));
        }
    }
    let Some(file) = source.file.clone() else {
        return Err(Failure::said("Config file not specified\n"));
    };
    // libxl's code, as xl returns it here: one byte of -3.
    let text = source.text(&file).map_err(|failure| failure.with_status(253))?;
    let config = config_source::parse(&host, &file, &text)?;
    if is_shown {
        output::print(config.to_json())?;
    }
    if !is_dry {
        eprintln!("setting dom{number} configuration");
        let domid = domains::domid(number);
        let uuid = names::uuid(&host, domid)?;
        Userdata::lock(domid, uuid)?.store_text(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}
