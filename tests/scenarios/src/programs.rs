//! The programs under test, as cargo builds them here.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;

use crate::helper;
use crate::rig::ASK;
use crate::toolstack;
use lab::Host;

/// Another program to be put in the place of `xend-save-helper`, for instance Xen's own, to see
/// how the scenarios judge it.
pub const OVERRIDE: &str = "SCENARIOS_HELPER";
/// The same for `xend`: another build of it.
pub const OVERRIDE_XEND: &str = "SCENARIOS_XEND";

/// Paths on this machine.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `xend-save-helper`, or what stands in for it.
    pub helper: PathBuf,
    /// `xend`.
    pub xend: PathBuf,
}

impl Programs {
    /// Builds them in release mode and strips them, which makes them quick to put into a Dom0.
    ///
    /// May fetch crates, so call it before the process is cut off from every network.
    ///
    /// # Errors
    /// What cargo says.
    pub fn build() -> Result<Self> {
        ensure!(
            geteuid().is_root(),
            "this boots Xen hosts in a network of their own and needs root: run it with sudo"
        );
        let workspace = workspace();
        let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release", "--quiet", "--package", "xend-rs", "--bins"])
            .arg("--message-format=json-render-diagnostics")
            .current_dir(&workspace)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        ensure!(output.status.success(), "cargo cannot build the programs under test");
        let messages = String::from_utf8_lossy(&output.stdout);
        let stripped = workspace.join("target/under-test");
        std::fs::create_dir_all(&stripped)
            .with_context(|| format!("cannot create {}", stripped.display()))?;
        let program = |name: &str, instead: &str| -> Result<PathBuf> {
            if let Some(path) = env::var_os(instead) {
                eprintln!("{instead}: {} is tested", path.display());
                return Ok(path.into());
            }
            let path = executable(&messages, name)
                .with_context(|| format!("cargo built no program `{name}`"))?;
            strip(&path, &stripped.join(name))
        };
        Ok(Self {
            helper: program("xend-save-helper", OVERRIDE)?,
            xend: program("xend", OVERRIDE_XEND)?,
        })
    }

    /// Puts them into a Dom0.
    ///
    /// # Errors
    /// When the host does not take them.
    pub fn install(&self, host: &Host) -> Result<()> {
        host.put(&self.helper, helper::OURS, 0o755)?;
        host.put(&self.xend, toolstack::XEND, 0o755)?;
        host.run_ok(
            &format!("mkdir -p {0} && ln -sf {1} {0}/xl", toolstack::XEND_AS_XL, toolstack::XEND),
            ASK,
        )?;
        Ok(helper::install_recorder(host)?)
    }
}

/// The workspace's folder.
#[must_use]
pub fn workspace() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    path.canonicalize().unwrap_or(path)
}

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let found = message.get("target")?.get("name")?.as_str()? == name;
        found.then(|| message.get("executable")?.as_str().map(PathBuf::from))?
    })
}

fn strip(program: &Path, to: &Path) -> Result<PathBuf> {
    let status = Command::new("strip")
        .arg("-o")
        .args([to, program])
        .status()
        .context("cannot run `strip`, of the Debian package binutils")?;
    ensure!(status.success(), "`strip` failed on {}", program.display());
    Ok(to.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::executable;

    #[test]
    fn cargo_says_where_the_program_is() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"libc\"},\
                        \"executable\":null}\n\
                        {\"target\":{\"name\":\"xend\"},\"executable\":\"/t/release/xend\"}\n\
                        {\"reason\":\"build-finished\"}\n";
        assert_eq!(executable(messages, "xend"), Some("/t/release/xend".into()));
        assert_eq!(executable(messages, "libc"), None);
    }
}
