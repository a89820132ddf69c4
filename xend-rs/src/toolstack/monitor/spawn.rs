//! Starting a process that watches over a guest and outlives us.

use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use super::MonitorError;
use crate::hypervisor::types::Domid;
use crate::toolstack::Host;
use crate::toolstack::domain;

const LOG_FOLDER: &str = "/var/log/xen";
/// What a guest's name ends with while it arrives.
const INCOMING: &str = "--incoming";

/// Starts the monitor of a guest, in a session of its own. If the guest has one already, the new
/// one ends at once.
///
/// # Errors
/// If the process cannot be started.
pub fn spawn(host: &Host, domid: Domid) -> Result<(), MonitorError> {
    start(host, domid, &[])
}

/// Starts a process that [resumes](super::resume_late) the guest should it suspend late, in a session of
/// its own.
///
/// # Errors
/// If the process cannot be started.
pub fn spawn_late(host: &Host, domid: Domid) -> Result<(), MonitorError> {
    start(host, domid, &["--late"])
}

fn start(host: &Host, domid: Domid, options: &[&str]) -> Result<(), MonitorError> {
    let name = domain::name(host, domid)?.unwrap_or_else(|| domid.0.to_string());
    let name = name.strip_suffix(INCOMING).unwrap_or(&name).replace('/', "_");
    let path = format!("{LOG_FOLDER}/xend-{name}.log");
    let failed = |operation| {
        let path = path.clone();
        move |source| MonitorError::File { operation, path, source }
    };
    fs::create_dir_all(LOG_FOLDER).map_err(failed("make the folder of"))?;
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(Path::new(&path))
        .map_err(failed("open"))?;
    let errors = log.as_fd().try_clone_to_owned().map_err(failed("open"))?;
    let program = std::env::current_exe().map_err(failed("find the program to write"))?;
    let mut child = Command::new(program)
        .arg("monitor")
        .args(options)
        .arg(domid.0.to_string())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .current_dir("/")
        .spawn()
        .map_err(failed("start the process that writes"))?;
    // It outlives us, or is waited for.
    thread::spawn(move || child.wait());
    Ok(())
}
