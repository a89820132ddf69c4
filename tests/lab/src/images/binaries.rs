//! The project's own programs that run inside: built static, so that a guest of busybox and a
//! kernel can run them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{LabError, Result};
use crate::program;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Paths of the programs, as built.
pub(crate) struct Binaries {
    pub(crate) guest_workload: PathBuf,
    pub(crate) guest_process: PathBuf,
    pub(crate) simd_check: PathBuf,
    pub(crate) relay: PathBuf,
    pub(crate) agent: PathBuf,
}

impl Binaries {
    pub(crate) fn all(&self) -> [&Path; 5] {
        [&self.guest_workload, &self.guest_process, &self.simd_check, &self.relay, &self.agent]
    }
}

/// Has cargo build the `workload` package and the guest's agent, in a target folder of its own: the flags differ from
/// those of the rest, and would make cargo build everything anew each time.
pub(crate) fn build() -> Result<Binaries> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workspace = workspace.canonicalize().map_err(LabError::file("find", workspace))?;
    let target = workspace.join("target/guest");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "build",
            "--quiet",
            "--release",
            "-p",
            "workload",
            "-p",
            "xend-agent",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&workspace)
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    program::checked(&mut command)?;
    let built = target.join(TARGET).join("release");
    Ok(Binaries {
        guest_workload: built.join("guest-workload"),
        guest_process: built.join("guest-process"),
        simd_check: built.join("simd-check"),
        relay: built.join("relay"),
        agent: built.join("xend-agent"),
    })
}
