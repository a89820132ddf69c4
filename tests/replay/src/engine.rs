//! The engine's side of a migration, played over a trace: which pages a round sends, in which order,
//! how long it takes, and what is left.

use std::time::Duration;

use xend_rs::migration::policy::adaptive::{PAGE_BYTES, Settings};
use xend_rs::migration::policy::{Adaptive, Next, Round};
use xend_rs::migration::rate::Rate;

use crate::pages::PageSet;
use crate::random::Random;
use crate::trace::Trace;

/// The heat from which on a page is taken to be written in every round: it was in the last four.
const ALWAYS_WRITTEN: u8 = 0xf0;

/// How the engine copies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mechanics {
    /// Coldest pages first, but for those that are always written, and pages that were written again
    /// meanwhile are put off. Otherwise in the order of their numbers, and all of them.
    pub ordered: bool,
    /// Pages that are sent between two looks at what was written meanwhile.
    pub peek_pages: u64,
    /// What a round takes besides sending.
    pub round_overhead: Duration,
    /// How far the link's rate differs from round to round, as a share of it.
    pub link_noise: f64,
    /// How long the guest runs on after the decision to stop it.
    pub suspend_delay: Duration,
    /// What a stop costs besides sending memory.
    pub fixed_stop: Duration,
    /// How a guest's writing follows its share of the processors: in proportion to this power of it.
    pub throttle_power: f64,
}

/// The policy of `xend`. A trace ends with the last thing that its guest does: on its way into suspension
/// it writes nothing more.
pub fn policy(settings: Settings) -> Adaptive {
    Adaptive::new(Settings { suspend_pages: 0, ..settings })
}

impl Mechanics {
    /// What `xend` does, for a guest of so many pages.
    pub fn ours(pages: u32) -> Self {
        Self {
            ordered: true,
            peek_pages: u64::from(pages / 64).max(1),
            round_overhead: Duration::from_millis(5),
            link_noise: 0.05,
            suspend_delay: Duration::from_millis(50),
            fixed_stop: Duration::from_millis(100),
            throttle_power: 1.0,
        }
    }

    /// What Xen's own tools do.
    pub fn stock(pages: u32) -> Self {
        Self { ordered: false, ..Self::ours(pages) }
    }
}

/// A migration under way.
pub struct Engine<'a> {
    trace: &'a Trace,
    mechanics: Mechanics,
    random: Random,
    /// Pages that the receiver lacks.
    unsent: PageSet,
    /// Written since the last round ended.
    dirty: PageSet,
    /// How often a page was dirty lately: a bit for each round, the last one on top.
    heat: Vec<u8>,
    /// Of this migration, in seconds.
    now: f64,
    /// Of the guest, in seconds. It is later, the more the guest is throttled.
    guest_time: f64,
    sent_pages: u64,
}

impl<'a> Engine<'a> {
    /// A migration of the guest of `trace`, before round 0, which begins when the guest has run for
    /// so long.
    pub fn new(trace: &'a Trace, mechanics: Mechanics, guest_time: Duration) -> Self {
        Self {
            trace,
            mechanics,
            random: Random::new(u64::from(trace.pages)),
            unsent: PageSet::full(trace.pages),
            dirty: PageSet::empty(trace.pages),
            heat: vec![0; trace.pages as usize],
            now: 0.0,
            guest_time: guest_time.as_secs_f64(),
            sent_pages: 0,
        }
    }

    /// Since round 0 began.
    pub fn elapsed(&self) -> Duration {
        Duration::from_secs_f64(self.now)
    }

    /// Pages sent so far.
    pub fn sent_pages(&self) -> u64 {
        self.sent_pages
    }

    /// Plays a round.
    pub fn round(&mut self, next: &Next) -> Round {
        let (began, before) = (self.now, self.sent_pages);
        let speed = f64::from(next.cpu_share.as_percent()) / 100.0;
        let speed = speed.powf(self.mechanics.throttle_power);
        let noise = (self.random.unit() * 2.0 - 1.0) * self.mechanics.link_noise;
        let link = self.trace.link_pages_per_s * (1.0 + noise);
        let limit = next.limit.map(|l| l.as_bytes_per_s() as f64 / PAGE_BYTES as f64);
        let page_seconds = 1.0 / limit.map_or(link, |limit| limit.min(link));

        let mut written = self.dirty.clone();
        let mut until_peek = 0;
        for page in self.order(next.hold_back_pages) {
            if until_peek == 0 {
                written.clone_from(&self.dirty);
                until_peek = self.mechanics.peek_pages;
            }
            if self.mechanics.ordered && written.contains(page) {
                continue;
            }
            self.unsent.remove(page);
            self.sent_pages += 1;
            until_peek -= 1;
            self.run(page_seconds, speed);
        }
        self.run(self.mechanics.round_overhead.as_secs_f64(), speed);

        let dirtied_pages = Some(self.dirty.len());
        self.take_dirty();
        let sent_pages = self.sent_pages - before;
        Round {
            sent_pages,
            sent_bytes: sent_pages * PAGE_BYTES,
            duration: Duration::from_secs_f64(self.now - began),
            dirtied_pages,
            unsent_pages: self.unsent.len(),
            limit: next.limit,
            cpu_share: next.cpu_share,
        }
    }

    /// The pages that the last pass would send if the guest were told now to stop.
    pub fn last_pass_pages(&self, cpu_percent: u8) -> u64 {
        let mut rest = self.unsent.clone();
        let seconds = self.mechanics.suspend_delay.as_secs_f64() * f64::from(cpu_percent) / 100.0;
        self.trace.writes_between(self.guest_time, self.guest_time + seconds, &mut rest);
        rest.len()
    }

    /// How long the guest stands still for a last pass of so many pages, at `limit`.
    pub fn downtime(&self, pages: u64, limit: Option<Rate>) -> Duration {
        let limit = limit.map(|l| l.as_bytes_per_s() as f64 / PAGE_BYTES as f64);
        let link = self.trace.link_pages_per_s;
        let rate = limit.map_or(link, |limit| limit.min(link));
        self.mechanics.fixed_stop + Duration::from_secs_f64(pages as f64 / rate)
    }

    /// What a round looks at, in order.
    fn order(&self, hold_back_pages: u64) -> Vec<u32> {
        let mut order: Vec<u32> = self.unsent.iter().collect();
        if self.mechanics.ordered {
            order.sort_by_key(|&page| self.heat[page as usize]);
            let hot = order.iter().filter(|&&page| self.heat[page as usize] > 0).count();
            order.truncate(order.len() - hot.min(hold_back_pages as usize));
            order.retain(|&page| self.heat[page as usize] < ALWAYS_WRITTEN);
        }
        order
    }

    /// Lets time pass, for a guest that runs at `speed`.
    fn run(&mut self, seconds: f64, speed: f64) {
        let until = self.guest_time + seconds * speed;
        self.trace.writes_between(self.guest_time, until, &mut self.dirty);
        (self.now, self.guest_time) = (self.now + seconds, until);
    }

    fn take_dirty(&mut self) {
        self.heat.iter_mut().for_each(|heat| *heat >>= 1);
        for page in self.dirty.iter() {
            self.unsent.insert(page);
            self.heat[page as usize] |= 0x80;
        }
        self.dirty.clear();
    }
}
