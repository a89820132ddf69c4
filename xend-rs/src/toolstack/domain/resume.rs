//! Letting a domain go on where it is.

use super::{Result, call_off_suspend};
use crate::hypervisor::types::Domid;
use crate::toolstack::Host;

/// Lets a domain that was suspended go on here, as if it had not been.
///
/// # Errors
/// If Xen or xenstored refuses; it can be tried again.
pub fn resume(host: &Host, domid: Domid) -> Result<()> {
    // A request that it has not seen yet would suspend it at once.
    call_off_suspend(host, domid)?;
    host.xen.resume_in_place(domid)?;
    host.store.resumed(domid)?;
    Ok(())
}

/// Lets a paused domain run.
pub fn unpause(host: &Host, domid: Domid) -> Result<()> {
    Ok(host.xen.unpause(domid)?)
}
