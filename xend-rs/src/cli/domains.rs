//! Domains as commands are given them: by number or by name.

use super::c_numbers::strtoul;
use super::failure::Failure;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::XenstoreError;
use crate::toolstack::Host;
use crate::toolstack::domain::names;

/// libxl's code for what it cannot make sense of.
pub(super) const INVALID: i32 = -6;
/// No domain has it: Xen says so for every call.
const NOBODY: Domid = Domid(libxc_sys::DOMID_INVALID);

/// The domain that `text` names, if any does; a number is believed.
pub(super) fn qualify(host: &Host, text: &str) -> Result<Option<u32>, Failure> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Some(strtoul(text).0 as u32));
    }
    Ok(names::find_by_name(host, text)?.map(|domid| u32::from(domid.0)))
}

/// As [`qualify`], for commands that can do nothing without.
///
/// # Errors
/// In `xl`'s words when no domain has that name.
pub(super) fn find(host: &Host, text: &str) -> Result<u32, Failure> {
    qualify(host, text)?.ok_or_else(|| {
        Failure::said(format!("{text} is an invalid domain identifier (rc={INVALID})\n"))
    })
}

/// Refuses a guest that has stopped: suspended by somebody else, who may have handed it over, or shut
/// down.
///
/// # Errors
/// If it has.
pub(super) fn require_running(host: &Host, domid: Domid, name: &str) -> Result<(), Failure> {
    if host.xen.domain_info(domid)?.shutdown_reason.is_none() {
        return Ok(());
    }
    Err(Failure::line(format_args!(
        "{name} does not run: it has shut down, or a migration of it is not settled (`xend recover`)"
    )))
}

/// The id to ask Xen for, when the number may be any.
pub(super) fn domid(number: u32) -> Domid {
    u16::try_from(number).map_or(NOBODY, Domid)
}

/// The name of that domain, or `(null)`.
pub(super) fn shown_name(host: &Host, number: u32) -> Result<String, XenstoreError> {
    Ok(super::columns::or_null(names::name(host, domid(number))?))
}
