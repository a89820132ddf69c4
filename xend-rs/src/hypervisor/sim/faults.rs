//! Failures on demand.

use std::collections::BTreeMap;
use std::io;

use nix::libc;

use crate::hypervisor::types::Domid;
use crate::hypervisor::{HypervisorError, Result};

/// The calls that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Reading the static records.
    StaticRecords,
    /// Reading the layout records.
    LayoutRecords,
    /// Starting to track writes.
    EnableLogDirty,
    /// Fetching the dirty log.
    TakeDirty,
    /// Looking at the dirty log. A save goes on without.
    PeekDirty,
    /// Mapping a window.
    MapWindow,
    /// Reading a batch.
    ReadBatch,
    /// Comparing the layout.
    CheckLayout,
    /// Reading the state of the suspended guest.
    SuspendedRecords,
    /// Populating and opening a window at the destination.
    OpenWindow,
    /// Making pages zero at the destination.
    ClearPages,
    /// Completing the domain at the destination.
    Finish,
}

impl Operation {
    /// Every operation of the source.
    pub const SOURCE: [Self; 8] = [
        Self::StaticRecords,
        Self::LayoutRecords,
        Self::EnableLogDirty,
        Self::TakeDirty,
        Self::MapWindow,
        Self::ReadBatch,
        Self::CheckLayout,
        Self::SuspendedRecords,
    ];
}

/// Which calls fail, and when.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// How many calls still succeed before one fails.
    countdown: BTreeMap<Operation, u32>,
}

impl Faults {
    /// Nothing fails.
    pub fn none() -> Self {
        Self::default()
    }

    /// `operation` fails once, after `successes` calls that do not.
    pub fn after(operation: Operation, successes: u32) -> Self {
        Self { countdown: BTreeMap::from([(operation, successes)]) }
    }

    /// To be asked at the start of each call.
    pub(super) fn check(&mut self, domid: Domid, operation: Operation) -> Result<()> {
        match self.countdown.get_mut(&operation) {
            None => Ok(()),
            Some(0) => {
                self.countdown.remove(&operation);
                Err(HypervisorError::Call {
                    operation: "do what it was told to fail at",
                    domid,
                    range: None,
                    source: io::Error::from_raw_os_error(libc::ENOMEM),
                })
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}
