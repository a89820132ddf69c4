//! What a migration will come to, before it has begun.
//!
//! From how many distinct pages the guest writes in a given time, D(t), the rounds follow: the first
//! sends V0, all that there is, and takes T0 = V0 / B; the next has V1 = D(T0) to send, and so on. The
//! rounds are made up so, one by one, and the policy itself is asked after each of them: what is
//! predicted is what this policy would do, limits, order and throttle included.

use std::fmt;
use std::time::Duration;

use super::adaptive::{PAGE_BYTES, Settings};
use super::{CpuShare, Decision, History, Next, Policy, Round, Why};
use crate::migration::dirty_curve::DirtyCurve;
use crate::migration::rate::Rate;

/// Rounds after which a policy is taken to have none left. None of ours comes near.
const MOST_ROUNDS: usize = 200;
/// Parts that a round is reckoned in, as what is put off changes on its way.
const PARTS: u32 = 64;

/// What a guest has and where it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Journey {
    /// Pages whose contents must travel: without those that are zero, if they need not.
    pub memory_pages: u64,
    /// What the link takes.
    pub link: Rate,
    /// What a stop costs besides sending memory.
    pub fixed_stop: Duration,
    /// How long the guest still writes once it was decided to stop.
    pub suspend_delay: Duration,
    /// Pages that the guest writes on its way into suspension.
    pub suspend_pages: u64,
    /// Whether pages that are written again in a round are put off.
    pub puts_off: bool,
    /// How long it takes to read all memory, where nobody notes writes: each round does that to find
    /// what was written, and so does the last pass. `None` where writes are noted.
    pub scan: Option<Duration>,
}

impl Journey {
    /// Of so many pages over this link, with the costs of a stop that the policy goes by, where writes
    /// are noted.
    pub fn new(memory_pages: u64, link: Rate, settings: &Settings) -> Self {
        let Settings { fixed_stop, suspend_delay, suspend_pages, puts_off, .. } = *settings;
        let scan = None;
        Self { memory_pages, link, fixed_stop, suspend_delay, suspend_pages, puts_off, scan }
    }
}

/// What is expected of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Live rounds.
    pub rounds: usize,
    /// Pages sent, the last pass included.
    pub sent_pages: u64,
    /// Bytes that they take on the wire.
    pub sent_bytes: u64,
    /// Pages of the last pass.
    pub last_pass_pages: u64,
    /// How long the guest stands still. Zero if the migration is given up.
    pub downtime: Duration,
    /// From the start of round 0 until the guest runs again.
    pub total: Duration,
    /// Why live copying ends. `None` where it was still going on after 200 rounds.
    pub ends: Option<Why>,
    /// Whether the guest will have moved.
    pub arrives: bool,
    /// The least share of its processors that the guest is left with meanwhile.
    pub least_cpu_share: CpuShare,
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, downtime, total, .. } = self;
        let (total, mib) = (total.as_secs_f64(), self.sent_bytes >> 20);
        write!(f, "about {total:.1} s, {mib} MiB in {rounds} rounds")?;
        match self.arrives {
            true => write!(f, ", {} ms of it standing still", downtime.as_millis()),
            false => f.write_str(", and then it is given up"),
        }?;
        self.ends.map_or(Ok(()), |why| write!(f, " ({why})"))
    }
}

/// How `policy` will move a guest that writes as `curve` says.
pub fn predict(policy: &dyn Policy, curve: &DirtyCurve, journey: &Journey) -> Prediction {
    let model = Model { curve, journey, working_set: working_set(curve, journey) };
    let mut rounds: Vec<Round> = Vec::new();
    let (mut next, mut elapsed) = (policy.first(), Duration::ZERO);
    let mut least_cpu_share = CpuShare::FULL;
    let end = loop {
        let round = match journey.scan {
            Some(scan) => model.scanning_round(rounds.last(), &next, scan),
            None => model.round(rounds.last().map(|round| round.unsent_pages), &next),
        };
        elapsed = elapsed.saturating_add(round.duration);
        rounds.push(round);
        least_cpu_share = least_cpu_share.min(next.cpu_share);
        match policy.decide(&History { rounds: &rounds, elapsed, probe: Some(curve) }) {
            Decision::Continue(_) if rounds.len() == MOST_ROUNDS => break None,
            Decision::Continue(wanted) => next = wanted,
            Decision::StopAndCopy(why) => break Some((why, true)),
            Decision::Abort(why) => break Some((why, false)),
        }
    };
    let live_pages: u64 = rounds.iter().map(|round| round.sent_pages).sum();
    let arrives = end.is_none_or(|(_, arrives)| arrives);
    let last = rounds.last().map(|round| model.last_pass_pages(round)).filter(|_| arrives);
    let rate = policy.last_pass_limit().map_or(journey.link, |limit| limit.min(journey.link));
    let downtime = last.map_or(Duration::ZERO, |pages| {
        let besides = journey.fixed_stop.saturating_add(journey.scan.unwrap_or_default());
        besides.saturating_add(rate.time_for(pages.saturating_mul(PAGE_BYTES)))
    });
    let sent_pages = live_pages.saturating_add(last.unwrap_or(0));
    Prediction {
        rounds: rounds.len(),
        sent_pages,
        sent_bytes: sent_pages.saturating_mul(PAGE_BYTES),
        last_pass_pages: last.unwrap_or(0),
        downtime,
        total: elapsed.saturating_add(downtime),
        ends: end.map(|(why, _)| why),
        arrives,
        least_cpu_share,
    }
}

/// V* = D(V*/B): what is left however many rounds there are, in pages, if all that is unsent is sent
/// in each. No stop of a guest that is not slowed down is shorter than sending these takes, unless
/// pages are put off or held back.
pub fn fixed_point_pages(curve: &DirtyCurve, link: Rate) -> f64 {
    let after = |pages: f64| {
        let seconds = pages * PAGE_BYTES as f64 / link.as_bytes_per_s() as f64;
        curve.pages_in(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
    };
    // D is concave, so from above each step comes nearer, and none goes past.
    let mut pages = after(1e12);
    for _ in 0..10_000 {
        let next = after(pages);
        if pages - next <= 1e-4 * pages {
            return next;
        }
        pages = next;
    }
    pages
}

/// Where the curve ends: not above all that there is.
fn working_set(curve: &DirtyCurve, journey: &Journey) -> f64 {
    let all = journey.memory_pages as f64;
    curve.saturation().map_or(0.0, |shape| shape.working_set_pages).min(all).max(1.0)
}

/// A guest that writes as a curve says.
struct Model<'a> {
    curve: &'a DirtyCurve,
    journey: &'a Journey,
    /// In pages, at least one.
    working_set: f64,
}

impl Model<'_> {
    /// Pages dirtied in so many seconds by a guest that is left with `share`.
    fn dirtied(&self, seconds: f64, share: CpuShare) -> f64 {
        let seconds = seconds * f64::from(share.as_percent()) / 100.0;
        let time = Duration::from_secs_f64(seconds.clamp(0.0, 1e9));
        self.curve.pages_in(time).min(self.journey.memory_pages as f64)
    }

    /// A round of `unsent` pages; round 0, of all of them, if that is `None`.
    fn round(&self, unsent: Option<u64>, next: &Next) -> Round {
        let link = self.journey.link;
        let rate = next.limit.map_or(link, |limit| limit.min(link)).as_bytes_per_s() as f64;
        let pages_per_s = rate / PAGE_BYTES as f64;
        // Which pages are hot is known from round 0 on.
        let held_back = unsent.map_or(0, |unsent| next.hold_back_pages.min(unsent)) as f64;
        let looked_at = unsent.unwrap_or(self.journey.memory_pages) as f64 - held_back;
        // Round 0 looks at all of memory, the others at what was written lately.
        let among = if unsent.is_some() { self.working_set } else { looked_at.max(1.0) };
        let part = looked_at / f64::from(PARTS);
        let sent = (0..PARTS).fold(0.0, |sent: f64, _| {
            let written = self.dirtied(sent / pages_per_s, next.cpu_share) / among;
            sent + part * if self.journey.puts_off { (1.0 - written).max(0.0) } else { 1.0 }
        });
        let seconds = sent / pages_per_s;
        let dirtied = self.dirtied(seconds, next.cpu_share);
        let left = dirtied + held_back * (1.0 - dirtied / self.working_set).max(0.0);
        let sent_pages = sent.round() as u64;
        Round {
            sent_pages,
            sent_bytes: sent_pages.saturating_mul(PAGE_BYTES),
            duration: Duration::from_secs_f64(seconds.min(1e9)),
            dirtied_pages: Some(dirtied.round() as u64),
            unsent_pages: left.round() as u64,
            limit: next.limit,
            cpu_share: next.cpu_share,
        }
    }

    /// A round that reads all memory to find what was written: in it and in the one `before` it, each
    /// page since it was looked at last, which is from the middle of one to the middle of the other.
    fn scanning_round(&self, before: Option<&Round>, next: &Next, scan: Duration) -> Round {
        let link = self.journey.link;
        let rate = next.limit.map_or(link, |limit| limit.min(link)).as_bytes_per_s() as f64;
        let seconds_for =
            |sent: f64| (sent * PAGE_BYTES as f64 / rate).clamp(scan.as_secs_f64(), 1e9);
        let (mut sent, mut held_back) = (self.journey.memory_pages as f64, 0.0);
        let mut seconds = seconds_for(sent);
        if let Some(before) = before {
            seconds = seconds_for(0.0);
            // The longer it lasts the more it finds, and the longer it lasts.
            for _ in 0..PARTS {
                let since = (before.duration.as_secs_f64() + seconds) / 2.0;
                let written = self.dirtied(since, next.cpu_share);
                held_back = written.min(next.hold_back_pages as f64);
                sent = written - held_back;
                seconds = seconds_for(sent);
            }
        }
        let sent_pages = sent.round() as u64;
        Round {
            sent_pages,
            sent_bytes: sent_pages.saturating_mul(PAGE_BYTES),
            duration: Duration::from_secs_f64(seconds),
            dirtied_pages: None,
            unsent_pages: held_back.round() as u64,
            limit: next.limit,
            cpu_share: next.cpu_share,
        }
    }

    /// What is unsent after the last round, and what is written until the guest stands still.
    fn last_pass_pages(&self, last: &Round) -> u64 {
        let (unsent, besides) = (last.unsent_pages as f64, self.journey.suspend_pages as f64);
        if self.journey.scan.is_some() {
            let since =
                last.duration.as_secs_f64() / 2.0 + self.journey.suspend_delay.as_secs_f64();
            return (besides + self.dirtied(since, last.cpu_share).max(unsent)).round() as u64;
        }
        let late = self.dirtied(self.journey.suspend_delay.as_secs_f64(), last.cpu_share);
        let late = late * (1.0 - unsent / self.working_set).max(0.0);
        (besides + unsent + late).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::dirty_curve::Point;
    use crate::migration::policy::adaptive::{OnTimeout, Stun, TimeLimit};
    use crate::migration::policy::{Adaptive, Stock};

    /// 10 s of the link.
    const MEMORY_PAGES: u64 = 300_000;
    const LINK: Rate = Rate::GIGABIT;

    /// An even writer in half of memory, at `load` times the link.
    fn even(load: f64) -> DirtyCurve {
        let set = MEMORY_PAGES as f64 / 2.0;
        let writes_per_s = load * LINK.as_bytes_per_s() as f64 / PAGE_BYTES as f64;
        let point = |ms: u64| {
            let window = Duration::from_millis(ms);
            Point {
                window,
                pages: set * (1.0 - (-writes_per_s * window.as_secs_f64() / set).exp()),
            }
        };
        DirtyCurve::new([50, 100, 200, 400, 800, 1600, 3200, 6400].map(point).to_vec())
    }

    fn predicted(policy: &dyn Policy, curve: &DirtyCurve, puts_off: bool) -> Prediction {
        let journey = Journey::new(MEMORY_PAGES, LINK, &Settings::default());
        predict(policy, curve, &Journey { puts_off, ..journey })
    }

    #[test]
    fn a_quiet_guest_takes_one_round_and_a_fixed_stop() {
        let prediction = predicted(&Adaptive::default(), &DirtyCurve::default(), true);
        let farewell = Settings::SUSPEND_PAGES;
        assert_eq!((prediction.rounds, prediction.last_pass_pages), (1, farewell));
        assert_eq!(prediction.sent_pages, MEMORY_PAGES + farewell);
        let downtime = Settings::FIXED_STOP + LINK.time_for(farewell * PAGE_BYTES);
        assert_eq!(prediction.downtime, downtime);
        let total = LINK.time_for(MEMORY_PAGES * PAGE_BYTES) + downtime;
        assert!(prediction.total.abs_diff(total) < Duration::from_millis(1), "{prediction}");
    }

    /// What follows for Xen's own rule from V(n+1) = D(V(n) / B), for W half of memory: at 0.8 times
    /// the link 1.98 x memory and 0.163 W left, at twice the link 3.13 x memory and 0.801 W.
    #[test]
    fn xens_rule_comes_to_what_the_recursion_says() {
        for (load, sent, left) in [(0.8, 1.98, 0.163), (2.0, 3.13, 0.801)] {
            let prediction = predicted(&Stock, &even(load), false);
            let memory = MEMORY_PAGES as f64;
            let near = |seen: f64, wanted: f64| (seen / wanted - 1.0).abs() < 0.06;
            assert!(near(prediction.sent_pages as f64 / memory, sent), "{load}: {prediction:?}");
            let seen = prediction.last_pass_pages as f64 / (memory / 2.0);
            assert!(near(seen, left), "{load}: {prediction:?}");
        }
    }

    #[test]
    fn the_fixed_point_is_where_theory_has_it() {
        // x = 1 - e^(-load x)
        for (load, x) in [(0.8, 0.0), (1.25, 0.371), (1.5, 0.583), (2.0, 0.797), (3.0, 0.941)] {
            let pages = fixed_point_pages(&even(load), LINK);
            let seen = pages / (MEMORY_PAGES as f64 / 2.0);
            // A straight line between two points is a little below the curve.
            assert!((seen - x).abs() < 0.04, "{load}: {seen}");
        }
        assert_eq!(fixed_point_pages(&DirtyCurve::default(), LINK), 0.0);
    }

    #[test]
    fn it_says_what_this_policy_would_do() {
        let ours = predicted(&Adaptive::default(), &even(0.8), true);
        assert_eq!(ours.ends, Some(Why::DowntimeMet), "{ours}");
        assert!(ours.downtime <= Settings::DOWNTIME_TARGET, "{ours}");
        let outrun = predicted(&Adaptive::default(), &even(2.0), true);
        assert_eq!(outrun.ends, Some(Why::NoProgress), "{outrun}");
        let stun = Stun::Allowed { floor: CpuShare::percent(5) };
        let stunned = Adaptive::new(Settings { stun, ..Settings::default() });
        let stunned = predicted(&stunned, &even(2.0), true);
        assert_eq!(stunned.ends, Some(Why::DowntimeMet), "{stunned}");
        assert!(stunned.least_cpu_share < CpuShare::percent(60), "{stunned:?}");
        let time_limit = Some(TimeLimit { after: Duration::from_secs(2), then: OnTimeout::Cancel });
        let given_up = Adaptive::new(Settings { time_limit, ..Settings::default() });
        let given_up = predicted(&given_up, &even(2.0), true);
        assert!(!given_up.arrives && given_up.downtime.is_zero(), "{given_up:?}");
        assert!(given_up.to_string().contains("given up"), "{given_up}");
    }

    #[test]
    fn where_memory_must_be_read_rounds_and_the_stop_last_as_long_as_that() {
        let scan = Duration::from_secs(1);
        let journey = Journey::new(MEMORY_PAGES, Rate::mbit_per_s(10_000), &Settings::default());
        let quiet = DirtyCurve::default();
        let predicted = |curve: &DirtyCurve, scan, puts_off| {
            predict(&Adaptive::default(), curve, &Journey { scan, puts_off, ..journey })
        };
        let noted = predicted(&quiet, None, true);
        let read = predicted(&quiet, Some(scan), false);
        // What round 0 left can only be known from another.
        assert_eq!((noted.rounds, read.rounds), (1, 2), "{read:?}");
        assert_eq!(read.downtime, noted.downtime + scan, "{read:?}");
        assert!(read.total >= noted.total.max(scan) + scan + scan, "{read:?}");
        let farewell = Settings::SUSPEND_PAGES;
        assert_eq!((read.sent_pages, read.last_pass_pages), (MEMORY_PAGES + farewell, farewell));
        let busy = predicted(&even(0.5), Some(scan), false);
        assert!(busy.ends.is_some() && busy.downtime > read.downtime, "{busy:?}");
        // Written since the middle of the last round, and until the guest has heard of the stop.
        let since = scan / 2 + Settings::SUSPEND_DELAY;
        assert!(busy.last_pass_pages as f64 >= even(0.5).pages_in(since) - 1.0, "{busy:?}");
    }

    #[test]
    fn a_faster_link_is_never_slower() {
        let mut before = Duration::MAX;
        for mbit in [50, 100, 500, 1000, 2000, 10_000, 100_000] {
            let journey = Journey::new(MEMORY_PAGES, Rate::mbit_per_s(mbit), &Settings::default());
            let found = predict(&Adaptive::default(), &even(1.2), &journey);
            assert!(found.total < before, "{mbit} Mbit/s: {found:?}");
            before = found.total;
        }
    }

    #[test]
    fn a_limit_makes_it_longer() {
        let bandwidth_max = Some(Rate::mbit_per_s(500));
        let slow = Adaptive::new(Settings { bandwidth_max, ..Settings::default() });
        let quiet = DirtyCurve::default();
        let ratio = predicted(&slow, &quiet, true).total.as_secs_f64()
            / predicted(&Adaptive::default(), &quiet, true).total.as_secs_f64();
        assert!((ratio - 2.0).abs() < 0.05, "{ratio}");
    }
}
