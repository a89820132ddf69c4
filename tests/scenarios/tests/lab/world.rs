//! What scenarios find when they begin: two hosts, and a guest on one of them when they ask.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestSpec};
use scenarios::clean;
use scenarios::programs::Programs;
use scenarios::rig::{Place, Rig};
use scenarios::toolstack::Toolstack;
use scenarios::traveller::{find, require_intact};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Two hosts and what lives on them between scenarios.
pub(crate) struct World {
    rig: Rig,
    programs: Programs,
    resident: Option<Resident>,
}

/// A guest that stays from one scenario to the next, so that not each has to boot its own.
struct Resident {
    spec: GuestSpec,
    maker: Toolstack,
    guest: Guest,
}

impl World {
    pub(crate) fn new(rig: Rig, programs: Programs) -> Self {
        Self { rig, programs, resident: None }
    }

    pub(crate) fn rig(&self) -> &Rig {
        &self.rig
    }

    /// The programs under test, on this machine.
    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// A running guest as described, and where it is. It is made on host a unless the last
    /// scenario left it somewhere.
    pub(crate) fn guest(&mut self, spec: &GuestSpec) -> Result<(Guest, Place)> {
        self.guest_by(Toolstack::Stock, spec)
    }

    /// As [`guest`](Self::guest), made by the toolstack of choice.
    pub(crate) fn guest_by(
        &mut self,
        maker: Toolstack,
        spec: &GuestSpec,
    ) -> Result<(Guest, Place)> {
        let same = |resident: &mut Resident| resident.spec == *spec && resident.maker == maker;
        if let Some(resident) = self.resident.take_if(same) {
            let guest = resident.guest.clone();
            let place = find(&self.rig, &guest);
            if let Ok(place) = place
                && guest.answers(ANSWER_TIMEOUT)?
            {
                self.resident = Some(resident);
                return Ok((guest, place));
            }
        }
        clean::restore(&self.rig, &[])?;
        let guest = self
            .rig
            .host(Place::A)
            .create_guest_with(maker.program(), spec)
            .with_context(|| format!("{maker} cannot make the guest {}", spec.name))?;
        self.resident = Some(Resident { spec: spec.clone(), maker, guest: guest.clone() });
        Ok((guest, Place::A))
    }

    /// Ends the guest that the last scenario left, for one that needs the hosts to itself.
    pub(crate) fn dismiss(&mut self) -> Result<()> {
        self.resident = None;
        clean::restore(&self.rig, &[])
    }

    /// The guest has to run where it was, whole, and nothing else may be on the hosts.
    pub(crate) fn require_undisturbed(&self, guest: &Guest, place: Place) -> Result<()> {
        let found = find(&self.rig, guest)?;
        ensure!(found == place, "the guest is on host {} now", found.name());
        require_intact(guest)?;
        Ok(())
    }

    /// After a scenario: nothing may be left behind. Whatever was is removed.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let name = self.resident.as_ref().map(|resident| resident.spec.name.clone());
        clean::restore_link(&self.rig)?;
        let left = clean::leftovers(&self.rig, name.as_deref().as_slice());
        if let Some(Resident { guest, .. }) = &self.resident
            && !(find(&self.rig, guest).is_ok() && guest.answers(ANSWER_TIMEOUT)?)
        {
            self.resident = None;
        } else if left.as_ref().is_ok_and(Vec::is_empty) {
            return Ok(());
        }
        let name = name.filter(|_| self.resident.is_some());
        clean::restore(&self.rig, name.as_deref().as_slice())?;
        let left = left?;
        ensure!(left.is_empty(), "left behind: {}", left.join("; "));
        Ok(())
    }
}
