//! Devices of a guest: what xenstore says of them, and bringing their backends up and down.
//!
//! ```text
//! vbd, vif, console   what is written for one of each
//! nodes               writing it, where frontend, backend and libxl look
//! bring_up            waiting for backends, then the hotplug scripts, all devices at once
//! take_down           the other way round
//! hotplug             running one script as libxl does
//! checks              what can be known to fail before anything is touched
//! ```

mod bring_up;
mod checks;
mod console;
mod error;
mod hotplug;
mod nodes;
mod take_down;
mod vbd;
mod vif;

pub(super) use bring_up::bring_up;
pub use checks::{check, faults};
pub(super) use console::{console, write_console_ring};
pub use error::DeviceError;
pub(super) use nodes::write;
pub(super) use take_down::{take_down_all, unknown_backend};
pub use vbd::device_number;
pub(super) use vbd::vbd;
pub(super) use vif::vif;

use crate::hypervisor::types::Domid;

/// What kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A virtual block device.
    Vbd,
    /// A virtual network interface.
    Vif,
    /// A console. The first of a guest is at a place of its own.
    Console,
}

impl Kind {
    /// The name of its nodes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Vbd => "vbd",
            Self::Vif => "vif",
            Self::Console => "console",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Vbd, Self::Vif, Self::Console].into_iter().find(|kind| kind.word() == word)
    }
}

/// Which device of which guest, and who serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its kind.
    pub kind: Kind,
    /// The guest.
    pub domid: Domid,
    /// Its number among those of its kind.
    pub devid: u32,
    /// The domain of the backend.
    pub backend: Domid,
}

impl Address {
    /// Where the guest looks.
    pub fn frontend_path(&self) -> String {
        let (domid, kind, devid) = (self.domid.0, self.kind.word(), self.devid);
        if self.kind == Kind::Console && devid == 0 {
            return format!("/local/domain/{domid}/console");
        }
        format!("/local/domain/{domid}/device/{kind}/{devid}")
    }

    /// Where the backend looks.
    pub fn backend_path(&self) -> String {
        format!("/local/domain/{}/{}", self.backend.0, self.bus_path())
    }

    /// Where libxl looks.
    pub fn libxl_path(&self) -> String {
        format!("/libxl/{}/device/{}/{}", self.domid.0, self.kind.word(), self.devid)
    }

    /// The backend's path as seen from its own domain.
    fn bus_path(&self) -> String {
        format!("backend/{}/{}/{}", self.kind.word(), self.domid.0, self.devid)
    }

    /// Reads a backend's path as libxl keeps it.
    fn from_backend_path(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/local/domain/")?;
        let mut parts = rest.split('/');
        let backend = Domid(parts.next()?.parse().ok()?);
        (parts.next()? == "backend").then_some(())?;
        let kind = Kind::from_word(parts.next()?)?;
        let domid = Domid(parts.next()?.parse().ok()?);
        let devid = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { kind, domid, devid, backend })
    }
}

/// A key and its value.
type Entry = (&'static str, String);

/// A device as it is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub address: Address,
    /// What an administrator calls it: `disk xvda`.
    pub label: String,
    /// What the backend reads, and libxl later.
    backend: Vec<Entry>,
    /// What the guest may change.
    frontend: Vec<Entry>,
    /// What the guest only reads.
    frontend_read_only: Vec<Entry>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_in_three_places() {
        let address = Address { kind: Kind::Vbd, domid: Domid(5), devid: 51712, backend: Domid(0) };
        assert_eq!(address.frontend_path(), "/local/domain/5/device/vbd/51712");
        assert_eq!(address.backend_path(), "/local/domain/0/backend/vbd/5/51712");
        assert_eq!(address.libxl_path(), "/libxl/5/device/vbd/51712");
        assert_eq!(Address::from_backend_path(&address.backend_path()), Some(address));
        assert_eq!(Address::from_backend_path("/local/domain/0/backend/vbd/5"), None);
        assert_eq!(Address::from_backend_path("/local/domain/0/backend/qdisk/5/1"), None);
    }

    #[test]
    fn the_first_console_has_a_place_of_its_own() {
        let console = Address { kind: Kind::Console, domid: Domid(5), devid: 0, backend: Domid(0) };
        assert_eq!(console.frontend_path(), "/local/domain/5/console");
        assert_eq!(console.libxl_path(), "/libxl/5/device/console/0");
    }
}
