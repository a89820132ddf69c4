//! Bringing devices up: each backend gets ready, then its script runs, all devices at once.

use std::thread;
use std::time::Duration;

use super::hotplug::{self, Change};
use super::{Device, DeviceError};
use crate::hypervisor::xen::xenstore::{Nodes, Watcher, XenstoreError};
use crate::toolstack::Host;

/// The backend has seen the device and waits for the guest: `XenbusStateInitWait`.
const INIT_WAIT: u32 = 2;
/// How long a backend may take.
const BACKEND_LIMIT: Duration = Duration::from_secs(10);

/// Waits until the backends of devices whose nodes are written are ready, and runs their scripts.
///
/// # Errors
/// The first device's that failed. The others are up, or have failed as well.
pub(in crate::toolstack) fn bring_up(
    host: &Host,
    devices: &[Device],
    run_scripts: bool,
) -> Result<(), DeviceError> {
    thread::scope(|scope| {
        let workers: Vec<_> = devices
            .iter()
            .map(|device| scope.spawn(move || bring_up_one(host, device, run_scripts)))
            .collect();
        let outcomes: Vec<_> = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        outcomes.into_iter().collect()
    })
}

fn bring_up_one(host: &Host, device: &Device, run_scripts: bool) -> Result<(), DeviceError> {
    wait_for_state(host, device, INIT_WAIT, BACKEND_LIMIT)?;
    if run_scripts && device.has_script() && device.address.backend.0 == 0 {
        hotplug::run(host, &device.address, &device.label, Change::Add)?;
    }
    Ok(())
}

fn wait_for_state(
    host: &Host,
    device: &Device,
    wanted: u32,
    limit: Duration,
) -> Result<(), DeviceError> {
    let path = format!("{}/state", device.address.backend_path());
    let mut watcher = Watcher::open()?;
    watcher.watch(&path, "state")?;
    let mut last = String::new();
    let outcome = watcher.wait_for(&path, limit, || {
        last = host.store.read(&path)?.unwrap_or_default();
        Ok::<_, XenstoreError>((last == wanted.to_string()).then_some(()))
    });
    match outcome {
        Err(XenstoreError::Timeout { seconds, .. }) => Err(DeviceError::Backend {
            device: device.label.clone(),
            wanted,
            state: if last.is_empty() { "unknown".to_owned() } else { last },
            seconds,
        }),
        other => other.map_err(DeviceError::from),
    }
}
