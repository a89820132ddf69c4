//! `xend restore`: a guest out of a file.

use std::path::Path;
use std::process::ExitCode;

use super::args::Args;
use super::config_source::{self, ConfigSource};
use super::failure::Failure;
use super::interruption::Interruption;
use super::options::Long;
use super::progress::Screen;
use super::{create, output, transfer};
use crate::error_line::error_line;
use crate::toolstack::config::DomainConfig;
use crate::toolstack::migrate::here::Saved;
use crate::toolstack::{Host, domain, monitor};

const LONG: &[Long] = &[Long::flag("vncviewer", b'V'), Long::flag("vncviewer-autopass", b'A')];

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut options = args.options("FcpdeVA", LONG);
    let (mut paused, mut debug, mut console) = (false, false, false);
    let (mut foreground, mut watched) = (false, true);
    while let Some(given) = options.next()? {
        match given.letter {
            b'c' => console = true,
            b'p' => paused = true,
            b'd' => debug = true,
            b'F' => foreground = true,
            b'e' => watched = false,
            // There is no frame buffer to be viewed.
            _ => {}
        }
    }
    let operands = options.operands(1)?;
    let (config_file, path) = match operands[..] {
        [path] => (None, path),
        [config_file, path] => (Some(config_file), path),
        _ => {
            let usage = super::help::usage(args.program, args.command);
            return Err(Failure::silent().with_help(usage));
        }
    };
    let interruption = Interruption::await_signals()?;
    let control =
        transfer::control_under(Screen::of_sender(&args.global, "restoring"), &interruption);
    let saved =
        Saved::open(Path::new(path), &control.asked).map_err(|error| named(path, &error))?;
    let host = Host::open()?;
    let config = configuration(&host, path, config_file, &saved)?;
    if debug {
        eprint!("{}", config.to_json());
    }
    let (domid, report) =
        saved.restore(&host, &config, &control).map_err(|error| named(path, &error))?;
    log::info!("restored: {report}");
    interruption.end();
    let console = if console { Some(create::attach(domid)?) } else { None };
    if !paused && let Err(error) = domain::unpause(&host, domid) {
        let line = error_line(&error);
        domain::destroy(&host, domid)?;
        return Err(Failure::line(line));
    }
    if foreground {
        monitor::run(&host, domid)?;
    } else if watched {
        monitor::spawn(&host, domid)?;
    }
    if let Some(mut console) = console {
        console.wait()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the guest is made from: the file that was given, or what was saved with it.
fn configuration(
    host: &Host,
    path: &str,
    config_file: Option<&str>,
    saved: &Saved,
) -> Result<DomainConfig, Failure> {
    let bytes = saved.header.config.as_ref().map_or(0, |config| config.len() + 5);
    let loading = format!("Loading new save file {path} (new xl fmt info 0x3/0x0/{bytes})\n");
    match (config_file, &saved.header.config) {
        (Some(file), _) => {
            output::warn(format!("{loading}Parsing config from {file}\n"));
            config_source::parse(host, file, &ConfigSource::default().text(file)?)
        }
        (None, Some(config)) if saved.header.config_is_json => {
            let config = DomainConfig::from_json(config).map_err(|error| named(path, &error))?;
            output::warn(format!(
                "{loading} Savefile contains xl domain config in JSON format\n\
                 Parsing config from <saved>\n"
            ));
            Ok(config)
        }
        (None, Some(config)) => {
            output::warn(format!(
                "{loading} Savefile contains xl domain config\nParsing config from <saved>\n"
            ));
            config_source::parse(host, "<saved>", config)
        }
        (None, None) => {
            let text = "Config file not specified and none in save file\n";
            Err(Failure::said(text))
        }
    }
}

fn named(path: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::line(format_args!("{path}: {}", error_line(error)))
}
