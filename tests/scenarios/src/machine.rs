//! Where and when something was measured, to be kept with the figures.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use lab::Host;
use serde::Serialize;

use crate::programs::workspace;
use crate::rig::ASK;

/// The circumstances of a measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Circumstances {
    /// UTC, as `2025-01-31T12:00:00Z`.
    pub date: String,
    /// The commit that was checked out, with `-dirty` when files differed from it.
    pub commit: String,
    /// Processor, cores, memory and kernel of the machine.
    pub machine: String,
    /// The emulator the hosts ran in.
    pub emulator: String,
    /// The hypervisor's version and what virtualisation it offers.
    pub hypervisor: String,
}

impl Circumstances {
    #[cfg(test)]
    pub(crate) fn of_a_test() -> Self {
        Self {
            date: "2026-01-31T12:00:00Z".to_owned(),
            commit: "0123".to_owned(),
            machine: "m".to_owned(),
            emulator: "q".to_owned(),
            hypervisor: "x".to_owned(),
        }
    }

    /// Asks this machine and a host.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn now(host: &Host) -> Result<Self> {
        let info = host.run_ok("xl info", ASK)?.stdout_text();
        let field = |name: &str| {
            info.lines()
                .find_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    (key.trim() == name).then(|| value.trim().to_owned())
                })
                .with_context(|| format!("`xl info` has no {name}"))
        };
        Ok(Self {
            date: said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
            commit: commit(),
            machine: machine(),
            emulator: said("qemu-system-x86_64", &["--version"])
                .lines()
                .next()
                .unwrap_or("")
                .into(),
            hypervisor: format!("Xen {} ({})", field("xen_version")?, field("virt_caps")?),
        })
    }

    /// As a list in markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let Self { date, commit, machine, emulator, hypervisor } = self;
        format!(
            "- date: {date}\n- commit: {commit}\n- machine: {machine}\n- emulator: {emulator}\n\
             - hypervisor: {hypervisor}\n"
        )
    }
}

fn commit() -> String {
    let folder = workspace();
    let folder = folder.to_string_lossy();
    let said = |arguments: &[&str]| said("git", &[&["-C", &folder], arguments].concat());
    let commit = said(&["rev-parse", "--short=12", "HEAD"]);
    match said(&["status", "--porcelain", "--untracked-files=no"]).as_str() {
        "" => commit,
        _ => format!("{commit}-dirty"),
    }
}

fn machine() -> String {
    let field = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("?", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores, {} of memory, Linux {}",
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        said("uname", &["-r"])
    )
}

/// What a program prints; "unknown" where there is no such program, since figures are worth
/// keeping without that too.
fn said(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}
