//! The source of a migration, or a save to a file: a flat list of phases and one way to fail.

use std::thread;
use std::time::{Duration, Instant};

use super::cancel::Cancel;
use super::error::{Phase, SaveError, SaveFailure};
use super::outgoing::Outgoing;
use super::pass::{Pass, PassEnd};
use super::policy::{Decision, History, Policy};
use super::progress::Stage;
use super::report::{PassReport, SaveReport};
use super::sink::Sink;
use super::toolstack::SourceToolstack;
use crate::hypervisor::{Liveness, PfnSet, SourceGuest};
use crate::stream::libxc::{DomainHeader, ImageHeader, ImageVersion, Record, write};

/// What may wait in a queue when a round ends, as time at the receiver's rate: enough to keep the
/// link busy while the next round or the suspend begins, which takes longer.
const QUEUE_AHEAD: Duration = Duration::from_millis(50);

/// How to save.
#[derive(Clone, Copy, Debug)]
pub struct SaveOptions {
    /// Copy memory while the guest runs, and suspend it only for the rest. Otherwise the guest is
    /// suspended first.
    pub live: bool,
    /// After the last pass send everything again, for the receiver to compare.
    pub verify: bool,
    /// When to stop copying a running guest.
    pub policy: Policy,
    /// What follows the image, to be sent right behind it.
    pub trailer: &'static [u8],
    /// After a success leave write tracking on. Turning it off takes time that a guest on its way
    /// would wait; the caller does it once the guest runs elsewhere.
    pub keep_tracking: bool,
}

/// Sends `guest` to `sink` as a libxc v3 image, up to and including the END record.
///
/// # Errors
/// Whatever failed first, with its phase. By then write tracking is off and a suspended guest has
/// been resumed (through the toolstack); the bytes that were sent are worth nothing.
pub fn save<G, T, W>(
    guest: &mut G,
    toolstack: &mut T,
    sink: &mut W,
    options: &SaveOptions,
    cancel: &Cancel,
) -> Result<SaveReport, SaveError>
where
    G: SourceGuest,
    T: SourceToolstack,
    W: Sink + Send,
{
    let pfns = guest.pfn_count();
    thread::scope(|scope| {
        let mut save = Save {
            outgoing: Outgoing::start(scope, sink),
            guest,
            toolstack,
            options,
            cancel,
            phase: Phase::Tracking,
            unsent: PfnSet::full(pfns),
            owed: PfnSet::empty(pfns),
            tracking: false,
            asked_to_suspend: false,
            report: SaveReport::default(),
        };
        let started = Instant::now();
        let outcome = save.run();
        save.settle(outcome, started)
    })
}

/// A save under way.
struct Save<'a, 'scope, G, T> {
    guest: &'a mut G,
    toolstack: &'a mut T,
    outgoing: Outgoing<'scope>,
    options: &'a SaveOptions,
    cancel: &'a Cancel,
    phase: Phase,
    /// Pages of the next pass. Bits that Xen cleared live here until they are sent.
    unsent: PfnSet,
    /// Pages that earlier passes could not read: they must be looked at in the last one.
    owed: PfnSet,
    tracking: bool,
    asked_to_suspend: bool,
    report: SaveReport,
}

impl SaveOptions {
    /// A save as Xen's own tools do it, of a running guest or of one that is suspended first.
    pub fn stock(live: bool) -> Self {
        let policy = super::policy::stock;
        Self { live, verify: false, policy, trailer: &[], keep_tracking: false }
    }
}

impl<G: SourceGuest, T: SourceToolstack> Save<'_, '_, G, T> {
    /// The phases, in order.
    fn run(&mut self) -> Result<(), PassEnd> {
        let live = self.options.live;
        if live {
            self.enter(Phase::Tracking, Self::start_tracking)?;
        }
        self.enter(Phase::Preamble, Self::send_preamble)?;
        if live {
            self.enter(Phase::PreCopy, Self::pre_copy)?;
        }
        self.enter(Phase::Suspend, Self::suspend)?;
        self.enter(Phase::StopAndCopy, Self::stop_and_copy)?;
        if self.options.verify {
            self.enter(Phase::Verify, Self::send_again_to_verify)?;
        }
        self.enter(Phase::State, Self::send_state)
    }

    fn enter(
        &mut self,
        phase: Phase,
        body: impl FnOnce(&mut Self) -> Result<(), PassEnd>,
    ) -> Result<(), PassEnd> {
        self.phase = phase;
        log::debug!("{}: {phase}", self.guest.domid());
        if self.cancel.is_cancelled() {
            return Err(SaveFailure::Cancelled.into());
        }
        body(self)
    }

    /// Before the first byte: where writes cannot be tracked, the receiver hears nothing.
    fn start_tracking(&mut self) -> Result<(), PassEnd> {
        // Set first, so that a half-done start is undone too.
        self.tracking = true;
        self.guest.enable_log_dirty()?;
        self.toolstack.set_device_model_log_dirty(true)?;
        Ok(())
    }

    fn send_preamble(&mut self) -> Result<(), PassEnd> {
        let (xen_major, xen_minor) = self.guest.xen_version();
        let domain = DomainHeader { guest_type: self.guest.guest_type(), xen_major, xen_minor };
        let mut bytes = ImageHeader { version: ImageVersion::V3 }.encode().to_vec();
        bytes.extend(domain.encode());
        let mut records = self.guest.static_records()?;
        records.push(Record::StaticDataEnd);
        records.extend(self.guest.layout_records()?);
        self.send_records(bytes, &records, &[])
    }

    fn pre_copy(&mut self) -> Result<(), PassEnd> {
        loop {
            let round = self.report.rounds.len() as u32;
            let report = self.pass(Stage::PreCopy { round })?;
            log::info!(
                "{}: round {round}: {} pages in {} ms",
                self.guest.domid(),
                report.data_pages,
                report.duration.as_millis()
            );
            self.report.rounds.push(report);
            // What the guest writes while this round's pages wait in a queue is sent once more, and
            // what waits when the guest is suspended makes it wait, too.
            self.outgoing.wait_until_taken(QUEUE_AHEAD)?;
            self.guest.check_layout()?;

            let mut history = History { rounds_done: round + 1, dirty_pages: None };
            if (self.options.policy)(&history) == Decision::StopAndCopy {
                return Ok(());
            }
            let stats = self.guest.take_dirty(&mut self.unsent, Liveness::Running)?;
            history.dirty_pages = Some(stats.dirty_pages);
            if (self.options.policy)(&history) == Decision::StopAndCopy {
                return Ok(());
            }
        }
    }

    fn suspend(&mut self) -> Result<(), PassEnd> {
        let started = Instant::now();
        self.asked_to_suspend = true;
        self.toolstack.suspend()?;
        if !self.guest.confirm_suspended()? {
            return Err(SaveFailure::NotSuspended { domid: self.guest.domid() }.into());
        }
        self.report.suspend = started.elapsed();
        Ok(())
    }

    fn stop_and_copy(&mut self) -> Result<(), PassEnd> {
        if self.tracking {
            self.guest.take_dirty(&mut self.unsent, Liveness::Suspended)?;
        }
        self.guest.check_layout()?;
        self.unsent.union_with(&self.owed);
        self.report.last_pass = self.pass(Stage::StopAndCopy)?;
        Ok(())
    }

    fn send_again_to_verify(&mut self) -> Result<(), PassEnd> {
        self.send_records(Vec::new(), &[Record::Verify], &[])?;
        self.unsent = PfnSet::full(self.guest.pfn_count());
        self.pass(Stage::Verify)?;
        Ok(())
    }

    fn send_state(&mut self) -> Result<(), PassEnd> {
        let started = Instant::now();
        let mut records = self.guest.suspended_records()?;
        records.push(Record::End);
        self.send_records(Vec::new(), &records, self.options.trailer)?;
        self.outgoing.drain()?;
        self.report.state = started.elapsed();
        Ok(())
    }

    /// Queues `records`, between `head` and `tail`.
    fn send_records(
        &mut self,
        head: Vec<u8>,
        records: &[Record],
        tail: &[u8],
    ) -> Result<(), PassEnd> {
        let mut bytes = head;
        for record in records {
            write::record(&mut bytes, record).map_err(SaveFailure::BadRecord)?;
        }
        bytes.extend_from_slice(tail);
        Ok(self.outgoing.send_bytes(bytes)?)
    }

    /// Sends all that is unsent, and leaves nothing unsent behind.
    fn pass(&mut self, stage: Stage) -> Result<PassReport, PassEnd> {
        let set = &self.unsent;
        let pass = Pass {
            guest: self.guest,
            toolstack: self.toolstack,
            outgoing: &self.outgoing,
            cancel: self.cancel,
            owed: &mut self.owed,
        };
        let report = pass.send(set, stage)?;
        self.unsent.clear();
        Ok(report)
    }

    /// The end of every save, good or bad: tracking off, and after a failure the guest resumed.
    ///
    /// What goes wrong in here is logged and does not hide what went wrong before.
    fn settle(
        mut self,
        outcome: Result<(), PassEnd>,
        started: Instant,
    ) -> Result<SaveReport, SaveError> {
        let domid = self.guest.domid();
        let failed = outcome.is_err();
        if failed || !self.options.keep_tracking {
            self.stop_tracking();
        }
        let cancelled = self.cancel.is_cancelled();
        if failed {
            // Nobody wants what is still queued; a writer that waits for the peer must not hold us.
            self.cancel.cancel();
        }
        if failed
            && self.asked_to_suspend
            && let Err(error) = self.toolstack.resume()
        {
            log::error!("{domid}: cannot resume it after the failure: {error}");
        }

        let sent_bytes = self.outgoing.sent_bytes();
        let written = self.outgoing.finish();
        let cause = match (outcome, written) {
            (Ok(()), Ok(())) => {
                self.report.sent_bytes = sent_bytes;
                self.report.total = started.elapsed();
                return Ok(self.report);
            }
            (Err(PassEnd::Failed(cause)), _) => cause,
            (_, Err(source)) if cancelled => {
                log::debug!("{domid}: the transport stopped: {source}");
                SaveFailure::Cancelled
            }
            (_, Err(source)) => SaveFailure::Send { sent_bytes, source },
            (Err(PassEnd::Broken), Ok(())) => {
                unreachable!("the writer stops early only with an error")
            }
        };
        Err(SaveError { phase: self.phase, cause })
    }

    fn stop_tracking(&mut self) {
        if !std::mem::take(&mut self.tracking) {
            return;
        }
        let domid = self.guest.domid();
        if let Err(error) = self.guest.disable_log_dirty() {
            log::error!("{domid}: cannot turn write tracking off: {error}");
        }
        if let Err(error) = self.toolstack.set_device_model_log_dirty(false) {
            log::error!("{domid}: cannot turn the device model's write tracking off: {error}");
        }
    }
}
