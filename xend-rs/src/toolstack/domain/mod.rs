//! The life of a domain: its parts.
//!
//! [`NewDomain`] makes one, step by step, so that a fresh guest and one that arrives from another
//! host share all but the step that fills the memory. It is destroyed when it is dropped, until it
//! is [kept](NewDomain::keep).
//!
//! ```text
//! checks              what can be known to fail before anything is touched
//! new_domain          the steps of making one
//! skeleton            its xenstore tree before it has memory
//! introduction        what is added once its rings are known
//! clock               how far its wall clock is from UTC
//! kernel              loading what it boots
//! pvh_acpi            the tables that a PVH guest finds its processors in
//! scheduling          where and how much it may run
//! start               all of that, for a guest from a configuration
//! text                what an xl.cfg says, on this host
//! stored              the configuration that is stored for a domain
//! live                the same, brought up to date, as `list -l` shows it
//! preserve            putting a dead one aside for a new one
//! names               finding and renaming
//! suspend, resume     stopping it to move, and letting it go on where it is
//! suspend_channel     asking kernels of old for that by an event
//! destroy             taking it out of the world
//! domid_history       ids that must not be used again at once
//! power, memory, vcpus  what is done to one while it runs
//! ```

mod checks;
mod clock;
mod destroy;
mod domid_history;
mod error;
mod introduction;
mod kernel;
mod live;
pub mod memory;
pub mod names;
mod new_domain;
pub mod power;
mod preserve;
mod pvh_acpi;
mod resume;
mod scheduling;
mod skeleton;
mod start;
mod stored;
mod suspend;
mod suspend_channel;
mod text;
pub mod vcpus;

pub use checks::check;
pub use destroy::{destroy, is_hvm_of_stock, stocks_part};
pub use error::{DomainError, Result};
pub use live::live_config;
pub use names::{NameError, find, name, uuid};
pub use new_domain::{NewDomain, Wish};
pub use preserve::preserve;
pub use resume::{resume, unpause};
pub use scheduling::allowed_cpus;
pub use start::{start, start_unmasked};
pub use stored::{stored_config, updated_config};
pub(in crate::toolstack) use suspend::{REQUEST as SUSPEND_REQUEST, request_node};
pub use suspend::{SuspendError, SuspendLimits, call_off_suspend, suspend};
pub use text::config_from_text;

use crate::hypervisor::types::Domid;
use crate::toolstack::Host;

/// Gives a domain that is named `from` the name `to`, which nobody else may have.
///
/// # Errors
/// As [`names::rename`].
pub fn rename(
    host: &Host,
    domid: Domid,
    from: &str,
    to: &str,
) -> std::result::Result<(), NameError> {
    names::rename(host, domid, Some(from), to)
}

/// The domain's own part of xenstore.
pub(super) fn home(domid: Domid) -> String {
    format!("/local/domain/{}", domid.0)
}

/// What libxl keeps of a domain in xenstore.
fn libxl_home(domid: Domid) -> String {
    format!("/libxl/{}", domid.0)
}
