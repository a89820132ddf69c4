//! Which pages a guest chooses to write to.

use crate::random::Random;

/// A way to choose. Sets are given as shares of memory, times in seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// Each page of a set as often as each other.
    Even {
        /// Of memory.
        set: f64,
    },
    /// The n-th page of a set in proportion to n^-exponent.
    Zipf {
        /// Of memory.
        set: f64,
        /// 0 is even; 1 is what caches and stores of keys see.
        exponent: f64,
    },
    /// One after the other, and from the start again.
    Sweep {
        /// Of memory.
        set: f64,
    },
    /// Evenly for a while, then not at all for a while.
    Phased {
        /// Of memory.
        set: f64,
        /// How long it writes.
        burst_s: f64,
        /// And does not.
        quiet_s: f64,
    },
    /// Evenly in a set that grows.
    Growing {
        /// Of memory, at first.
        from: f64,
        /// And at last.
        to: f64,
        /// Until then.
        over_s: f64,
    },
    /// Evenly in a set that is another one after a while.
    Moving {
        /// Of memory.
        set: f64,
        /// After so long.
        every_s: f64,
    },
}

/// Where a set lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In one piece, a third of the way up.
    Together,
    /// All over it.
    Scattered,
}

/// A pattern at work in a guest.
pub(super) struct Running {
    pattern: Pattern,
    place: Where,
    pages: u32,
    swept: u32,
    /// For Zipf: how likely it is one of the first n pages.
    up_to: Vec<f64>,
}

impl Running {
    pub(super) fn new(pattern: &Pattern, place: Where, pages: u32) -> Self {
        let mut up_to = Vec::new();
        if let Pattern::Zipf { set, exponent } = *pattern {
            let mut sum = 0.0;
            up_to.extend((1..=size(set, pages)).map(|n| {
                sum += f64::from(n).powf(-exponent);
                sum
            }));
            up_to.iter_mut().for_each(|p| *p /= sum);
        }
        Self { pattern: pattern.clone(), place, pages, swept: 0, up_to }
    }

    /// How busy it is at a time: its load is given for 1.
    pub(super) fn activity(&self, at_s: f64) -> f64 {
        match self.pattern {
            Pattern::Phased { burst_s, quiet_s, .. } => {
                f64::from(u8::from(at_s % (burst_s + quiet_s) < burst_s))
            }
            _ => 1.0,
        }
    }

    /// The next page that it writes.
    pub(super) fn page(&mut self, at_s: f64, random: &mut Random) -> u32 {
        let pages = self.pages;
        let at = match self.pattern {
            Pattern::Even { set } | Pattern::Phased { set, .. } => random.below(size(set, pages)),
            Pattern::Zipf { .. } => {
                let chance = random.unit();
                self.up_to.partition_point(|&up_to| up_to < chance) as u32
            }
            Pattern::Sweep { set } => {
                self.swept = (self.swept + 1) % size(set, pages);
                self.swept
            }
            Pattern::Growing { from, to, over_s } => {
                let set = from + (to - from) * (at_s / over_s).min(1.0);
                random.below(size(set, pages))
            }
            Pattern::Moving { set, every_s } => {
                let size = size(set, pages);
                (at_s / every_s) as u32 * size + random.below(size)
            }
        };
        self.place.page(at, pages)
    }
}

impl Where {
    fn page(self, at: u32, pages: u32) -> u32 {
        match self {
            Self::Together => (at + pages / 3) % pages,
            // An odd factor: with a power of two pages, each comes once.
            Self::Scattered => at.wrapping_mul(0x9e37_79b1) % pages,
        }
    }
}

/// A share of memory, in pages. At least one.
fn size(set: f64, pages: u32) -> u32 {
    ((set * f64::from(pages)) as u32).clamp(1, pages)
}
