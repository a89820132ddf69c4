//! Ids of domains that were destroyed a moment ago: who still talks about the old domain must not
//! mean a new one. The file is libxl's.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::{DomainError, Result};
use crate::hypervisor::types::Domid;
use crate::toolstack::file_lock::FileLock;

const FILE: &str = "/run/xen/domid-history";
const LOCK: &str = "/run/xen/domid-history.lock";
const NEW: &str = "/run/xen/domid-history.new";
/// How long an id is kept free, where the environment does not say otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT_VARIABLE: &str = "LIBXL_DOMID_REUSE_TIMEOUT";

/// Whether an id was used a moment ago.
pub(super) fn is_recent(domid: Domid) -> Result<bool> {
    let text = read()?;
    Ok(recent(&text, now(), timeout()).any(|(_, id)| id == domid.0))
}

/// Notes that a domain is about to be destroyed.
pub(super) fn mark_recent(domid: Domid) -> Result<()> {
    let _lock = FileLock::take(Path::new(LOCK)).map_err(failed("lock", LOCK))?;
    let (text, now) = (read()?, now());
    let mut new = fs::File::create(NEW).map_err(failed("write", NEW))?;
    let mut kept = String::new();
    for (second, id) in recent(&text, now, timeout()) {
        kept += &format!("{second} {id}\n");
    }
    kept += &format!("{now} {}\n", domid.0);
    new.write_all(kept.as_bytes()).map_err(failed("write", NEW))?;
    fs::rename(NEW, FILE).map_err(failed("write", FILE))
}

/// How long an id is kept free.
pub(super) fn timeout() -> Duration {
    let seconds = std::env::var(TIMEOUT_VARIABLE).ok().and_then(|text| text.parse().ok());
    seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs)
}

/// What of the file still counts: second of the monotonic clock, id.
fn recent(text: &str, now: u64, timeout: Duration) -> impl Iterator<Item = (u64, u16)> {
    let entry = |line: &str| {
        let (second, id) = line.split_once(' ')?;
        Some((second.parse().ok()?, id.trim().parse().ok()?))
    };
    text.lines()
        .filter_map(entry)
        .filter(move |(second, _)| now.saturating_sub(*second) <= timeout.as_secs())
}

fn read() -> Result<String> {
    match fs::read_to_string(FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(failed("read", FILE)),
    }
}

fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| u64::try_from(time.tv_sec()).unwrap_or(0))
}

fn failed(operation: &'static str, path: &str) -> impl FnOnce(io::Error) -> DomainError {
    let path = Path::new(path).to_owned();
    move |source| DomainError::History { operation, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_after_a_while_and_passes_over_nonsense() {
        let text = "100 5\nwhat\n130 6\n150 7 \n151 70000\n";
        let left: Vec<_> = recent(text, 190, Duration::from_secs(60)).collect();
        assert_eq!(left, [(130, 6), (150, 7)]);
    }
}
