//! Whose commands manage a guest: Xen's own `xl`, or `xend`.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Guest, Host};
use serde_json::Value;

use crate::rig::ASK;

/// Where `xend` is in each Dom0.
pub const XEND: &str = "/usr/sbin/xend";
/// A folder there with `xl`, which is `xend` by another name.
pub const XEND_AS_XL: &str = "/opt/xend-as-xl";
/// Where `xend` writes down the handovers it takes part in.
pub const JOURNALS: &str = "/var/lib/xend/migrations";

/// For what may wait for a guest.
const SLOW: Duration = Duration::from_secs(120);
const MONITOR_TIMEOUT: Duration = Duration::from_secs(10);

/// A toolstack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toolstack {
    /// `xl`, with Xen's own save helper.
    Stock,
    /// `xend`.
    Xend,
}

impl Toolstack {
    /// The name of its program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Stock => "xl",
            Self::Xend => "xend",
        }
    }

    /// Runs one of its commands to a good end, and returns what it printed.
    ///
    /// # Errors
    /// What it said when it failed.
    pub fn run(self, host: &Host, command: &str) -> Result<String> {
        Ok(host.run_ok(&format!("{} {command}", self.program()), SLOW)?.stdout_text())
    }

    /// A guest's configuration as this toolstack tells it (`list -l`).
    ///
    /// # Errors
    /// When it does not, or not as JSON.
    pub fn config(self, host: &Host, guest: &Guest) -> Result<Value> {
        let text = self.run(host, &format!("list -l {}", guest.name()))?;
        let list: Value = serde_json::from_str(&text)
            .with_context(|| format!("`{self} list -l` printed {text}"))?;
        // Of one domain it prints an object, of several a list.
        Ok(list.get(0).cloned().unwrap_or(list))
    }
}

impl fmt::Display for Toolstack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

/// Checks that both toolstacks know the guest on this host, by name, id and configuration.
///
/// # Errors
/// Which of them does not know what.
pub fn require_known(host: &Host, guest: &Guest) -> Result<()> {
    for toolstack in [Toolstack::Stock, Toolstack::Xend] {
        let context = || format!("{toolstack} on host {}", host.name());
        let id = toolstack.run(host, &format!("domid {}", guest.name())).with_context(context)?;
        let name = toolstack.run(host, &format!("domname {}", id.trim())).with_context(context)?;
        ensure!(name.trim() == guest.name(), "{}: domain {id} is `{name}`", context());
        let config = toolstack.config(host, guest).with_context(context)?;
        let told = &config["config"]["c_info"]["name"];
        ensure!(told == guest.name(), "{}: its configuration names it {told}", context());
    }
    Ok(())
}

/// Checks that a process of this toolstack is there that sees to the guest's end.
///
/// # Errors
/// When there is none within a few seconds.
pub fn require_monitor(host: &Host, guest: &Guest, whose: Toolstack) -> Result<()> {
    let is_there = match whose {
        // By the lock that it holds: one that has restarted its guest was started for another id.
        Toolstack::Xend => {
            "grep -q \":$(stat -c %i /run/xend/monitor-$id.lock 2>/dev/null || echo none) \" /proc/locks"
        }
        // It keeps the command line it was started with, so that one is as good as another.
        Toolstack::Stock => "pidof xl",
    };
    let command =
        format!("id=$(xl domid {}) && until {is_there}; do sleep 0.1; done", guest.name());
    host.run_ok(&command, MONITOR_TIMEOUT).with_context(|| {
        format!("guest {} has no monitor of {whose} on host {}", guest.name(), host.name())
    })?;
    Ok(())
}

/// Has `xend` settle what was interrupted on this host, and returns what it says.
///
/// # Errors
/// What it says when it fails.
pub fn recover(host: &Host) -> Result<String> {
    let output = host.run("xend recover", SLOW)?;
    let said = format!("{}{}", output.stdout_text(), output.stderr_text());
    ensure!(output.status == 0, "`xend recover` on host {}: {said}", host.name());
    Ok(said)
}

/// Whether a port of a host is taken; for servers that are to be there or gone.
///
/// # Errors
/// When the host does not answer.
pub fn listens(host: &Host, port: u16) -> Result<bool> {
    Ok(host.run(&format!("netstat -ltn | grep -q ':{port} '"), ASK)?.status == 0)
}
