//! Tracking by Xen: it notes each page that the guest writes to.

use super::{Tracker, Tracking};
use crate::hypervisor::{EverythingTravels, Liveness, PfnSet, Result, Sieve, SourceGuest};

/// Asks Xen what was written. The log itself is in the hypervisor; there is nothing to keep here.
#[derive(Clone, Copy, Debug)]
pub struct LogDirty;

impl<G: SourceGuest> Tracker<G> for LogDirty {
    fn tracking(&self) -> Tracking {
        Tracking::LogDirty
    }

    fn start(&mut self, guest: &mut G) -> Result<()> {
        let started = guest.enable_log_dirty();
        if started.is_err()
            && let Err(error) = guest.disable_log_dirty()
        {
            log::error!("{}: cannot turn write tracking off: {error}", guest.domid());
        }
        started
    }

    fn is_live(&self) -> bool {
        true
    }

    fn needs_device_model_log(&self) -> bool {
        true
    }

    fn reads_everything(&self) -> bool {
        false
    }

    /// What was written is read faster by one thread than any link takes it.
    fn readers(&self) -> usize {
        1
    }

    fn next_set(
        &mut self,
        guest: &mut G,
        into: &mut PfnSet,
        liveness: Liveness,
    ) -> Result<Option<u64>> {
        Ok(Some(guest.take_dirty(into, liveness)?.dirty_pages))
    }

    /// All that is told was written.
    fn written<'a>(&'a self, told: &'a PfnSet) -> Option<&'a PfnSet> {
        Some(told)
    }

    fn can_peek(&self) -> bool {
        true
    }

    fn sieve(&self) -> &dyn Sieve {
        &EverythingTravels
    }

    fn stop(&mut self, guest: &mut G) -> Result<()> {
        guest.disable_log_dirty()
    }
}
