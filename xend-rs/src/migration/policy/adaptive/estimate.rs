//! What the rounds so far say about the guest and the link.

use std::time::Duration;

use super::super::{CpuShare, History, Round};
use super::Settings;
use crate::hypervisor::types::PAGE_SIZE;
use crate::migration::dirty_curve::{DirtyCurve, Sample, Saturation};
use crate::migration::rate::Rate;

/// What a page takes on the wire: its contents and the 8 bytes that say which it is.
pub const PAGE_BYTES: u64 = PAGE_SIZE as u64 + 8;

/// Rounds that the guest's writing is judged by. Older ones tell of a guest that is no more.
const RECENT_ROUNDS: usize = 6;
/// What a round counts, beside the one after it.
const AGEING: f64 = 0.5;
/// What a probe before round 0 counts, beside the last round.
const PROBE_WEIGHT: f64 = 1.0;
/// A round that reached this share of its limit was held back by it, and not by the link.
const AT_THE_LIMIT: f64 = 0.85;
/// What of the measured rate the last pass can count on: links vary by some percent from one round to
/// the next, and a target is to be met.
const CERTAIN: f64 = 0.95;
/// What a round must have sent for its rate to be believed by itself.
const TELLING_BYTES: u64 = 256 * 1024;
/// How uneven a guest's writing is taken to be before a round has shown it.
const ASSUMED_UNEVENNESS: f64 = 0.1;
/// Where no round has sent anything yet: a link as most hosts have.
const ASSUMED: Rate = Rate::GIGABIT;
/// What is left adds nothing to a stop when it takes less than this share of what a stop costs anyway.
const UNNOTICED: f64 = 0.1;

/// The last round and what is to be expected of the next.
pub(super) struct Estimate<'a> {
    pub(super) settings: &'a Settings,
    pub(super) rounds: &'a [Round],
    pub(super) last: &'a Round,
    /// Pages that the receiver lacks. `None` where nobody knows yet: after round 0, where nobody
    /// notes writes.
    pub(super) unsent_pages: Option<f64>,
    /// Pages per second that the last pass will reach.
    last_pass_rate: f64,
    /// Whether the last round reached its limit, so that nobody knows what the link would take.
    at_limit: bool,
    /// Whether a round leaves out what it finds written again.
    puts_off: bool,
    /// How far the last round was from sending what an even writer would have let it send: 0, as much
    /// as that; 1, everything. Where what is written is not what is unsent, little is put off.
    unevenness: f64,
    /// The time that a round takes besides sending, in seconds.
    overhead: f64,
    /// What the last pass takes to find out what has changed, where nobody notes writes, in seconds:
    /// it looks at all of memory then, as the last round did, which found little.
    scan: f64,
    /// How the guest writes with all of its processors.
    writes: Option<Saturation>,
}

impl<'a> Estimate<'a> {
    /// `None` before the first round.
    pub(super) fn new(settings: &'a Settings, history: &History<'a>) -> Option<Self> {
        let rounds = history.rounds;
        let last = rounds.last()?;
        let link = link_rate(rounds).as_bytes_per_s();
        let most = settings.bandwidth_max.map_or(u64::MAX, Rate::as_bytes_per_s);
        let besides_sending = |round: &Round| {
            let sending = round.sent_bytes as f64 / limited(link, round.limit) as f64;
            (round.duration.as_secs_f64() - sending).max(0.0)
        };
        let unsent_pages = unsent_after(rounds, rounds.len() - 1);
        let unsent_bytes = unsent_pages.unwrap_or(0.0) * PAGE_BYTES as f64;
        let next_seconds = unsent_bytes / link as f64;
        let mut estimate = Self {
            settings,
            rounds,
            last,
            unsent_pages,
            last_pass_rate: CERTAIN * link.min(most) as f64 / PAGE_BYTES as f64,
            at_limit: is_at_limit(last),
            puts_off: settings.puts_off && last.dirtied_pages.is_some(),
            unevenness: ASSUMED_UNEVENNESS,
            // In a long round that is mostly the link, which was slower for once.
            overhead: rounds.iter().map(besides_sending).fold(f64::INFINITY, f64::min),
            scan: if last.dirtied_pages.is_none() { besides_sending(last) } else { 0.0 },
            writes: Saturation::fit(&samples(history, next_seconds)),
        };
        estimate.unevenness = estimate.seen_unevenness().unwrap_or(ASSUMED_UNEVENNESS);
        Some(estimate)
    }

    fn seen_unevenness(&self) -> Option<f64> {
        let before = unsent_after(self.rounds, self.rounds.len().checked_sub(2)?)?;
        let even = self.sent_of_even(before, self.last.limit, self.last.cpu_share);
        let sent = self.last.sent_pages as f64;
        (before - even > 0.05 * before).then(|| ((sent - even) / (before - even)).clamp(0.0, 1.0))
    }

    /// Pages that the guest dirtied in the last round.
    pub(super) fn dirtied_pages(&self) -> u64 {
        dirtied_in(self.rounds, self.rounds.len() - 1).unwrap_or(0)
    }

    /// How long the guest would stand still if it were stopped now.
    pub(super) fn downtime(&self) -> Option<Duration> {
        let pages = self.unsent_pages? + self.written_before_the_stop(self.unsent_pages?);
        let seconds = (pages / self.last_pass_rate).min(1e9);
        Some(self.fixed_stop().saturating_add(Duration::from_secs_f64(seconds)))
    }

    /// What a stop may cost besides sending.
    fn fixed_stop(&self) -> Duration {
        let fixed = self.settings.fixed_stop.max(self.settings.fixed_stop_at_worst);
        fixed.saturating_add(Duration::from_secs_f64(self.scan.min(1e9)))
    }

    /// Pages that the last pass may have at most, for the stop to be as short as is wanted, or, where
    /// it cannot be, for them not to matter.
    pub(super) fn goal_pages(&self) -> f64 {
        let within_target = self.affordable_pages() - self.written_before_the_stop(0.0);
        if within_target >= 1.0 {
            return within_target;
        }
        self.fixed_stop().as_secs_f64() * UNNOTICED * self.last_pass_rate
    }

    /// Pages that the last pass has the time for within the target.
    pub(super) fn affordable_pages(&self) -> f64 {
        let target = self.settings.downtime_target;
        target.saturating_sub(self.fixed_stop()).as_secs_f64() * self.last_pass_rate
    }

    /// What the guest writes, besides `unsent` pages, until it has heard that it is to stop.
    fn written_before_the_stop(&self, unsent: f64) -> f64 {
        let besides = self.settings.suspend_pages as f64;
        let Some(writes) = self.writes else { return besides };
        let seconds = self.settings.suspend_delay.as_secs_f64() * share(self.last.cpu_share);
        besides + writes.pages_in(seconds) * (1.0 - unsent / writes.working_set_pages).max(0.0)
    }

    /// Pages that another round of `unsent` pages will send, at no more than `limit`, with the guest
    /// left with `cpu_share`.
    ///
    /// Where pages are put off: a page whose turn comes at t is sent if it was not written since the
    /// round began, so of an even writer's set of W pages, written r times a second, e^(-rt/W). With
    /// B pages sent in a second a round of V pages then sends W B/r ln(1 + r V / (W B)) of them.
    pub(super) fn next_sent_pages(
        &self,
        unsent: f64,
        limit: Option<Rate>,
        cpu_share: CpuShare,
    ) -> f64 {
        let even = self.sent_of_even(unsent, limit, cpu_share);
        even + self.unevenness * (unsent - even)
    }

    fn sent_of_even(&self, unsent: f64, limit: Option<Rate>, cpu_share: CpuShare) -> f64 {
        let Some(writes) = self.writes.filter(|_| self.puts_off) else { return unsent };
        let load = writes.pages_per_s * share(cpu_share) / self.rate(limit);
        // Where no end of the set was seen, the writes are taken to hit what is unsent.
        let set = Some(writes.working_set_pages).filter(|set| set.is_finite()).unwrap_or(unsent);
        let evenly = set / load;
        if !evenly.is_finite() {
            return unsent;
        }
        (evenly * (unsent / evenly).ln_1p()).min(unsent)
    }

    /// Pages that will be unsent after another round: of `unsent` pages, at no more than `limit`,
    /// with the guest left with `cpu_share`.
    pub(super) fn unsent_after_another(
        &self,
        unsent: f64,
        limit: Option<Rate>,
        cpu_share: CpuShare,
    ) -> f64 {
        let Some(writes) = self.writes else { return 0.0 };
        let sent = self.next_sent_pages(unsent, limit, cpu_share);
        writes.pages_in((sent / self.rate(limit) + self.overhead) * share(cpu_share))
    }

    /// Pages per second of a round. A link that took all that it was given is expected to take more.
    fn rate(&self, limit: Option<Rate>) -> f64 {
        let pages_per_s = |rate: Rate| rate.as_bytes_per_s() as f64 / PAGE_BYTES as f64;
        match (limit.map(pages_per_s), self.at_limit) {
            (Some(limit), true) => limit,
            (None, true) => self.last_pass_rate.max(pages_per_s(ASSUMED)),
            (limit, false) => limit.map_or(self.last_pass_rate, |l| l.min(self.last_pass_rate)),
        }
    }

    /// What was unsent after each round, as far as that is known.
    pub(super) fn residues(&self) -> impl Iterator<Item = (&Round, f64)> {
        let known = |(at, round)| Some((round, unsent_after(self.rounds, at)?));
        self.rounds.iter().enumerate().filter_map(known)
    }
}

/// A share as a factor.
pub(super) fn share(cpu_share: CpuShare) -> f64 {
    f64::from(cpu_share.as_percent()) / 100.0
}

/// Pages dirtied in round `at`. Where nobody notes them, those that a round found changed and sent
/// were dirtied about while it and the one before it lasted; in round 0 everything is sent.
fn dirtied_in(rounds: &[Round], at: usize) -> Option<u64> {
    rounds[at].dirtied_pages.or((at > 0).then_some(rounds[at].sent_pages))
}

/// Pages unsent after round `at`. Where nobody notes writes, as many as were found this time will be
/// found the next.
fn unsent_after(rounds: &[Round], at: usize) -> Option<f64> {
    let round = &rounds[at];
    let unnoted = if round.dirtied_pages.is_some() { 0 } else { dirtied_in(rounds, at)? };
    Some(round.unsent_pages as f64 + unnoted as f64)
}

/// What the link takes: what rounds reached, the larger and the later ones counting for more, since
/// small ones are mostly waiting; and at least what any round reached that was held back by its limit.
fn link_rate(rounds: &[Round]) -> Rate {
    let (mut bytes, mut seconds, mut proven) = (0.0, 0.0, 0);
    for (age, round) in rounds.iter().rev().enumerate() {
        let weight = round.sent_bytes as f64 * 0.8_f64.powi(age as i32);
        bytes += weight * round.sent_bytes as f64;
        seconds += weight * round.duration.as_secs_f64();
        let Some(reached) = Rate::of(round.sent_bytes, round.duration) else { continue };
        if round.sent_bytes >= TELLING_BYTES && is_at_limit(round) {
            proven = proven.max(reached.as_bytes_per_s());
        }
    }
    if bytes > 0.0 && seconds > 0.0 {
        Rate::bytes_per_s(((bytes / seconds) as u64).max(proven))
    } else {
        ASSUMED
    }
}

/// Whether a round was held back by its limit.
fn is_at_limit(round: &Round) -> bool {
    let reached = Rate::of(round.sent_bytes, round.duration).map_or(0, Rate::as_bytes_per_s);
    let at = |limit: Rate| reached as f64 >= AT_THE_LIMIT * limit.as_bytes_per_s() as f64;
    round.limit.is_some_and(at)
}

fn limited(rate: u64, limit: Option<Rate>) -> u64 {
    limit.map_or(rate, |limit| rate.min(limit.as_bytes_per_s()))
}

/// How many pages were written in how much time: in the last rounds, and in a probe. A guest that
/// was left with a share of its processors had that share of the time.
fn samples(history: &History<'_>, next_seconds: f64) -> Vec<Sample> {
    let mut samples = Vec::new();
    let rounds = history.rounds;
    for (age, at) in (0..rounds.len()).rev().take(RECENT_ROUNDS).enumerate() {
        let Some(pages) = dirtied_in(rounds, at) else { continue };
        let seconds = seconds_of_writing(rounds, at) * share(rounds[at].cpu_share);
        let (pages, weight) = (pages as f64, AGEING.powi(age as i32));
        samples.push(Sample { seconds, pages, weight });
    }
    let points = history.probe.map(DirtyCurve::points_and_foretold).unwrap_or_default();
    let weight = PROBE_WEIGHT * AGEING.powi(rounds.len() as i32 - 1) / points.len().max(1) as f64;
    samples.extend(points.iter().map(|point| Sample {
        seconds: point.window.as_secs_f64(),
        pages: point.pages,
        weight,
    }));
    // What was seen of times as long as the next round counts for most.
    if next_seconds > 0.0 {
        for sample in &mut samples {
            let away = (sample.seconds / next_seconds).ln();
            sample.weight /= 1.0 + away * away;
        }
    }
    samples
}

/// The time in which the pages were written that are counted for round `at`. Where writes are not
/// noted they are found by looking at each page once in a round: on average from the middle of the
/// round before to the middle of this one.
fn seconds_of_writing(rounds: &[Round], at: usize) -> f64 {
    let seconds = rounds[at].duration.as_secs_f64();
    match (rounds[at].dirtied_pages, at.checked_sub(1)) {
        (None, Some(before)) => (rounds[before].duration.as_secs_f64() + seconds) / 2.0,
        _ => seconds,
    }
}
