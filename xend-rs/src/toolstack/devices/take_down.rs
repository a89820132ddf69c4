//! Taking devices down: backends close, scripts undo what they did, nodes go.

use std::thread;
use std::time::Duration;

use super::hotplug::{self, Change};
use super::{Address, DeviceError, Kind, nodes};
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::{Nodes, Watcher, XenstoreError};
use crate::toolstack::Host;

const CLOSING: &str = "5";
const CLOSED: &str = "6";
/// How long a backend may take to let go.
const BACKEND_LIMIT: Duration = Duration::from_secs(10);

/// Takes down all devices of a domain that does not run any more. What fails is logged and the
/// rest is done: the domain is going in any case.
pub(in crate::toolstack) fn take_down_all(host: &Host, domid: Domid) -> Result<(), DeviceError> {
    let devices = devices_of(host, domid)?;
    thread::scope(|scope| {
        for device in &devices {
            scope.spawn(move || {
                if let Err(error) = take_down(host, device) {
                    log::warn!("{}", error_line(&error));
                }
            });
        }
    });
    Ok(())
}

/// The devices of a domain, as libxl keeps them: its own nodes cannot be trusted.
fn devices_of(host: &Host, domid: Domid) -> Result<Vec<Address>, DeviceError> {
    let folder = format!("/libxl/{}/device", domid.0);
    let mut devices = Vec::new();
    for kind in host.store.list(&folder)?.unwrap_or_default() {
        for devid in host.store.list(&format!("{folder}/{kind}"))?.unwrap_or_default() {
            let path = host.store.read(&format!("{folder}/{kind}/{devid}/backend"))?;
            let device = path.and_then(|path| Address::from_backend_path(&path));
            devices.extend(device.filter(|device| device.domid == domid));
        }
    }
    Ok(devices)
}

/// The path of a backend that is not taken down here, if a domain has one: it is of another kind.
pub(in crate::toolstack) fn unknown_backend(
    store: &impl Nodes,
    domid: Domid,
) -> Result<Option<String>, XenstoreError> {
    let folder = format!("/libxl/{}/device", domid.0);
    for kind in store.list(&folder)?.unwrap_or_default() {
        for devid in store.list(&format!("{folder}/{kind}"))?.unwrap_or_default() {
            let path = store.read(&format!("{folder}/{kind}/{devid}/backend"))?;
            let unknown = path.filter(|path| Address::from_backend_path(path).is_none());
            if unknown.is_some() {
                return Ok(unknown);
            }
        }
    }
    Ok(None)
}

fn take_down(host: &Host, device: &Address) -> Result<(), DeviceError> {
    if device.kind == Kind::Console {
        return remove_nodes(host, device);
    }
    if close(host, device)? {
        wait_until_closed(host, device)?;
        if device.backend.0 == 0 {
            let label = format!("{} {} of {}", device.kind.word(), device.devid, device.domid);
            if let Err(error) = hotplug::run(host, device, &label, Change::Remove) {
                log::warn!("{}", error_line(&error));
            }
        }
    }
    remove_nodes(host, device)
}

/// Tells the backend that its guest has gone. False if there is no backend any more.
fn close(host: &Host, device: &Address) -> Result<bool, DeviceError> {
    let (frontend, backend) = (device.frontend_path(), device.backend_path());
    let state_path = format!("{backend}/state");
    host.store.transaction(|nodes| {
        nodes.remove(&frontend)?;
        let Some(state) = nodes.read(&state_path)? else { return Ok(false) };
        nodes.write(&format!("{backend}/online"), "0")?;
        if state != CLOSED {
            nodes.write(&state_path, CLOSING)?;
        }
        Ok(true)
    })
}

fn wait_until_closed(host: &Host, device: &Address) -> Result<(), DeviceError> {
    let path = format!("{}/state", device.backend_path());
    let mut watcher = Watcher::open()?;
    watcher.watch(&path, "state")?;
    let closed = watcher.wait_for(&path, BACKEND_LIMIT, || {
        let state = host.store.read(&path)?;
        Ok::<_, XenstoreError>(state.is_none_or(|state| state == CLOSED).then_some(()))
    });
    match closed {
        Err(XenstoreError::Timeout { seconds, .. }) => {
            log::warn!("{path} is not closed after {seconds} s");
            Ok(())
        }
        other => other.map_err(DeviceError::from),
    }
}

fn remove_nodes(host: &Host, device: &Address) -> Result<(), DeviceError> {
    host.store.transaction(|store| nodes::remove(store, device)).map_err(DeviceError::from)
}
