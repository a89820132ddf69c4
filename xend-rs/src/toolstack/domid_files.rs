//! Folders with a file for each of some domains, named by its id.

use std::path::Path;
use std::{fs, io};

use crate::hypervisor::types::Domid;

/// The domains that `folder` has files of, in order: those whose names are `before`, the id and `after`.
/// None, if there is no such folder.
///
/// # Errors
/// If the folder cannot be read.
pub(super) fn domids_in(folder: &Path, before: &str, after: &str) -> io::Result<Vec<Domid>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let id = |name: &str| name.strip_prefix(before)?.strip_suffix(after)?.parse().ok();
        found.extend(name.to_str().and_then(id).map(Domid));
    }
    found.sort_unstable();
    Ok(found)
}
