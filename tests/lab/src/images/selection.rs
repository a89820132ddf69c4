//! Which version of which package the images are made of.
//!
//! Asking apt takes seconds, so its answers are kept until apt's lists change.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::hypervisor::{self, Choice};
use super::packages::{self, Package};
use crate::error::{LabError, Result};

/// The packages of a Dom0, besides the kernel. Libraries that are missing here are taken from
/// this machine.
const TOOL_PACKAGES: &[&str] = &[
    "busybox-static",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenmisc4.17",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
    "libyajl2",
    "libncurses6",
    "libtinfo6",
    "libwrap0",
    "socat",
    "xen-utils-4.17",
    "xenstore-utils",
];

/// What changes when the package sources, their contents or the preferences among them do.
const SOURCES: &[&str] = &[
    "/var/lib/apt/lists",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/apt/preferences.d",
];

/// The packages of one set of images.
#[derive(Debug, Clone, Hash, Serialize, Deserialize)]
pub(crate) struct Selection {
    pub(crate) shadow: Package,
    pub(crate) no_shadow: Package,
    pub(crate) kernel: Package,
    pub(crate) tools: Vec<Package>,
}

/// A selection and the state of apt that it was made from.
#[derive(Serialize, Deserialize)]
struct Kept {
    apt: Vec<Option<u128>>,
    selection: Selection,
}

/// The packages that apt offers today.
pub(crate) fn current(cache: &Path) -> Result<Selection> {
    let path = cache.join("selection.json");
    let apt = apt_state();
    // A file that is not there or not understood means no more than asking apt.
    let kept = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
    if let Some(kept) = kept.filter(|kept| kept.apt == apt) {
        return Ok(kept.selection);
    }
    let selection = ask(cache)?;
    let kept = Kept { apt, selection };
    let text = serde_json::to_vec(&kept).unwrap_or_default();
    fs::write(&path, text).map_err(LabError::file("write", &path))?;
    Ok(kept.selection)
}

fn ask(cache: &Path) -> Result<Selection> {
    let kernel = packages::current_kernel()?;
    let mut names = vec![kernel.as_str()];
    names.extend(TOOL_PACKAGES);
    let mut found = packages::candidates(&names)?;
    let tools = found.split_off(1);
    let Choice { shadow, no_shadow } = hypervisor::choose(cache)?;
    Ok(Selection { shadow, no_shadow, kernel: found.remove(0), tools })
}

fn apt_state() -> Vec<Option<u128>> {
    SOURCES
        .iter()
        .map(|path| {
            let changed = fs::metadata(path).and_then(|found| found.modified()).ok()?;
            Some(changed.duration_since(UNIX_EPOCH).ok()?.as_nanos())
        })
        .collect()
}
