//! The command line that libxl gives its helper: numbers, in a fixed order.

use std::os::fd::RawFd;

use crate::hypervisor::types::{Domid, Port};
use crate::hypervisor::{RingEnd, Rings};

/// What libxl wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `--save-domain IO_FD RECV_FD DOMID FLAGS CALLBACKS STREAM_TYPE`
    Save {
        /// Where the image goes.
        io_fd: RawFd,
        /// The guest.
        domid: Domid,
        /// Copy while the guest runs.
        live: bool,
        /// Send everything a second time, to be compared.
        verify: bool,
        /// What libxl wants to be asked.
        callbacks: Callbacks,
    },
    /// `--restore-domain IO_FD BACK_FD DOMID STORE_PORT STORE_DOMID CONSOLE_PORT CONSOLE_DOMID
    /// CALLBACKS STREAM_TYPE`
    Restore {
        /// Where the image comes from.
        io_fd: RawFd,
        /// The empty domain to fill.
        domid: Domid,
        /// Its rings.
        rings: Rings,
        /// What libxl wants to be asked.
        callbacks: Callbacks,
    },
}

/// The set of messages that libxl can answer, as it gave them: bit *n* stands for message *n*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callbacks(pub u32);

impl Callbacks {
    /// Whether message number `message` may be sent.
    pub fn has(self, message: u16) -> bool {
        self.0 & (1 << message) != 0
    }
}

/// A command line that is not libxl's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArgsError {
    /// Neither `--save-domain` nor `--restore-domain`.
    #[error("started with {0:?}: this program is started by libxl, through LIBXL_SAVE_HELPER")]
    Mode(String),
    /// Too few or too many arguments.
    #[error("{mode} takes {expected} arguments, got {got}")]
    Count {
        /// The first argument.
        mode: &'static str,
        /// How many follow it.
        expected: usize,
        /// How many did.
        got: usize,
    },
    /// An argument that is no number, or too large a one.
    #[error("{name} is {value:?}, not a number in range")]
    Number {
        /// Which argument.
        name: &'static str,
        /// What stood there.
        value: String,
    },
    /// A Remus or COLO stream.
    #[error(
        "checkpointed streams (Remus, COLO) are not supported: use Xen's own libxl-save-helper"
    )]
    Checkpointed,
    /// Flags that we do not know, and so cannot honour.
    #[error("unknown save flags {0:#x}")]
    Flags(u32),
}

/// `XCFLAGS_LIVE` and `XCFLAGS_DEBUG` of xenguest.h.
const FLAG_LIVE: u32 = 1;
const FLAG_DEBUG: u32 = 2;

/// Reads the arguments that follow the program's name.
///
/// # Errors
/// If they are not what libxl 4.17 to 4.20 passes.
pub fn parse(args: &[String]) -> Result<Request, ArgsError> {
    let (mode, rest) = args.split_first().map_or(("", &[][..]), |(m, r)| (m.as_str(), r));
    match mode {
        "--save-domain" => parse_save(rest),
        "--restore-domain" => parse_restore(rest),
        other => Err(ArgsError::Mode(other.to_owned())),
    }
}

fn parse_save(args: &[String]) -> Result<Request, ArgsError> {
    let [io_fd, _recv_fd, domid, flags, callbacks, stream_type] = expect("--save-domain", args)?;
    let flags = number("flags", flags)?;
    if flags & !(FLAG_LIVE | FLAG_DEBUG) != 0 {
        return Err(ArgsError::Flags(flags));
    }
    refuse_checkpointed(stream_type)?;
    Ok(Request::Save {
        io_fd: number("io_fd", io_fd)?,
        domid: Domid(number("domid", domid)?),
        live: flags & FLAG_LIVE != 0,
        verify: flags & FLAG_DEBUG != 0,
        callbacks: Callbacks(number("callbacks", callbacks)?),
    })
}

fn parse_restore(args: &[String]) -> Result<Request, ArgsError> {
    let [
        io_fd,
        _back_fd,
        domid,
        store_port,
        store_domid,
        console_port,
        console_domid,
        callbacks,
        stream_type,
    ] = expect("--restore-domain", args)?;
    refuse_checkpointed(stream_type)?;
    let ring = |port, peer| -> Result<RingEnd, ArgsError> {
        Ok(RingEnd { port: Port(number("port", port)?), peer: Domid(number("domid", peer)?) })
    };
    Ok(Request::Restore {
        io_fd: number("io_fd", io_fd)?,
        domid: Domid(number("domid", domid)?),
        rings: Rings {
            store: ring(store_port, store_domid)?,
            console: ring(console_port, console_domid)?,
        },
        callbacks: Callbacks(number("callbacks", callbacks)?),
    })
}

fn expect<'a, const N: usize>(
    mode: &'static str,
    args: &'a [String],
) -> Result<[&'a str; N], ArgsError> {
    let strs: Vec<&str> = args.iter().map(String::as_str).collect();
    strs.try_into().map_err(|_| ArgsError::Count { mode, expected: N, got: args.len() })
}

fn number<T: std::str::FromStr>(name: &'static str, value: &str) -> Result<T, ArgsError> {
    value.parse().map_err(|_| ArgsError::Number { name, value: value.to_owned() })
}

/// The back channel and the stream type only matter to Remus and COLO.
fn refuse_checkpointed(stream_type: &str) -> Result<(), ArgsError> {
    match number::<u32>("stream_type", stream_type)? {
        0 => Ok(()),
        _ => Err(ArgsError::Checkpointed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Request, ArgsError> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn reads_what_libxl_passes() {
        let Ok(Request::Save { io_fd: 14, domid: Domid(3), live: true, verify: false, callbacks }) =
            parse_line("--save-domain 14 18446744073709551615 3 1 8 0")
        else {
            panic!("a save was expected")
        };
        assert!(callbacks.has(3) && !callbacks.has(7));
        let ring = |port, peer| RingEnd { port: Port(port), peer: Domid(peer) };
        assert_eq!(
            parse_line("--restore-domain 0 -1 5 1 0 2 0 256 0"),
            Ok(Request::Restore {
                io_fd: 0,
                domid: Domid(5),
                rings: Rings { store: ring(1, 0), console: ring(2, 0) },
                callbacks: Callbacks(256),
            })
        );
    }

    #[test]
    fn refuses_what_it_would_have_to_ignore() {
        assert_eq!(parse_line("--save-domain 14 -1 3 1 8 1"), Err(ArgsError::Checkpointed));
        assert_eq!(parse_line("--save-domain 14 -1 3 4 8 0"), Err(ArgsError::Flags(4)));
        assert!(matches!(parse_line("--save-domain 14 -1"), Err(ArgsError::Count { .. })));
        assert!(matches!(parse_line("--save-domain x -1 3 1 8 0"), Err(ArgsError::Number { .. })));
        assert!(matches!(
            parse_line("--save-domain 1 -1 65536 1 8 0"),
            Err(ArgsError::Number { .. })
        ));
        assert!(matches!(parse_line(""), Err(ArgsError::Mode(_))));
        assert!(matches!(parse_line("--version"), Err(ArgsError::Mode(_))));
    }
}
