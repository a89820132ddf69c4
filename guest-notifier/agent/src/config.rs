//! What the guest's administrator allows. `/etc/xend-agent/agent.conf` has lines `KEY = VALUE`;
//! `/etc/xend-agent/allow` names processes that are never held, one a line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result, bail};

/// Where it is looked for.
pub const FOLDER: &str = "/etc/xend-agent";

/// What the agent may do, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the hooks are.
    pub hooks: PathBuf,
    /// How long each may take.
    pub hook_limit: Duration,
    /// Whether page cache may be dropped.
    pub cache: bool,
    /// Whether memory may be given back.
    pub balloon: bool,
    /// What stays free then, in KiB; by default a sixteenth of the memory, at least 16 MiB.
    pub reserve_kib: Option<u64>,
    /// Whether processes may be held.
    pub hold: bool,
    /// Names of processes that may not.
    pub allowed: BTreeSet<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hooks: Path::new(FOLDER).join("prepare.d"),
            hook_limit: Duration::from_secs(5),
            cache: true,
            balloon: true,
            reserve_kib: None,
            hold: true,
            allowed: BTreeSet::new(),
        }
    }
}

impl Config {
    /// Reads both files of a folder. One that is not there is as good as an empty one.
    ///
    /// # Errors
    /// Which line of which file makes no sense.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut config = Self { hooks: folder.join("prepare.d"), ..Self::default() };
        let path = folder.join("agent.conf");
        for (number, line) in lines(&path)? {
            config.set(&line).with_context(|| format!("{}, line {number}", path.display()))?;
        }
        config.allowed =
            lines(&folder.join("allow"))?.into_iter().map(|(_, name)| as_told(name)).collect();
        Ok(config)
    }

    fn set(&mut self, line: &str) -> Result<()> {
        let (key, value) = line.split_once('=').context("expected KEY = VALUE")?;
        let (key, value) = (key.trim(), value.trim());
        let number = || value.parse::<u32>().with_context(|| format!("{key}: not a number"));
        match key {
            "hook_limit_s" => self.hook_limit = Duration::from_secs(number()?.into()),
            "cache" => self.cache = yes(value)?,
            "balloon" => self.balloon = yes(value)?,
            "reserve_mib" => self.reserve_kib = Some(u64::from(number()?) << 10),
            "hold" => self.hold = yes(value)?,
            _ => bail!("there is no {key}"),
        }
        Ok(())
    }
}

/// A process's name as the kernel tells it: its first 15 bytes.
fn as_told(mut name: String) -> String {
    while name.len() > 15 {
        name.pop();
    }
    name
}

fn yes(value: &str) -> Result<bool> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => bail!("expected yes or no, not {value}"),
    }
}

/// The lines that say something, with their numbers.
fn lines(path: &Path) -> Result<Vec<(usize, String)>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let content = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    Ok(text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, content(line)))
        .filter(|(_, line)| !line.is_empty())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_files_are_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let expected = Config { hooks: folder.path().join("prepare.d"), ..Config::default() };
        assert_eq!(Config::read(folder.path()).unwrap(), expected);
    }

    #[test]
    fn everything_can_be_said() {
        let folder = tempfile::tempdir().unwrap();
        let text = "# a comment\nhook_limit_s = 2\ncache=no\nballoon = no # why\nreserve_mib = 64\nhold = no\n";
        fs::write(folder.path().join("agent.conf"), text).unwrap();
        fs::write(folder.path().join("allow"), "sshd\n\n# no\nsystemd-networkd\n").unwrap();
        let config = Config::read(folder.path()).unwrap();
        assert_eq!(config.hook_limit, Duration::from_secs(2));
        assert!(!config.cache && !config.balloon && !config.hold);
        assert_eq!(config.reserve_kib, Some(65_536));
        assert_eq!(
            config.allowed,
            BTreeSet::from(["sshd".to_owned(), "systemd-network".to_owned()])
        );
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["hold = perhaps", "colour = red", "hold", "hook_limit_s = -1"] {
            fs::write(folder.path().join("agent.conf"), format!("\n{bad}\n")).unwrap();
            let error = format!("{:#}", Config::read(folder.path()).unwrap_err());
            assert!(error.contains("agent.conf, line 2"), "{bad}: {error}");
        }
    }
}
