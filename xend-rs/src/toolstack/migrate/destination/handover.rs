//! From the last byte to the guest's first instruction.

use std::time::Instant;

use super::{Announced, Received, Receiver};
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::migration::RestoreReport;
use crate::stream::xend::Frame;
use crate::toolstack::journal::DestinationState;
use crate::toolstack::migrate::error::ReceiveError;
use crate::toolstack::migrate::host::{DestinationHost, HostError, Incoming};
use crate::toolstack::migrate::stage::{Stage, Step};
use crate::toolstack::migrate::words::{GO, READY, REPORT};

/// How many times as long an xl is waited for: it cannot ask what became of a handover that came too
/// late.
const WITH_XL: u32 = 6;

impl<H: DestinationHost> Receiver<'_, H> {
    /// Says that all is there, and waits for the sender's word.
    pub(super) fn await_handover(&mut self, guest: &Announced) -> Result<(), ReceiveError> {
        self.stage(Stage::Commitment);
        self.control
            .line("migration target: Transfer complete, requesting permission to start domain.");
        let started = Instant::now();
        match self.version {
            None => self.say(READY)?,
            Some(_) => self.say_frame(&Frame::Ready(guest.token))?,
        }
        self.reach(Step::Ready);
        self.source.get_mut().set_least(None);
        // Signs of life do not prolong it: what a sender has to do before it hands over is little.
        let patience = self.reception.limit * if self.version.is_some() { 1 } else { WITH_XL };
        self.set_deadline(Some(patience));
        if self.version.is_none() {
            let mut go = [0; GO.len()];
            let read = self.source.read_whole("the sender's permission to start", &mut go);
            read.map_err(|e| ReceiveError::NotGiven(error_line(&e)))?;
            if &go != GO {
                let text = "the migration stream contained unexpected data instead of GO message";
                return Err(ReceiveError::NotGiven(text.to_owned()));
            }
        } else {
            loop {
                match Frame::read(&mut self.source) {
                    Ok(Frame::Handover(token)) if token == guest.token => break,
                    Ok(Frame::KeepAlive | Frame::Other(_)) => {}
                    Ok(Frame::Cancel(why)) => return Err(ReceiveError::NotGiven(why)),
                    Ok(_) => {
                        let text = "the sender said what makes no sense here";
                        return Err(ReceiveError::NotGiven(text.to_owned()));
                    }
                    Err(error) => return Err(ReceiveError::NotGiven(error_line(&error))),
                }
            }
        }
        self.time("wait for handover", started.elapsed());
        let started = Instant::now();
        let decided = self
            .journal
            .decide(guest.token, &[DestinationState::Receiving], DestinationState::Owned)
            .map_err(ReceiveError::Journal)?;
        if decided.map(|record| record.state) != Some(DestinationState::Owned) {
            return Err(ReceiveError::Declined);
        }
        self.time("journal", started.elapsed());
        self.reach(Step::Owned);
        Ok(())
    }

    /// The guest is ours: lets it run, tells everybody.
    pub(super) fn activate(
        &mut self,
        guest: &Announced,
        incoming: H::Incoming,
        report: RestoreReport,
    ) -> Result<Received, ReceiveError> {
        self.stage(Stage::Activation);
        self.control.line("migration target: Got permission, starting domain.");
        let domid = incoming.domid();
        // Should this process die now, the journal says that the guest is to be started.
        incoming.keep();
        if let Err(error) = self.start(domid) {
            return Err(self.give_back(guest, domid, error));
        }
        // The sender has only this to wait for; the guest is ours whether it hears it or not.
        let told = match self.version {
            None => self.say(REPORT).and_then(|()| self.say(&[0])),
            Some(_) => self.say_frame(&Frame::Running(self.timings.clone())),
        };
        if let Err(error) = told {
            log::warn!("the sender does not hear that the guest runs: {}", error_line(&error));
        }
        self.control.line("migration target: Domain started successsfully.");
        let identity = &guest.identity;
        // It runs and is ours, whatever it is called: a name that is taken is no reason to stop it.
        if let Err(error) = self.host.rename(domid, &identity.incoming_name(), &identity.name) {
            log::error!("{}", error_line(&error));
        }
        self.reach(Step::Running);
        // Until then what is left to do would only take the processor from the guest.
        self.host.await_announced();
        if self.reception.monitor
            && let Err(error) = self.host.start_monitor(domid)
        {
            log::error!("nothing watches over {domid}: {}", error_line(&error));
        }
        self.journal
            .decide(guest.token, &[DestinationState::Owned], DestinationState::Running)
            .map_err(ReceiveError::Journal)?;
        let (name, timings) = (guest.identity.name.clone(), self.timings.clone());
        Ok(Received::Guest { domid, name, report, timings })
    }

    /// Its first instruction.
    fn start(&mut self, domid: Domid) -> Result<(), HostError> {
        if self.reception.paused {
            return Ok(());
        }
        let started = Instant::now();
        self.host.unpause(domid)?;
        self.time("unpause", started.elapsed());
        self.host.announce();
        Ok(())
    }

    /// It is ours, has never run, and cannot: the sender gets it back.
    fn give_back(&mut self, guest: &Announced, domid: Domid, error: HostError) -> ReceiveError {
        if self.version.is_none() {
            let _ = self.say(REPORT).and_then(|()| self.say(&[3]));
        }
        self.control.line("migration target: Failure, destroying our copy.");
        let declined = self.journal.decide(
            guest.token,
            &[DestinationState::Owned],
            DestinationState::Declined,
        );
        if let Err(error) = declined {
            return ReceiveError::Journal(error);
        }
        if let Err(error) = self.host.destroy(domid) {
            self.control.line(format!(
                "migration target: Failed to destroy our copy ({}).",
                error_line(&error)
            ));
            return error.into();
        }
        self.control.line("migration target: Cleanup OK, granting sender permission to resume.");
        let _ = match self.version {
            None => self.say(GO),
            Some(_) => self.say_frame(&Frame::Failed(error_line(&error))),
        };
        error.into()
    }
}
