//! The source of a migration, or a save to a file: a flat list of phases and one way to fail.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Instant;

use super::cancel::Cancel;
use super::error::{Phase, SaveError, SaveFailure};
use super::heat::Heat;
use super::order::Order;
use super::outgoing::Outgoing;
use super::pass::{Pass, PassEnd};
use super::policy::{self, Policy};
use super::probe::ProbeOptions;
use super::progress::Stage;
use super::put_off::{PauseBudget, PutOff};
use super::rate::Rate;
use super::report::{PassReport, SaveReport};
use super::sink::Sink;
use super::toolstack::SourceToolstack;
use super::tracker::{self, Tracker, Tracking};
use super::turnaround::Turnaround;
use crate::hypervisor::{EverythingTravels, Liveness, PfnSet, Result as GuestResult, SourceGuest};
use crate::stream::libxc::{DomainHeader, ImageHeader, ImageVersion, Record, write};

/// How to save.
#[derive(Clone, Copy)]
pub struct SaveOptions<'a> {
    /// Copy memory while the guest runs, and suspend it only for the rest. Otherwise the guest is
    /// suspended first.
    pub live: bool,
    /// How to learn what a running guest writes. Of no matter if it does not run.
    pub tracking: Tracking,
    /// After the last pass send everything again, for the receiver to compare.
    pub verify: bool,
    /// When to stop copying a running guest.
    pub policy: &'a dyn Policy,
    /// Look how the guest writes before round 0, where Xen notes its writes: the policy, the order of
    /// round 0 and the toolstack's prediction are the better for it.
    pub probe: Option<ProbeOptions>,
    /// Send pages that are seldom written first, and put off to the next round those that the guest has
    /// written again before their turn. What it may cost the guest to look. By log-dirty only.
    pub put_off: Option<PauseBudget>,
    /// Threads that read guest memory where all of it must be read again and again.
    pub readers: NonZeroUsize,
    /// The receiver is one that makes pages of zeroes itself: they travel as a record of xend's own, and
    /// pfns without memory not at all. A stock receiver must be sent them in full.
    pub zero_pages: bool,
    /// What follows the image, to be sent right behind it.
    pub trailer: &'a [u8],
    /// After a success leave write tracking on. Turning it off takes time that a guest on its way
    /// would wait; the caller does it once the guest runs elsewhere.
    pub keep_tracking: bool,
}

/// Threads that reading is of use to. Each page's type is asked of Xen, which answers one at a time.
const MAX_READERS: usize = 8;

impl SaveOptions<'static> {
    /// The usual way to save, live or not: log-dirty where Xen has it, the rounds of Xen's own
    /// tools, and as many readers as this host has vCPUs, up to 8.
    pub fn stock(live: bool) -> Self {
        let vcpus = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let most = NonZeroUsize::new(MAX_READERS).expect("it is not zero");
        Self {
            live,
            tracking: Tracking::Auto,
            verify: false,
            policy: &policy::Stock,
            probe: None,
            put_off: None,
            readers: vcpus.min(most),
            zero_pages: false,
            trailer: &[],
            keep_tracking: false,
        }
    }
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
    options: &SaveOptions<'_>,
    cancel: &Cancel,
) -> Result<SaveReport, SaveError>
where
    G: SourceGuest,
    T: SourceToolstack,
    W: Sink + Send,
{
    let tracking = if options.live { options.tracking } else { Tracking::None };
    let readers = options.readers.get();
    let start = |guest: &mut G| tracker::start(guest, tracking, readers);
    save_with(guest, toolstack, sink, options, cancel, start)
}

/// Like [`save`], with a tracker that the caller brings: `start` is called before the first byte, and
/// gives one that has started.
///
/// # Errors
/// As for [`save`].
pub fn save_with<G, T, W>(
    guest: &mut G,
    toolstack: &mut T,
    sink: &mut W,
    options: &SaveOptions<'_>,
    cancel: &Cancel,
    start: impl FnOnce(&mut G) -> GuestResult<Box<dyn Tracker<G>>>,
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
            told: PfnSet::empty(pfns),
            heat: Heat::new(pfns),
            turnaround: Turnaround::default(),
            put_off: options.put_off.map(|budget| PutOff::new(pfns, budget)),
            owed: PfnSet::empty(pfns),
            tracker: None,
            passes: 0,
            device_model_log: false,
            asked_to_suspend: false,
            until: None,
            limit: None,
            started: Instant::now(),
            report: SaveReport::default(),
        };
        let outcome = save.run(start);
        save.settle(outcome)
    })
}

/// A save under way.
pub(super) struct Save<'a, 'scope, G, T> {
    pub(super) guest: &'a mut G,
    pub(super) toolstack: &'a mut T,
    pub(super) outgoing: Outgoing<'scope>,
    pub(super) options: &'a SaveOptions<'a>,
    pub(super) cancel: &'a Cancel,
    pub(super) phase: Phase,
    /// Pages that the receiver lacks. Bits that Xen cleared live here until their pages are sent.
    pub(super) unsent: PfnSet,
    /// What the tracker told last.
    pub(super) told: PfnSet,
    pub(super) heat: Heat,
    /// Where pages are put off: those that are.
    pub(super) put_off: Option<PutOff>,
    pub(super) turnaround: Turnaround,
    /// Pages that earlier passes could not read: they must be looked at in the last one.
    pub(super) owed: PfnSet,
    /// What knows which pages must travel, from the first phase to the end.
    pub(super) tracker: Option<Box<dyn Tracker<G>>>,
    /// Passes that have been made.
    pub(super) passes: u32,
    pub(super) device_model_log: bool,
    pub(super) asked_to_suspend: bool,
    /// When a live round has to end, though not all is sent.
    pub(super) until: Option<Instant>,
    /// How fast bytes may travel.
    pub(super) limit: Option<Rate>,
    pub(super) started: Instant,
    pub(super) report: SaveReport,
}

impl<G: SourceGuest, T: SourceToolstack> Save<'_, '_, G, T> {
    /// The phases, in order.
    fn run(
        &mut self,
        start: impl FnOnce(&mut G) -> GuestResult<Box<dyn Tracker<G>>>,
    ) -> Result<(), PassEnd> {
        self.enter(Phase::Tracking, |save| save.start_tracking(start))?;
        self.enter(Phase::Preamble, Self::send_preamble)?;
        if self.tracker().is_live() {
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

    /// Before the first byte: where writes cannot be tracked, no byte of the image is sent.
    fn start_tracking(
        &mut self,
        start: impl FnOnce(&mut G) -> GuestResult<Box<dyn Tracker<G>>>,
    ) -> Result<(), PassEnd> {
        let tracker = self.tracker.insert(start(self.guest)?);
        self.report.tracking = tracker.tracking();
        if self.tracker().needs_device_model_log() {
            // Set first, so that a half-done start is undone too.
            self.device_model_log = true;
            self.toolstack.set_device_model_log_dirty(true)?;
        }
        Ok(())
    }

    pub(super) fn tracker(&self) -> &dyn Tracker<G> {
        self.tracker.as_deref().expect("tracking is the first phase")
    }

    /// Asks for the pages of the next pass. They are unsent from now on, with those that still are.
    pub(super) fn next_set(&mut self, liveness: Liveness) -> Result<Option<u64>, PassEnd> {
        let tracker = self.tracker.as_deref_mut().expect("tracking is the first phase");
        self.told.clear();
        let written = tracker.next_set(self.guest, &mut self.told, liveness)?;
        if let Some(set) = tracker.written(&self.told) {
            // Who reads to find out knows nothing of what was not read.
            let unseen = tracker.reads_everything().then_some(&self.unsent);
            self.heat.note(set, unseen);
        }
        self.unsent.union_with(&self.told);
        Ok(written)
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
        self.next_set(Liveness::Suspended)?;
        self.guest.check_layout()?;
        self.unsent.union_with(&self.owed);
        self.limit(self.options.policy.last_pass_limit())?;
        self.report.last_pass = self.pass(Stage::StopAndCopy, 0)?;
        Ok(())
    }

    fn send_again_to_verify(&mut self) -> Result<(), PassEnd> {
        self.send_records(Vec::new(), &[Record::Verify], &[])?;
        self.unsent = PfnSet::full(self.guest.pfn_count());
        self.pass(Stage::Verify, 0)?;
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

    /// Sends what is unsent, but for the hottest `hold_back_pages`, and, while the guest runs, what is
    /// always written and what is put off: these stay unsent.
    pub(super) fn pass(
        &mut self,
        stage: Stage,
        hold_back_pages: u64,
    ) -> Result<PassReport, PassEnd> {
        let tracker = self.tracker.as_deref().expect("tracking is the first phase");
        let is_live = matches!(stage, Stage::PreCopy { .. });
        let put_off = self.put_off.as_mut().filter(|_| is_live && tracker.can_peek());
        let mut order = Order::by_pfn(self.unsent.clone()).hold_back(hold_back_pages, &self.heat);
        if put_off.is_some() {
            order = order.without_always_written(&self.heat).coldest_first(&self.heat);
        }
        let pass = Pass {
            guest: self.guest,
            toolstack: self.toolstack,
            outgoing: &self.outgoing,
            cancel: self.cancel,
            sieve: if stage == Stage::Verify { &EverythingTravels } else { tracker.sieve() },
            // What is compared is compared in full.
            tell_zeroes: self.options.zero_pages && stage != Stage::Verify,
            leave_out_holes: self.options.zero_pages && self.passes == 0,
            readers: tracker.readers(),
            put_off,
            until: self.until.filter(|_| is_live),
            unsent: &mut self.unsent,
            owed: &mut self.owed,
        };
        let began = self.started.elapsed();
        let report = pass.send(&order, stage)?;
        self.passes += 1;
        Ok(PassReport { began, limit: self.limit, ..report })
    }

    /// What is sent from now on travels no faster than this.
    pub(super) fn limit(&mut self, limit: Option<Rate>) -> Result<(), PassEnd> {
        self.outgoing.limit(limit)?;
        self.limit = limit;
        Ok(())
    }

    /// The end of every save, good or bad: tracking off, and after a failure the guest resumed.
    ///
    /// What goes wrong in here is logged and does not hide what went wrong before.
    fn settle(mut self, outcome: Result<(), PassEnd>) -> Result<SaveReport, SaveError> {
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
                self.report.total = self.started.elapsed();
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
        let domid = self.guest.domid();
        if let Some(mut tracker) = self.tracker.take()
            && let Err(error) = tracker.stop(self.guest)
        {
            log::error!("{domid}: cannot turn write tracking off: {error}");
        }
        if std::mem::take(&mut self.device_model_log)
            && let Err(error) = self.toolstack.set_device_model_log_dirty(false)
        {
            log::error!("{domid}: cannot turn the device model's write tracking off: {error}");
        }
    }
}
