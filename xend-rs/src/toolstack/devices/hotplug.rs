//! Running a hotplug script as libxl does.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Address, Device, DeviceError, Kind};
use crate::hypervisor::xen::xenstore::Nodes;
use crate::toolstack::Host;

/// Where scripts are that are not named with a whole path.
const FOLDER: &str = "/etc/xen/scripts";
/// How long a script may take.
const LIMIT: Duration = Duration::from_secs(40);
/// How often it is looked whether a script is done: it takes some ten milliseconds at least.
const SHORT_NAP: Duration = Duration::from_millis(1);
const LONG_NAP: Duration = Duration::from_millis(20);
const SHORT_NAPS: u32 = 100;

/// What a script is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A device comes.
    Add,
    /// A device goes.
    Remove,
}

/// Runs the script that the backend's nodes name, if the device has one.
pub(super) fn run(
    host: &Host,
    address: &Address,
    label: &str,
    change: Change,
) -> Result<(), DeviceError> {
    let Some(arguments) = arguments(address.kind, change) else { return Ok(()) };
    let backend = address.backend_path();
    let Some(script) = host.store.read(&format!("{backend}/script"))? else { return Ok(()) };
    let no_script =
        |source| DeviceError::NoScript { device: label.to_owned(), script: script.clone(), source };

    let mut command = Command::new(&script);
    command.args(arguments).envs(environment(host, address, &script)?);
    // What the script says is for people. Our standard output may be a stream to another host.
    let errors: OwnedFd = std::io::stderr().as_fd().try_clone_to_owned().map_err(no_script)?;
    command.stdin(Stdio::null()).stdout(errors);
    // An interrupt of ours does not stop it halfway.
    let mut child = command.process_group(0).spawn().map_err(no_script)?;
    let status = wait(&mut child).map_err(no_script)?;
    let reason = match status {
        Some(status) if status.success() => return Ok(()),
        Some(status) => host
            .store
            .read(&format!("{backend}/hotplug-error"))?
            .filter(|said| !said.is_empty())
            .unwrap_or_else(|| end_of(status)),
        None => format!("it took more than {} s", LIMIT.as_secs()),
    };
    Err(DeviceError::Script { device: label.to_owned(), script, reason })
}

/// The whole path of a script.
pub(super) fn script_path(script: &str) -> String {
    if script.starts_with('/') { script.to_owned() } else { format!("{FOLDER}/{script}") }
}

impl Device {
    /// Whether it has a script.
    pub(super) fn has_script(&self) -> bool {
        arguments(self.address.kind, Change::Add).is_some()
    }
}

fn arguments(kind: Kind, change: Change) -> Option<&'static [&'static str]> {
    Some(match (kind, change) {
        (Kind::Vbd, Change::Add) => &["add"],
        (Kind::Vbd, Change::Remove) => &["remove"],
        (Kind::Vif, Change::Add) => &["online", "type_if=vif"],
        (Kind::Vif, Change::Remove) => &["offline", "type_if=vif"],
        (Kind::Console, _) => return None,
    })
}

fn environment(
    host: &Host,
    address: &Address,
    script: &str,
) -> Result<Vec<(&'static str, String)>, DeviceError> {
    let mut variables = vec![
        ("script", script.to_owned()),
        ("XENBUS_TYPE", address.kind.word().to_owned()),
        ("XENBUS_PATH", address.bus_path()),
        ("XENBUS_BASE_PATH", "backend".to_owned()),
    ];
    if address.kind == Kind::Vif {
        let backend = address.backend_path();
        let gateway = host.store.read(&format!("{backend}/gatewaydev"))?.unwrap_or_default();
        // The name that the backend gives it; the script renames it if the nodes say so.
        let name = format!("vif{}.{}", address.domid.0, address.devid);
        variables.extend([("netdev", gateway), ("vif", name)]);
    }
    Ok(variables)
}

/// How it ended; `None` if it had to be stopped.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + LIMIT;
    let mut naps = 0;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            // Its group goes with it.
            let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(if naps < SHORT_NAPS { SHORT_NAP } else { LONG_NAP });
        naps += 1;
    }
}

fn end_of(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}
