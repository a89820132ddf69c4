//! Two ends of a TCP connection for programs that speak over pipes, made to cost next to nothing.

mod connect;
mod listen;
mod pump;

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: relay connect HOST:PORT
         stdin to TCP and TCP to stdout
       relay listen --once ADDR:PORT [--deadline-s S] -- COMMAND [ARGUMENT...]
         one connection becomes the command's stdin and stdout";

enum Verb {
    Connect { peer: String },
    Listen { address: String, deadline: Option<Duration>, command: Vec<OsString> },
}

fn main() -> ExitCode {
    let verb = match parse(std::env::args_os().skip(1)) {
        Ok(verb) => verb,
        Err(error) => {
            eprintln!("relay: {error:#}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let result = match &verb {
        Verb::Connect { peer } => connect::run(peer),
        Verb::Listen { address, deadline, command } => listen::run(address, *deadline, command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Verb> {
    let verb = args.next().context("connect or listen?")?;
    match verb.to_str() {
        Some("connect") => {
            let peer = text(args.next())?;
            if args.next().is_some() {
                bail!("connect takes one HOST:PORT");
            }
            Ok(Verb::Connect { peer })
        }
        Some("listen") => parse_listen(args),
        _ => bail!("unknown verb {}", verb.display()),
    }
}

fn parse_listen(mut args: impl Iterator<Item = OsString>) -> Result<Verb> {
    let (mut address, mut deadline) = (None, None);
    loop {
        let arg = args.next().context("a command must follow after --")?;
        match arg.to_str() {
            Some("--once") => address = Some(text(args.next())?),
            Some("--deadline-s") => {
                let seconds = text(args.next())?;
                let seconds: u32 =
                    seconds.parse().with_context(|| format!("{seconds} is no time in seconds"))?;
                deadline = Some(Duration::from_secs(seconds.into()));
            }
            Some("--") => break,
            _ => bail!("unknown argument {}", arg.display()),
        }
    }
    let command: Vec<_> = args.collect();
    if command.is_empty() {
        bail!("a command must follow after --");
    }
    Ok(Verb::Listen { address: address.context("--once is missing")?, deadline, command })
}

fn text(arg: Option<OsString>) -> Result<String> {
    let arg = arg.context("an argument is missing")?;
    arg.into_string().map_err(|arg| anyhow::anyhow!("{} is not UTF-8", arg.display()))
}
