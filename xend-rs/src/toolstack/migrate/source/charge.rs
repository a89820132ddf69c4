//! Whose attempt it is: from when the destination has agreed until the guest has left, or stays.

use super::Sender;
use crate::error_line::error_line;
use crate::toolstack::journal::{Claim, Side, SourceRecord, SourceState};
use crate::toolstack::migrate::error::MigrateError;
use crate::toolstack::migrate::host::{HostError, SourceHost};
use crate::toolstack::migrate::recover::put_back;

impl<H: SourceHost> Sender<'_, H> {
    /// Writes down that this process moves the guest, for as long as the value lives.
    pub(super) fn take_charge(&mut self) -> Result<Claim, MigrateError> {
        let claim = self.journal.claim(Side::Source, self.departure.token);
        let claim = claim.map_err(MigrateError::Journal)?.ok_or(MigrateError::Busy)?;
        self.forget_earlier_attempts()?;
        self.note(SourceState::Sending).map_err(MigrateError::Journal)?;
        Ok(claim)
    }

    /// Records of attempts that were killed: this one takes over from them, so that nobody settles
    /// them later over its head.
    fn forget_earlier_attempts(&self) -> Result<(), MigrateError> {
        for (side, token) in self.journal.list().map_err(MigrateError::Journal)? {
            if side != Side::Source || token == self.departure.token {
                continue;
            }
            let earlier = match self.journal.source(token) {
                Ok(earlier) => earlier,
                // One that cannot be read keeps no guest here; `xend recover` names it.
                Err(error) => {
                    log::error!("{token} cannot be read: {error}");
                    continue;
                }
            };
            let of_this_guest = |record: &SourceRecord| {
                record.domid == self.record.domid
                    && record.identity.uuid == self.record.identity.uuid
            };
            let Some(earlier) = earlier.filter(of_this_guest) else { continue };
            let claim = self.journal.claim(Side::Source, token).map_err(MigrateError::Journal)?;
            if claim.is_none() {
                return Err(MigrateError::Busy);
            }
            if earlier.state == SourceState::Given {
                return Err(MigrateError::Unsettled { peer: earlier.peer.to_string() });
            }
            self.journal.remove(Side::Source, token).map_err(MigrateError::Journal)?;
        }
        Ok(())
    }

    pub(super) fn note(&mut self, state: SourceState) -> std::io::Result<()> {
        self.record.state = state;
        self.journal.write_source(&self.record)
    }

    /// It stays here: as it was before.
    pub(super) fn take_back(&mut self, after: MigrateError) -> MigrateError {
        let result = put_back(self.host, self.journal, &self.record);
        self.agent.cancelled();
        self.clock.runs_again(&mut self.report);
        match result {
            Ok(true) => after,
            Ok(false) => MigrateError::NotResumed {
                after: error_line(&after),
                source: HostError::new("it is not here any more"),
            },
            Err(source) => MigrateError::NotResumed { after: error_line(&after), source },
        }
    }
}
