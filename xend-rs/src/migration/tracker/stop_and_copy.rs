//! No tracking: nothing is copied before the guest is suspended.

use super::{Tracker, Tracking};
use crate::hypervisor::{EverythingTravels, Liveness, PfnSet, Result, Sieve, SourceGuest};

/// Everything travels, once, in the one pass there is.
#[derive(Clone, Copy, Debug)]
pub struct StopAndCopy;

impl<G: SourceGuest> Tracker<G> for StopAndCopy {
    fn tracking(&self) -> Tracking {
        Tracking::None
    }

    fn start(&mut self, _: &mut G) -> Result<()> {
        Ok(())
    }

    fn is_live(&self) -> bool {
        false
    }

    fn needs_device_model_log(&self) -> bool {
        false
    }

    fn reads_everything(&self) -> bool {
        false
    }

    fn readers(&self) -> usize {
        1
    }

    fn next_set(&mut self, guest: &mut G, into: &mut PfnSet, _: Liveness) -> Result<Option<u64>> {
        *into = PfnSet::full(guest.pfn_count());
        Ok(None)
    }

    fn sieve(&self) -> &dyn Sieve {
        &EverythingTravels
    }

    fn stop(&mut self, _: &mut G) -> Result<()> {
        Ok(())
    }
}
