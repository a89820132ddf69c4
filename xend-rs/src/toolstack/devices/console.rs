//! The console that every guest has.

use super::{Address, Device, Kind};
use crate::hypervisor::types::{Domid, Mfn, Port};

/// Bytes that xenconsoled keeps for a reader that is not there.
const LIMIT_BYTES: u32 = 1 << 20;
const PROTOCOL: &str = "vt100";

/// The first console of a guest: its ring is there before the guest runs.
pub(in crate::toolstack) fn console(domid: Domid, backend: Domid, port: Port, ring: Mfn) -> Device {
    Device {
        address: Address { kind: Kind::Console, domid, devid: 0, backend },
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
            ("ring-ref", ring.0.to_string()),
        ],
    }
}
