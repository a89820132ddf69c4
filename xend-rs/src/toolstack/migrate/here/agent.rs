//! The agent of a guest of this host.

use std::time::Duration;

use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::migration::Cancel;
use crate::toolstack::Host;
use crate::toolstack::migrate::host::{Agent, NoAgent};
use crate::toolstack::notify::{Notify, Outcome, Plan};

/// What there is of it.
pub(super) fn open(host: &Host, domid: Domid) -> Box<dyn Agent> {
    match Notify::begin(host, domid) {
        Ok(notify) => Box::new(notify),
        Err(error) => {
            log::warn!("{domid}: {}", error_line(&error));
            Box::new(NoAgent)
        }
    }
}

impl Agent for Notify {
    fn prepare(&mut self, limit: Duration, cancel: &Cancel) -> Option<String> {
        let plan = Plan { deadline: limit, ..Plan::default() };
        match Self::prepare(self, &plan, cancel) {
            Outcome::NoAgent => None,
            outcome => Some(outcome.to_string()),
        }
    }

    fn pre_copy(&self, rate_bytes_per_s: u64) {
        Self::pre_copy(self, rate_bytes_per_s);
    }

    fn suspending(&self) -> u32 {
        Self::suspending(self)
    }

    fn cancelled(&self) {
        Self::cancelled(self);
    }
}
