//! The command line.

use crate::pace::Pace;
use crate::page::PAGE_BYTES;
use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;

pub(crate) const USAGE: &str = "usage: guest-workload --memory-mib N --hot-mib H \
--writes-per-s R [--port P] [--disk PATH [--disk-per-s D]]
  N MiB of memory are written and verified, of which R pages/s, chosen at random
  from the first H MiB, are written anew. Requests: UDP port P (7000; 0 = any).
  Of the disk PATH the first 512 KiB are written and verified, D blocks/s (20).";

const PAGES_PER_MIB: usize = (1 << 20) / PAGE_BYTES;
const DEFAULT_PORT: u16 = 7000;
const MAX_MEMORY_MIB: usize = 1 << 20;
const DEFAULT_DISK_PER_S: usize = 20;
const MAX_DISK_PER_S: usize = 1000;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) pages: usize,
    pub(crate) hot_pages: usize,
    pub(crate) writes_per_s: u64,
    pub(crate) port: u16,
    pub(crate) disk: Option<PathBuf>,
    pub(crate) disk_per_s: u64,
}

impl Args {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    /// For anything unknown, missing, given twice, or out of range.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self> {
        let (mut memory_mib, mut hot_mib, mut writes_per_s, mut port) = (None, None, None, None);
        let (mut disk, mut disk_per_s) = (None, None);
        let mut args = args;
        while let Some(arg) = args.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg, args.next()),
            };
            if name == "--disk" {
                let path = value.context("--disk needs a path")?;
                ensure!(disk.replace(path.into()).is_none(), "--disk is given twice");
                continue;
            }
            let slot = match name.as_str() {
                "--memory-mib" => &mut memory_mib,
                "--hot-mib" => &mut hot_mib,
                "--writes-per-s" => &mut writes_per_s,
                "--port" => &mut port,
                "--disk-per-s" => &mut disk_per_s,
                _ => bail!("unknown argument {name}"),
            };
            let value = value.with_context(|| format!("{name} needs a number"))?;
            let number: usize =
                value.parse().with_context(|| format!("{name}: {value} is no number"))?;
            ensure!(slot.replace(number).is_none(), "{name} is given twice");
        }
        let memory_mib = memory_mib.context("--memory-mib is missing")?;
        let hot_mib = hot_mib.context("--hot-mib is missing")?;
        let writes_per_s = writes_per_s.context("--writes-per-s is missing")? as u64;
        let port = port.unwrap_or(DEFAULT_PORT.into());
        ensure!((1..=MAX_MEMORY_MIB).contains(&memory_mib), "--memory-mib is 1 to 1048576");
        ensure!(hot_mib <= memory_mib, "--hot-mib is at most --memory-mib");
        ensure!(writes_per_s <= Pace::MAX_PAGES_PER_S, "--writes-per-s is at most 10000000");
        ensure!(hot_mib > 0 || writes_per_s == 0, "--writes-per-s needs a --hot-mib of 1 or more");
        ensure!(disk.is_some() || disk_per_s.is_none(), "--disk-per-s needs a --disk");
        let disk_per_s = disk_per_s.unwrap_or(DEFAULT_DISK_PER_S);
        ensure!((1..=MAX_DISK_PER_S).contains(&disk_per_s), "--disk-per-s is 1 to 1000");
        Ok(Self {
            pages: memory_mib * PAGES_PER_MIB,
            hot_pages: hot_mib * PAGES_PER_MIB,
            writes_per_s,
            port: port.try_into().context("--port is at most 65535")?,
            disk,
            disk_per_s: disk_per_s as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn both_spellings_are_read() {
        let expected = Args {
            pages: 12288,
            hot_pages: 1024,
            writes_per_s: 200,
            port: 7000,
            disk: None,
            disk_per_s: 20,
        };
        let spaced = parse("--memory-mib 48 --hot-mib 4 --writes-per-s 200").expect("valid");
        assert_eq!(spaced, expected);
        let joined = parse("--writes-per-s=200 --hot-mib=4 --memory-mib=48 --port=7000");
        assert_eq!(joined.expect("valid"), expected);
        let line = "--memory-mib 48 --hot-mib 4 --writes-per-s 200 --disk /dev/x --disk-per-s=5";
        let with_disk = Args { disk: Some("/dev/x".into()), disk_per_s: 5, ..expected };
        assert_eq!(parse(line).expect("valid"), with_disk);
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "",
            "--memory-mib 48",
            "--memory-mib",
            "--memory-mib 0 --hot-mib 0 --writes-per-s 0",
            "--memory-mib 4 --hot-mib 5 --writes-per-s 1",
            "--memory-mib 4 --hot-mib 0 --writes-per-s 1",
            "--memory-mib 4 --hot-mib 1 --writes-per-s 10000001",
            "--memory-mib 4 --hot-mib 1 --writes-per-s 1 --port 65536",
            "--memory-mib 4 --hot-mib 1 --writes-per-s x",
            "--memory-mib 4 --memory-mib 4 --hot-mib 1 --writes-per-s 1",
            "--memory-mib 4 --hot-mib 1 --writes-per-s 1 --turbo 1",
            "--memory-mib 4 --hot-mib 1 --writes-per-s 1 --disk-per-s 1",
            "--memory-mib 4 --hot-mib 1 --writes-per-s 1 --disk /dev/x --disk-per-s 0",
            "--memory-mib 4 --hot-mib 1 --writes-per-s 1 --disk",
        ] {
            assert!(parse(line).is_err(), "accepted: {line}");
        }
    }
}
