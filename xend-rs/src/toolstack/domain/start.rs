//! Making a guest from its configuration.

use std::thread;

use super::{DomainError, NewDomain, Result, Wish};
use crate::hypervisor::types::Domid;
use crate::migration::Cancel;
use crate::toolstack::Host;
use crate::toolstack::config::DomainConfig;

/// Makes a domain, with devices and kernel, paused.
///
/// # Errors
/// What is in the way, or that it was cancelled; nothing is left of it.
pub fn start(host: &Host, config: &DomainConfig, cancel: &Cancel) -> Result<Domid> {
    make(host, config, Wish::default(), cancel)
}

/// As [`start`], but the guest may run on processors that the host's `xl.conf` keeps from guests.
///
/// # Errors
/// As [`start`].
pub fn start_unmasked(host: &Host, config: &DomainConfig, cancel: &Cancel) -> Result<Domid> {
    make(host, config, Wish { ignores_masks: true, ..Wish::default() }, cancel)
}

fn make(host: &Host, config: &DomainConfig, wish: Wish, cancel: &Cancel) -> Result<Domid> {
    let new = NewDomain::create(host, config, config.name(), wish)?;
    let (devices, frames) = thread::scope(|scope| {
        let devices = scope.spawn(|| new.prepare_devices());
        let frames = new.build_kernel();
        (devices.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), frames)
    });
    devices?;
    new.introduce(frames?)?;
    if cancel.is_cancelled() {
        return Err(DomainError::Cancelled);
    }
    Ok(new.keep())
}
