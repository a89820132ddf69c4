//! A device's nodes, in the three places where they are looked for.

use super::{Address, Device, Entry, Kind};
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::{Access, Nodes, Permission, Result};

/// Writes what a device's frontend, its backend and libxl find.
pub(in crate::toolstack) fn write(store: &impl Nodes, device: &Device) -> Result<()> {
    let address = &device.address;
    let (frontend, backend) = (address.frontend_path(), address.backend_path());
    let libxl = address.libxl_path();
    store.remove(&libxl)?;
    store.write(&format!("{libxl}/frontend"), &frontend)?;
    store.write(&format!("{libxl}/backend"), &backend)?;

    let guests = owned(address.domid, address.backend);
    let backends = owned(address.backend, address.domid);
    store.remove(&frontend)?;
    store.mkdir(&frontend)?;
    let is_first_console = address.kind == Kind::Console && address.devid == 0;
    store.set_permissions(&frontend, if is_first_console { &backends } else { &guests })?;
    store.write(&format!("{frontend}/backend"), &backend)?;
    write_all(store, &frontend, &device.frontend, Some(&guests))?;
    write_all(store, &frontend, &device.frontend_read_only, Some(&backends))?;

    store.remove(&backend)?;
    store.mkdir(&backend)?;
    store.set_permissions(&backend, &backends)?;
    store.write(&format!("{backend}/frontend"), &frontend)?;
    write_all(store, &backend, &device.backend, None)?;
    write_all(store, &libxl, &device.backend, None)
}

/// Removes a device's nodes with the folders that are empty then.
pub(super) fn remove(store: &impl Nodes, address: &Address) -> Result<()> {
    remove_upwards(store, &address.frontend_path())?;
    remove_upwards(store, &address.libxl_path())?;
    remove_upwards(store, &address.backend_path())
}

/// Removes a node, and what is above it as long as that is empty. A guest's own folder stays.
fn remove_upwards(store: &impl Nodes, path: &str) -> Result<()> {
    store.remove(path)?;
    let mut path = path;
    while let Some((above, _)) = path.rsplit_once('/')
        && above.matches('/').count() > 1
    {
        match store.list(above)? {
            Some(names) if !names.is_empty() => break,
            _ => {}
        }
        // A value makes it more than a folder.
        if store.read_bytes(above)?.is_some_and(|value| !value.is_empty()) {
            break;
        }
        store.remove(above)?;
        path = above;
    }
    Ok(())
}

fn write_all(
    store: &impl Nodes,
    folder: &str,
    entries: &[Entry],
    permissions: Option<&[Permission]>,
) -> Result<()> {
    for (key, value) in entries {
        let path = format!("{folder}/{key}");
        store.write(&path, value)?;
        if let Some(permissions) = permissions {
            store.set_permissions(&path, permissions)?;
        }
    }
    Ok(())
}

/// `owner` may do what it likes, `reader` may look.
fn owned(owner: Domid, reader: Domid) -> [Permission; 2] {
    [
        Permission { domid: owner, access: Access::None },
        Permission { domid: reader, access: Access::Read },
    ]
}
