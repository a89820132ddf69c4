//! A host for tests, which only finds domains and says what was done to them.

use std::cell::RefCell;

use super::host::{Domains, Found, HostError};
use crate::hypervisor::types::Domid;
use crate::toolstack::journal::Identity;

pub(super) const UUID: &str = "00000000-0000-0000-0000-000000000001";

/// The host.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) found: Vec<Found>,
    /// Another process has every turn.
    pub(super) is_busy: bool,
    /// What cannot be done to a domain.
    pub(super) fails: &'static str,
    pub(super) done: RefCell<Vec<&'static str>>,
}

impl Fake {
    pub(super) fn with(found: Vec<Found>) -> Self {
        Self { found, ..Self::default() }
    }

    fn note(&self, what: &'static str) -> Result<(), HostError> {
        if what == self.fails {
            return Err(HostError::new(format!("cannot {what}")));
        }
        self.done.borrow_mut().push(what);
        Ok(())
    }
}

/// A domain of the guest.
pub(super) fn found(domid: u16, name: &str, suspended: bool) -> Found {
    Found { domid: Domid(domid), name: name.to_owned(), suspended, token: None }
}

/// The guest.
pub(super) fn identity() -> Identity {
    Identity { name: "web".to_owned(), uuid: UUID.to_owned() }
}

impl Domains for Fake {
    fn hold(&self, _: Domid) -> Result<Option<Box<dyn Send>>, HostError> {
        Ok((!self.is_busy).then(|| Box::new(()) as Box<dyn Send>))
    }

    fn find(&self, uuid: &str) -> Result<Vec<Found>, HostError> {
        assert_eq!(uuid, UUID);
        Ok(self.found.clone())
    }

    fn stop_tracking(&self, _: Domid) -> Result<(), HostError> {
        self.note("stop tracking")
    }

    fn resume(&self, _: Domid) -> Result<(), HostError> {
        self.note("resume")
    }

    fn call_off_suspend(&self, _: Domid) -> Result<(), HostError> {
        self.note("call off")
    }

    fn unpause(&self, _: Domid) -> Result<(), HostError> {
        self.note("unpause")
    }

    fn rename(&self, _: Domid, _: &str, _: &str) -> Result<(), HostError> {
        self.note("rename")
    }

    fn destroy(&self, _: Domid) -> Result<(), HostError> {
        self.note("destroy")
    }

    fn start_monitor(&self, _: Domid) -> Result<(), HostError> {
        self.note("watch")
    }
}
