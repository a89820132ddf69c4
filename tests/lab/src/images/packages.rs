//! Debian packages, fetched and unpacked into the cache and never installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::error::{LabError, Result};
use crate::program;

/// A package and the one version of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Package {
    fn folder_name(&self) -> String {
        format!("{}_{}", self.name, self.version.replace(':', "%3a"))
    }
}

/// Every version of a package that the configured package sources offer, newest first.
pub(crate) fn versions_on_offer(name: &str) -> Result<Vec<Package>> {
    let listing = program::text("apt-cache", &["madison", name])?;
    let mut packages: Vec<Package> = Vec::new();
    for line in listing.lines() {
        let mut columns = line.split('|').map(str::trim);
        if let (Some(found), Some(version)) = (columns.next(), columns.next()) {
            let package = Package { name: found.to_owned(), version: version.to_owned() };
            if found == name && !packages.contains(&package) {
                packages.push(package);
            }
        }
    }
    if packages.is_empty() {
        return Err(not_on_offer(name));
    }
    Ok(packages)
}

/// The version of each named package that `apt-get install` would take.
pub(crate) fn candidates(names: &[&str]) -> Result<Vec<Package>> {
    let mut arguments = vec!["policy"];
    arguments.extend(names);
    let listing = program::text("apt-cache", &arguments)?;
    let mut found = BTreeMap::new();
    let mut current = "";
    for line in listing.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            current = name;
        } else if let Some(version) = line.trim().strip_prefix("Candidate: ") {
            found.insert(current.to_owned(), version.to_owned());
        }
    }
    names
        .iter()
        .map(|&name| match found.get(name) {
            Some(version) if version != "(none)" => {
                Ok(Package { name: name.to_owned(), version: version.clone() })
            }
            _ => Err(not_on_offer(name)),
        })
        .collect()
}

/// The package that `linux-image-amd64` stands for today.
pub(crate) fn current_kernel() -> Result<String> {
    let listing = program::text("apt-cache", &["depends", "linux-image-amd64"])?;
    listing
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
        .map(|rest| format!("linux-image-{rest}"))
        .ok_or_else(|| not_on_offer("linux-image-amd64"))
}

/// Fetches a package unless the cache has it, and returns the folder it is unpacked in.
pub(crate) fn unpacked(cache: &Path, package: &Package) -> Result<PathBuf> {
    let packages = cache.join("packages");
    let folder = packages.join(package.folder_name());
    if folder.exists() {
        return Ok(folder);
    }
    println!("lab: fetching {} {}", package.name, package.version);
    fs::create_dir_all(&packages).map_err(LabError::file("create", &packages))?;
    // Fetched and unpacked beside, renamed at the end: what has its final name is whole.
    let work = tempfile::tempdir_in(&packages).map_err(LabError::file("create", &packages))?;
    program::checked(
        Command::new("apt-get")
            .args(["download", "-q", "-o", "APT::Sandbox::User=root"])
            .arg(format!("{}={}", package.name, package.version))
            .current_dir(work.path()),
    )?;
    let archive = fs::read_dir(work.path())
        .map_err(LabError::file("list", work.path()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| not_on_offer(&package.name))?;
    let root = work.path().join("root");
    program::checked(Command::new("dpkg").arg("-x").arg(&archive).arg(&root))?;
    fs::rename(&root, &folder).map_err(LabError::file("rename", &root))?;
    Ok(folder)
}

fn not_on_offer(name: &str) -> LabError {
    LabError::Missing(format!(
        "the Debian package {name} is not on offer: add Debian 12 (main and security) to the \
         package sources and run `apt-get update`"
    ))
}
