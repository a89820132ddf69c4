//! `xend create`: a guest from its configuration.

use std::process::{Child, Command, ExitCode, Stdio};

use super::args::Args;
use super::config_source::{self, ConfigSource, FAILED, INVALID};
use super::failure::Failure;
use super::interruption::Interruption;
use super::options::Long;
use super::{help, output};
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::toolstack::config::DomainConfig;
use crate::toolstack::{Host, domain, monitor};

const LONG: &[Long] = &[
    Long::flag("dryrun", b'n'),
    Long::flag("quiet", b'q'),
    Long::with_value("defconfig", b'f'),
    Long::flag("vncviewer", b'V'),
    Long::flag("vncviewer-autopass", b'A'),
    Long::flag("ignore-global-affinity-masks", b'i'),
];
/// Debian's place for it, besides the path.
const XENCONSOLE: &str = "/usr/lib/xen-4.17/bin/xenconsole";

/// What the options ask for.
#[derive(Debug, Default)]
struct Wishes {
    source: ConfigSource,
    console: bool,
    debug: bool,
    dry_run: bool,
    ignore_masks: bool,
    paused: bool,
    quiet: bool,
    viewer: bool,
    watch: Watch,
}

/// Who looks after the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Watch {
    /// A process that is left behind.
    #[default]
    Background,
    /// This one.
    Foreground,
    /// Nobody.
    Not,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let wishes = wishes(args)?;
    let Some(file) = wishes.source.file.clone() else {
        let text = "Config file not specified and none in save file\n";
        return Err(Failure::said(text).with_status(INVALID));
    };
    let text = wishes.source.text(&file)?;
    if !wishes.quiet {
        eprintln!("Parsing config from {file}");
    }
    let host = Host::open().map_err(|error| failed(&error))?;
    let config = config_source::parse(&host, &file, &text)?;
    if wishes.dry_run {
        output::print(config.to_json())?;
        return Ok(ExitCode::SUCCESS);
    }
    if wishes.debug {
        eprint!("{}", config.to_json());
    }
    create(&host, &config, &wishes)
}

fn wishes(args: &Args) -> Result<Wishes, Failure> {
    let mut wishes = Wishes { dry_run: args.global.dry_run, ..Wishes::default() };
    let first = usize::from(wishes.source.take_first(args.words.first()));
    let mut options = args.options_after(first, "AFVcdef:inpq", LONG);
    while let Some(given) = options.next()? {
        match given.letter {
            b'A' | b'V' => wishes.viewer = true,
            b'F' => wishes.watch = Watch::Foreground,
            b'e' => wishes.watch = Watch::Not,
            b'c' => wishes.console = true,
            b'd' => wishes.debug = true,
            b'f' => wishes.source.file = Some(given.value.to_owned()),
            b'i' => wishes.ignore_masks = true,
            b'n' => wishes.dry_run = true,
            b'p' => wishes.paused = true,
            b'q' => wishes.quiet = true,
            _ => {}
        }
    }
    for operand in options.operands(0)? {
        if !wishes.source.take(operand) {
            let usage = help::usage(args.program, args.command);
            return Err(Failure::silent().with_help(usage).with_status(2));
        }
    }
    Ok(wishes)
}

fn create(host: &Host, config: &DomainConfig, wishes: &Wishes) -> Result<ExitCode, Failure> {
    let interruption = Interruption::await_signals()?;
    let start = if wishes.ignore_masks { domain::start_unmasked } else { domain::start };
    let domid = start(host, config, &interruption.cancel).map_err(|error| failed(&error))?;
    interruption.end();
    // Before it runs, so that nothing it says is missed.
    let console = if wishes.console { Some(attach(domid)?) } else { None };
    if !wishes.paused
        && let Err(error) = domain::unpause(host, domid)
    {
        let failure = failed(&error);
        domain::destroy(host, domid)?;
        return Err(failure);
    }
    if wishes.viewer {
        eprintln!("xend: the guest has no virtual frame buffer that could be viewed");
    }
    match wishes.watch {
        Watch::Background => monitor::spawn(host, domid)?,
        Watch::Foreground => monitor::run(host, domid)?,
        Watch::Not => {}
    }
    if let Some(mut console) = console {
        console.wait()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Attaches this terminal to the guest's console.
pub(super) fn attach(domid: Domid) -> Result<Child, Failure> {
    let number = domid.0.to_string();
    let start = |program: &str| {
        Command::new(program)
            .args([number.as_str(), "--num", "0", "--type", "pv"])
            .stdin(Stdio::inherit())
            .spawn()
    };
    start("xenconsole")
        .or_else(|_| start(XENCONSOLE))
        .map_err(|error| Failure::line(format_args!("cannot run xenconsole: {error}")))
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::line(error_line(error)).with_status(FAILED)
}
