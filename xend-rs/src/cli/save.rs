//! `xend save`: a guest into a file.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use super::args::Args;
use super::config_source::{self, ConfigSource};
use super::failure::Failure;
use super::progress::Screen;
use super::{domains, output, transfer};
use crate::error_line::error_line;
use crate::migration::Tracking;
use crate::stream::xl_header::XlHeader;
use crate::toolstack::migrate::here::{
    self, Here, Purpose, Saving, Turn, create_file, save_to_file,
};
use crate::toolstack::{Host, domain, monitor};

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut options = args.options("cpD", &[]);
    let (mut go_on, mut pause, mut keep_domid) = (false, false, false);
    while let Some(given) = options.next()? {
        match given.letter {
            b'c' => go_on = true,
            b'p' => pause = true,
            _ => keep_domid = true,
        }
    }
    let operands = options.operands(2)?;
    if operands.len() > 3 {
        let usage = super::help::usage(args.program, args.command);
        return Err(Failure::silent().with_help(usage));
    }
    let host = Host::open()?;
    let domid = domains::domid(domains::find(&host, operands[0])?);
    let path = Path::new(operands[1]);
    let instead = match operands.get(2) {
        Some(file) => {
            let text = ConfigSource::default().text(file)?;
            Some(config_source::parse(&host, file, &text)?)
        }
        None => None,
    };
    let (config, identity, _) =
        here::prepare(&host, domid, &here::ConfigSource { instead, keep_domid })?;
    here::movable(&host, domid, &config, Tracking::None)?;
    let _turn = Turn::take(domid, Purpose::Save)?
        .map_err(|holder| Failure::line(format_args!("{} {holder}", identity.name)))?;
    domains::require_running(&host, domid, &identity.name)?;
    let control = transfer::control(Screen::of_sender(&args.global, "saving"))?;
    let (file, is_new) = create_file(path).map_err(|error| {
        let reason = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0)).desc();
        Failure::said(format!(
            "Failed to open temp file {} for writing\nxend: {}: {reason}\n",
            path.display(),
            path.display()
        ))
    })?;
    let mut header = Vec::new();
    XlHeader::with_json(config.to_json()).write(&mut header)?;
    let config_bytes = header.len() - crate::stream::xl_header::HEADER_BYTES;
    output::warn(format!(
        "Saving to {} new xl format (info 0x3/0x0/{config_bytes})\n",
        path.display()
    ));
    let here = Here::new(&host);
    let mut saving = Saving::of(domid, identity, path);
    match save_to_file(&here, &saving, &config, file, &control) {
        Ok(report) => log::info!("saved: {report}"),
        Err(error) => {
            if is_new {
                let _ = fs::remove_file(path);
            }
            let line = error_line(&error);
            return Err(Failure::said(format!(
                "xend: {line}\nFailed to save domain, resuming domain\n"
            )));
        }
    }
    if pause {
        host.xen.pause(domid)?;
    }
    if pause || go_on {
        domain::resume(&host, domid)?;
        monitor::spawn(&host, domid)?;
    } else {
        // Without it a recovery would only let the guest go on, which is no harm.
        if let Err(error) = saving.note_saved() {
            log::warn!("cannot write down that {} is saved: {error}", path.display());
        }
        domain::destroy(&host, domid)?;
    }
    saving.forget();
    Ok(ExitCode::SUCCESS)
}
