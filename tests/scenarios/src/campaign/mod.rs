//! Campaigns: long runs that are started by hand and leave a result in docs/results.

pub mod agent;
mod bound;
pub mod busy;
pub mod digest;
pub mod empty;
pub mod memory;
pub mod pacing;
pub mod prediction;
pub mod record;
pub mod stun;
pub mod to_and_fro;
pub mod trackers;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::machine::Circumstances;
use crate::programs::workspace;

/// Writes a result as docs/results/DATE-NAME.md and says where that is.
fn keep(name: &str, circumstances: &Circumstances, text: &str) -> Result<PathBuf> {
    let folder = workspace().join("docs/results");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let day = circumstances.date.split('T').next().unwrap_or_default();
    let path = folder.join(format!("{day}-{name}.md"));
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
