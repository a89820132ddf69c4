//! The point of no return, and both sides of it.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use super::finishing::Finishing;
use super::{Sender, unexpected};
use crate::error_line::error_line;
use crate::stream::xend::{Frame, Verdict};
use crate::toolstack::journal::{Side, SourceState};
use crate::toolstack::migrate::ear::Heard;
use crate::toolstack::migrate::error::MigrateError;
use crate::toolstack::migrate::host::SourceHost;
use crate::toolstack::migrate::stage::{Stage, Step};
use crate::toolstack::migrate::words::GO;

/// How often it is looked how far the destination is.
const LOOK_UP: Duration = Duration::from_millis(100);
/// How many times a dead peer's limit the last word of a peer is waited for that cannot be asked.
const UNASKABLE: u32 = 10;
/// How long it is waited before a destination is asked again: little at first, for one that is just
/// starting the guest does not answer.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(1);

impl<H: SourceHost> Sender<'_, H> {
    /// Everything is there: waits until the destination says so, and does meanwhile what it must
    /// before it hands over.
    pub(super) fn await_ready(&mut self) -> Result<(), MigrateError> {
        self.stage(Stage::Commitment);
        let started = Instant::now();
        let identity = &self.departure.identity;
        self.host.rename(self.departure.domid, &identity.name, &identity.away_name())?;
        if self.version.is_some() {
            // A peer that can be asked: this takes nothing away from the guest if we go now.
            self.note(SourceState::Given).map_err(MigrateError::Journal)?;
        }
        self.report.step("rename and journal", started.elapsed());
        let started = Instant::now();
        let mut finishing = Finishing::start(self.departure.limit);
        loop {
            let left = finishing.left(Instant::now(), self.ear.taken_bytes());
            match self.ear.next(Some(left.min(LOOK_UP))) {
                // One that comes late.
                Some(Heard::Answer(_)) => {}
                Some(Heard::Ready(None)) if self.version.is_none() => break,
                Some(Heard::Ready(Some(token)))
                    if self.version.is_some() && token == self.departure.token =>
                {
                    break;
                }
                // Who cancels hangs up, and that is heard, too.
                _ if self.ear.is_cancelled() => return Err(self.tell_cancelled()),
                Some(Heard::Lost(why) | Heard::Failed(why)) => return Err(MigrateError::Peer(why)),
                Some(other) => return Err(unexpected(&other)),
                None if left.is_zero() => {
                    let text = "it has been sent everything, and does not get ready";
                    return Err(MigrateError::Peer(text.to_owned()));
                }
                None => {}
            }
        }
        self.report.step("wait for ready", started.elapsed());
        self.control.line("migration sender: Target has acknowledged transfer.");
        if self.version.is_none() {
            self.note(SourceState::Given).map_err(MigrateError::Journal)?;
        }
        self.reach(Step::Given);
        if self.ear.commit() { Ok(()) } else { Err(self.tell_cancelled()) }
    }

    /// The peer would find out by itself that the connection is closed; so it knows why.
    fn tell_cancelled(&mut self) -> MigrateError {
        if self.version.is_some() {
            let _ = Frame::Cancel("cancelled at the source".to_owned()).write(&mut self.sink);
        }
        MigrateError::Cancelled
    }

    /// The point of no return.
    pub(super) fn hand_over(&mut self, guest: H::Guest) -> Result<(), MigrateError> {
        self.control.line("migration sender: Giving target permission to start.");
        let started = Instant::now();
        let written = match self.version {
            None => self.sink.write_all(GO),
            Some(_) => Frame::Handover(self.departure.token).write(&mut self.sink),
        };
        self.reach(Step::HandedOver);
        self.stage(Stage::Activation);
        let end = match written {
            Ok(()) => self.await_running(),
            Err(error) => Handed::Unknown(error.to_string()),
        };
        let end = match end {
            Handed::Unknown(why) if self.version.is_some() => self.ask_who_owns_it(&why),
            end => end,
        };
        match end {
            Handed::Running => {
                self.report.step("wait for running", started.elapsed());
                self.clock.runs_again(&mut self.report);
                self.control.line("migration sender: Target reports successful startup.");
                self.reach(Step::Confirmed);
                drop(guest);
                self.tear_down()
            }
            Handed::Returned(why) => {
                self.control.line("migration sender: Trying to resume at our end.");
                let error = self.take_back(MigrateError::Peer(why));
                drop(guest);
                Err(error)
            }
            Handed::Unknown(why) => {
                // Nobody needs it to be tracked, whoever it belongs to.
                drop(guest);
                Err(MigrateError::Undecided { why })
            }
        }
    }

    fn await_running(&mut self) -> Handed {
        // Of a xend it can be found out in another way.
        let wait = self.departure.limit * if self.version.is_some() { 1 } else { UNASKABLE };
        let deadline = Instant::now() + wait;
        let mut failed = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.ear.next(Some(left)) {
                Some(Heard::Answer(_)) => {}
                Some(Heard::Running(timings)) => {
                    self.report.add_destination(&timings);
                    return Handed::Running;
                }
                Some(Heard::Report(0)) => return Handed::Running,
                Some(Heard::Report(status)) => {
                    let text = format!("Target reports startup failure (status code {status}).");
                    self.control.line(format!("migration sender: {text}"));
                    failed = Some(text);
                }
                Some(Heard::Failed(why)) => return Handed::Returned(why),
                Some(Heard::Back) if failed.is_some() => {
                    return Handed::Returned(failed.unwrap_or_default());
                }
                Some(Heard::Lost(why)) => return Handed::Unknown(why),
                Some(other) => return Handed::Unknown(unexpected(&other).to_string()),
                None => return Handed::Unknown("no word from it in time".to_owned()),
            }
        }
    }

    /// The connection is gone: asks on another one, for as long as a dead peer is waited for.
    fn ask_who_owns_it(&self, lost: &str) -> Handed {
        self.control.line(format!("migration sender: {lost}; asking the destination who owns it"));
        let deadline = Instant::now() + self.departure.limit;
        let mut pause = FIRST_PAUSE;
        loop {
            let why = match (self.ask)(self.departure.token) {
                Ok(Verdict::Mine) => return Handed::Running,
                Ok(Verdict::Yours) => return Handed::Returned(lost.to_owned()),
                Ok(_) => return Handed::Unknown("the destination knows nothing of it".to_owned()),
                Err(error) => error_line(&error),
            };
            if Instant::now() >= deadline {
                return Handed::Unknown(why);
            }
            thread::sleep(pause.min(self.departure.limit));
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// It runs elsewhere.
    fn tear_down(&mut self) -> Result<(), MigrateError> {
        self.host.destroy(self.departure.domid).map_err(MigrateError::NotDestroyed)?;
        self.journal.remove(Side::Source, self.departure.token).map_err(MigrateError::Journal)?;
        self.control.line("Migration successful.");
        Ok(())
    }
}

/// How a handover ended.
enum Handed {
    /// It runs there.
    Running,
    /// It never will.
    Returned(String),
    /// Nobody knows.
    Unknown(String),
}
