//! The stream: memory and state, through the engine.

use std::io::Write;
use std::time::{Duration, Instant};

use super::Sender;
use super::confirmed::ConfirmedSink;
use super::foresight::{Foresight, Foretold};
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::migration::policy::{Adaptive, CpuShare};
use crate::migration::probe::{Census, Probe, ProbeOptions};
use crate::migration::progress::{self, Progress};
use crate::migration::toolstack::{SourceToolstack, ToolstackError};
use crate::migration::{Cancel, PauseBudget, SaveFailure, SaveOptions, Tracking, save};
use crate::stream::{libxl, xend};
use crate::toolstack::journal::{Journal, SourceRecord, SourceState};
use crate::toolstack::migrate::control::{Control, Event};
use crate::toolstack::migrate::ear::{Ear, Heard};
use crate::toolstack::migrate::error::MigrateError;
use crate::toolstack::migrate::host::{Agent, HostError, SourceHost};
use crate::toolstack::migrate::report::{Clock, Report};
use crate::toolstack::migrate::stage::{Stage, Step};
use crate::toolstack::notify::LinkShare;

/// How long the peer's last words are waited for once the connection broke.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How the guest writes is looked at for so long before round 0.
const PROBE: ProbeOptions = ProbeOptions {
    window: Duration::from_millis(50),
    length: Duration::from_secs(1),
    tracking: Tracking::LogDirty,
    readers: 1,
    trace: false,
};

/// libxl's END record.
const LIBXL_END: &[u8] = &[0; 8];

impl<H: SourceHost> Sender<'_, H> {
    /// The stream, up to and including its END.
    pub(super) fn send(&mut self, guest: &mut H::Guest) -> Result<(), MigrateError> {
        let mut head = Vec::new();
        if let Some(version) = self.version {
            head.extend(xend::encode_preface(version));
        }
        let built = libxl::write::header(&mut head, &libxl::Header::default())
            .and_then(|()| libxl::write::libxc_context(&mut head));
        built.and_then(|()| self.sink.write_all(&head)).map_err(|e| self.blame(e.into()))?;
        let began = self.clock.elapsed();
        let policy = Adaptive::new(self.departure.rounds);
        let zero_pages = self.version.is_some() && self.capabilities & xend::ZERO_PAGES != 0;
        let options = SaveOptions {
            policy: &policy,
            probe: Some(PROBE),
            put_off: Some(PauseBudget::default()),
            tracking: self.departure.tracking,
            verify: self.departure.verify,
            zero_pages,
            trailer: LIBXL_END,
            keep_tracking: true,
            ..SaveOptions::stock(true)
        };
        let mut bridge = Bridge {
            host: self.host,
            journal: self.journal,
            control: self.control,
            record: &mut self.record,
            stop: self.stop,
            agent: &*self.agent,
            ear: self.ear,
            share: Some(LinkShare::default()),
            foresight: Foresight::new(self.departure.rounds, zero_pages),
            clock: &mut self.clock,
            report: &mut self.report,
        };
        let (sent_bytes, limit) = (head.len() as u64, self.departure.limit);
        let mut sink = ConfirmedSink::new(&mut self.sink, self.ear, self.stop, sent_bytes, limit);
        match save(guest, &mut bridge, &mut sink, &options, self.stop) {
            Ok(saved) => {
                self.report.add_save(&saved, began);
                Ok(())
            }
            Err(error) => {
                let_go(self.host, self.departure.domid);
                Err(self.blame(Blame::Save(error)))
            }
        }
    }

    /// What a failed transfer is put down to: who cancelled it, or what the peer said last.
    fn blame(&self, failure: Blame) -> MigrateError {
        if self.ear.is_cancelled() {
            return MigrateError::Cancelled;
        }
        let is_connection = match &failure {
            Blame::Io(_) => true,
            Blame::Save(e) => matches!(e.cause, SaveFailure::Send { .. } | SaveFailure::Cancelled),
        };
        if is_connection
            && let Some(Heard::Lost(why) | Heard::Failed(why)) = self.ear.next(Some(LAST_WORDS))
        {
            return MigrateError::Peer(why);
        }
        match failure {
            Blame::Io(error) => MigrateError::Send(error),
            Blame::Save(error) => error.into(),
        }
    }
}

/// The guest is not slowed down any more.
fn let_go<H: SourceHost>(host: &H, domid: Domid) {
    if let Err(error) = host.set_cpu_share(domid, CpuShare::FULL) {
        log::error!("{domid} may still be slowed down: {}", error_line(&error));
    }
}

/// What a transfer failed with.
enum Blame {
    Io(std::io::Error),
    Save(crate::migration::SaveError),
}

impl From<std::io::Error> for Blame {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// The toolstack, as the engine asks it.
struct Bridge<'a, H> {
    host: &'a H,
    journal: &'a dyn Journal,
    control: &'a Control,
    record: &'a mut SourceRecord,
    stop: &'a Cancel,
    agent: &'a dyn Agent,
    ear: &'a Ear,
    /// `None` once nobody gets turns any more.
    share: Option<LinkShare>,
    foresight: Foresight,
    clock: &'a mut Clock,
    report: &'a mut Report,
}

impl<H> Bridge<'_, H> {
    fn foretell(&mut self, foretold: &Foretold) {
        let Foretold { prediction, link, .. } = foretold;
        self.control.line(format!("migration sender: expected over {link}: {prediction}"));
        self.report.foretell(foretold, self.clock);
    }
}

impl<H: SourceHost> SourceToolstack for Bridge<'_, H> {
    fn suspend(&mut self) -> Result<(), ToolstackError> {
        let request = "suspend the guest";
        self.record.state = SourceState::Suspending;
        self.journal
            .write_source(self.record)
            .map_err(|e| ToolstackError::Failed { request, source: e.into() })?;
        self.control.steps.reach(Step::Suspending);
        self.agent.suspending();
        self.clock.stopped = Some(Instant::now());
        let suspended = self.host.suspend(self.record.domid(), self.stop);
        // Not before: what a rogue writes between the request and its end would be all that it can.
        let_go(self.host, self.record.domid());
        suspended.map_err(|e| ToolstackError::Failed { request, source: e.into() })?;
        self.control.steps.reach(Step::Suspended);
        Ok(())
    }

    fn set_cpu_share(&mut self, share: CpuShare) -> Result<(), ToolstackError> {
        let failed = |e: HostError| ToolstackError::Failed {
            request: "slow the guest down",
            source: e.into(),
        };
        self.host.set_cpu_share(self.record.domid(), share).map_err(failed)
    }

    fn hold_writers(&mut self) -> bool {
        let held = self.agent.suspending();
        if held > 0 {
            self.share = None;
            self.control.line(format!(
                "migration sender: {held} processes that write too fast stand still until it has moved"
            ));
        }
        held > 0
    }

    fn resume(&mut self) -> Result<(), ToolstackError> {
        // Once the guest is as it was before, in all respects: see `put_back`.
        Ok(())
    }

    /// Guests with a device model are refused before.
    fn set_device_model_log_dirty(&mut self, _: bool) -> Result<(), ToolstackError> {
        Ok(())
    }

    fn probed(&mut self, probe: &Probe, census: &Census) {
        log::info!(
            "{}: it writes {:.0} pages/s; {} pages of it are not zero, and {} are",
            self.record.domid(),
            probe.pages_per_s(),
            census.nonzero_pages(),
            census.zero_pages,
        );
        if let Some(share) = &mut self.share {
            share.tracked_by(probe.tracking);
        }
        self.foresight.probed(probe, census);
    }

    fn progress(&mut self, progress: &Progress) {
        let taken_bytes = self.ear.taken_bytes();
        if let Some(foretold) = self.foresight.progress(Instant::now(), progress, taken_bytes) {
            self.foretell(&foretold);
        }
        let stage = match progress.stage {
            progress::Stage::PreCopy { .. } | progress::Stage::Receiving => Stage::PreCopy,
            progress::Stage::StopAndCopy | progress::Stage::Verify => Stage::StopAndCopy,
        };
        if stage == Stage::PreCopy
            && let Some(share) = &mut self.share
            && let Some(rate_bytes_per_s) = share.progress(Instant::now(), progress, taken_bytes)
        {
            self.agent.pre_copy(rate_bytes_per_s);
        }
        if progress.done_pages == 0 {
            self.clock.enter(stage, self.report);
            (self.control.show)(&Event::Stage(stage));
        }
        (self.control.show)(&Event::Progress(*progress));
    }
}
