//! The console that every guest has.

use super::{Address, Device, Kind};
use crate::hypervisor::types::{Domid, Mfn, Port};
use crate::hypervisor::xen::xenstore::{Nodes, Result};

/// Bytes that xenconsoled keeps for a reader that is not there.
const LIMIT_BYTES: u32 = 1 << 20;
const PROTOCOL: &str = "vt100";

/// The first console of a guest. Where its ring is comes later: [`write_console_ring`].
pub(in crate::toolstack) fn console(domid: Domid, backend: Domid, port: Port) -> Device {
    Device {
        address: address(domid, backend),
        label: "console".to_owned(),
        backend: vec![
            ("frontend-id", domid.0.to_string()),
            ("online", "1".to_owned()),
            ("state", "1".to_owned()),
            ("protocol", PROTOCOL.to_owned()),
        ],
        frontend: vec![("backend-id", backend.0.to_string())],
        frontend_read_only: vec![
            ("limit", LIMIT_BYTES.to_string()),
            ("type", "xenconsoled".to_owned()),
            ("output", "pty".to_owned()),
            ("tty", String::new()),
            ("port", port.0.to_string()),
            // With its permissions, so that one write completes it.
            ("ring-ref", String::new()),
        ],
    }
}

/// Says where the ring is. From then on the console is complete.
pub(in crate::toolstack) fn write_console_ring(
    store: &impl Nodes,
    domid: Domid,
    backend: Domid,
    ring: Mfn,
) -> Result<()> {
    let path = format!("{}/ring-ref", address(domid, backend).frontend_path());
    store.write(&path, ring.0.to_string())
}

fn address(domid: Domid, backend: Domid) -> Address {
    Address { kind: Kind::Console, domid, devid: 0, backend }
}
