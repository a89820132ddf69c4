//! Event channels that a new domain finds open.

use libxc_sys as sys;

use crate::hypervisor::error::Result;
use crate::hypervisor::types::{Domid, Port};
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::handles::check;

impl Xen {
    /// A port of `domid` that `remote` can bind to.
    pub fn alloc_unbound_port(&self, domid: Domid, remote: Domid) -> Result<Port> {
        // SAFETY: no pointer but the handle is passed.
        let port = unsafe {
            sys::xc_evtchn_alloc_unbound(self.xch(), u32::from(domid.0), u32::from(remote.0))
        };
        let port = check(port, "allocate an event channel", domid)?;
        Ok(Port(port.unsigned_abs()))
    }
}
