//! `xend mem-set` and `mem-max`: how much memory a guest is to have, and may get.

use std::process::ExitCode;

use super::args::Args;
use super::c_numbers::strtol;
use super::domains;
use super::failure::Failure;
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::toolstack::Host;
use crate::toolstack::domain::memory::{self, MemoryError};

pub(super) fn set(args: &Args) -> Result<ExitCode, Failure> {
    run(args, "dynamic max", memory::set_target)
}

pub(super) fn max(args: &Args) -> Result<ExitCode, Failure> {
    run(args, "static max", memory::set_maximum)
}

fn run(
    args: &Args,
    what: &str,
    set: fn(&Host, Domid, u64) -> Result<(), MemoryError>,
) -> Result<ExitCode, Failure> {
    let operands = args.operands(2)?;
    let size = operands[1];
    let host = Host::open()?;
    let number = domains::find(&host, operands[0])?;
    let Some(kib) = kib(size) else {
        return Err(Failure::said(format!("invalid memory size: {size}\n")));
    };
    // What is less than nothing is more than any domain may get.
    let kib = u64::try_from(kib).unwrap_or(u64::MAX >> 10);
    set(&host, domains::domid(number), kib).map_err(|error| {
        let said = format!("cannot set domid {number} {what} memory to : {size}\n");
        Failure::line(error_line(&error)).and_said(said)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A size in KiB: a number, in MiB or with a unit of one letter. -1 is none, as for `xl`.
fn kib(text: &str) -> Option<i64> {
    let (number, unit) = strtol(text);
    let kib = match unit.to_ascii_lowercase().as_str() {
        "t" => number.wrapping_shl(30),
        "g" => number.wrapping_shl(20),
        "" | "m" => number.wrapping_shl(10),
        "k" => number,
        "b" => number >> 10,
        _ => return None,
    };
    (kib != -1).then_some(kib)
}

#[cfg(test)]
mod tests {
    use super::kib;

    #[test]
    fn sizes_are_in_mib_or_have_a_unit() {
        for (text, expected) in
            [("128", 131_072), ("128m", 131_072), ("2G", 2 << 20), ("1t", 1 << 30), ("8b", 0)]
        {
            assert_eq!(kib(text), Some(expected), "{text}");
        }
        assert_eq!(kib("4096b"), Some(4));
        assert_eq!(kib("77k"), Some(77));
        for bad in ["1x", "1mb", "x", "-1k"] {
            assert_eq!(kib(bad), None, "{bad}");
        }
    }
}
