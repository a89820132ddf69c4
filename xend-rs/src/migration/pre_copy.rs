//! Iterative pre-copy: round after round while the guest runs, for as long as the policy says.

use std::time::Instant;

use super::dirty_curve::DirtyCurve;
use super::error::SaveFailure;
use super::pass::PassEnd;
use super::plan::StopPlan;
use super::policy::{CpuShare, Decision, History, Next, Round, Why};
use super::probe;
use super::progress::Stage;
use super::save::Save;
use super::toolstack::SourceToolstack;
use super::tracker::Tracking;
use crate::hypervisor::{Liveness, SourceGuest};

/// To know how much of the guest's memory is zero, about so many pfns are looked at, but not fewer than
/// one of [`MAX_SAMPLE_STEP`]: then the answer is off by two percent, and costs next to nothing.
const SAMPLE_PFNS: u64 = 4096;
const MAX_SAMPLE_STEP: u64 = 64;

impl<G: SourceGuest, T: SourceToolstack> Save<'_, '_, G, T> {
    pub(super) fn pre_copy(&mut self) -> Result<(), PassEnd> {
        let curve = self.look_first()?;
        let started = Instant::now();
        let mut rounds = Vec::new();
        let mut next = self.options.policy.first();
        let mut cpu_share = CpuShare::FULL;
        let mut may_hold_writers = true;
        let over = self.options.policy.time_limit().map(|limit| started + limit);
        loop {
            self.until = over.filter(|over| *over > Instant::now());
            rounds.push(self.round(rounds.len() as u32, &next, cpu_share)?);
            let elapsed = started.elapsed();
            let history = History { rounds: &rounds, elapsed, probe: curve.as_ref() };
            match self.options.policy.decide(&history) {
                Decision::Continue(then) => {
                    cpu_share = self.slow_down(cpu_share, then.cpu_share);
                    next = then;
                }
                // Once: a guest that gets no further with them at rest never will.
                Decision::StopAndCopy(Why::NoProgress)
                    if std::mem::take(&mut may_hold_writers) && self.toolstack.hold_writers() =>
                {
                    log::info!("{}: what wrote fast in it stands still now", self.guest.domid());
                    next.limit = self.options.policy.last_pass_limit();
                }
                Decision::StopAndCopy(why) => {
                    log::info!("{}: live copying ends: {why}", self.guest.domid());
                    self.report.ends = Some(why);
                    self.announce_stop();
                    return Ok(());
                }
                Decision::Abort(why) => return Err(SaveFailure::GivenUp { why }.into()),
            }
        }
    }

    /// Looks how the guest writes, where that is wanted and Xen notes it. Nothing is lost by that: every
    /// page is still to be sent.
    fn look_first(&mut self) -> Result<Option<DirtyCurve>, PassEnd> {
        let Some(options) = self.options.probe else { return Ok(None) };
        if self.tracker().tracking() != Tracking::LogDirty {
            return Ok(None);
        }
        let seen = probe::watch(self.guest, &options, self.cancel)?;
        if self.cancel.is_cancelled() {
            return Err(SaveFailure::Cancelled.into());
        }
        let every = (self.guest.pfn_count() / SAMPLE_PFNS).clamp(1, MAX_SAMPLE_STEP);
        let census = probe::sample(self.guest, every, self.cancel)?;
        let Some(census) = census else { return Err(SaveFailure::Cancelled.into()) };
        self.heat.note(&seen.written, None);
        self.toolstack.probed(&seen, &census);
        Ok(Some(seen.curve))
    }

    /// One round: all that is unsent, but for what is put off and held back.
    fn round(&mut self, round: u32, next: &Next, cpu_share: CpuShare) -> Result<Round, PassEnd> {
        let (began, before_bytes) = (Instant::now(), self.outgoing.sent_bytes());
        self.limit(next.limit)?;
        let report = self.pass(Stage::PreCopy { round }, next.hold_back_pages)?;
        // Where no writes are noted, only these are known.
        let left_pages = self.unsent.len_pfns();
        log::info!(
            "{}: round {round}: {} pages in {} ms, of {} that were read at {} MiB/s",
            self.guest.domid(),
            report.data_pages,
            report.duration.as_millis(),
            report.read_pages,
            report.read_bytes_per_s().unwrap_or(0) >> 20,
        );
        self.report.rounds.push(report);
        if let Some(lead) = report.lead {
            self.turnaround.round_began(report.began + lead);
        }
        // What the guest writes while this round's pages wait in a queue is sent once more, and
        // what waits when the guest is suspended makes it wait, too.
        self.outgoing.wait_until_taken(self.turnaround.ahead())?;
        self.turnaround.round_ended(self.started.elapsed());
        self.guest.check_layout()?;

        let dirtied_pages = self.next_set(Liveness::Running)?;
        Ok(Round {
            sent_pages: report.data_pages,
            sent_bytes: self.outgoing.sent_bytes() - before_bytes,
            duration: began.elapsed(),
            dirtied_pages,
            unsent_pages: match self.tracker().reads_everything() {
                true => left_pages,
                false => self.unsent.len_pfns(),
            },
            limit: next.limit,
            cpu_share,
        })
    }

    /// Leaves the guest's vCPUs with another share, if it is another. Gives the one that they have then.
    fn slow_down(&mut self, now: CpuShare, wanted: CpuShare) -> CpuShare {
        if now == wanted {
            return now;
        }
        match self.toolstack.set_cpu_share(wanted) {
            Ok(()) => wanted,
            Err(error) => {
                let domid = self.guest.domid();
                log::warn!("{domid}: it is not slowed down as it should be: {error}");
                now
            }
        }
    }

    /// Says how long the guest will have to wait for the last pass, where all memory is read in it.
    fn announce_stop(&mut self) {
        let rounds = &self.report.rounds;
        let ([first, .., last] | [first @ last]) = rounds.as_slice() else { return };
        if self.tracker().reads_everything()
            && let Some(plan) =
                StopPlan::new(rounds, first.read_pages, last.data_pages + last.held_back_pages)
        {
            log::info!("{}: {plan}", self.guest.domid());
            self.report.stop_plan = Some(plan);
        }
    }
}
