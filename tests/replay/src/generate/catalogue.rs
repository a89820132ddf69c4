//! The guests that a stop rule is judged by.

use super::{Guest, Pattern, Where, Writer};

/// How fast guests write, for each page that the link sends.
const LOADS: [f64; 14] = [0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0];
/// How many seconds the link takes for all of a guest's pages.
pub const COPY_S: [f64; 4] = [6.0, 12.0, 25.0, 50.0];
/// Working sets, as shares of memory.
const SETS: [f64; 5] = [0.02, 0.05, 0.1, 0.25, 0.5];

/// Families of guests whose next writes can be told from their last: they write as they wrote before,
/// or come to it slowly.
pub const FORESEEABLE: [&str; 5] = ["even", "zipf", "idle", "growing", "mixed"];

/// All of them: eight families, at many rates and of several sizes.
pub fn catalogue() -> Vec<Guest> {
    variant(0)
}

/// The same patterns with other seeds, sizes, links and layouts.
pub fn variant(number: usize) -> Vec<Guest> {
    let mut guests = Guests { all: Vec::new(), variant: number };
    for load in LOADS {
        for set in SETS {
            guests.add("even", vec![(load, Pattern::Even { set })]);
            guests.add("sweep", vec![(load, Pattern::Sweep { set })]);
        }
        for exponent in [0.7, 1.0, 1.3] {
            for set in [0.1, 0.5] {
                guests.add("zipf", vec![(load, Pattern::Zipf { set, exponent })]);
            }
        }
    }
    for load in [0.0, 0.001, 0.01, 0.03] {
        guests.add("idle", vec![(load, Pattern::Even { set: 0.05 })]);
    }
    for load in [0.25, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0] {
        for set in [0.02, 0.05, 0.1, 0.25] {
            for (burst_s, quiet_s) in [(1.0, 4.0), (3.0, 3.0), (4.0, 1.0)] {
                let pattern = Pattern::Phased { set, burst_s, quiet_s };
                guests.add("phased", vec![(load, pattern)]);
            }
        }
        for (from, to) in [(0.01, 0.1), (0.05, 0.5), (0.2, 0.4)] {
            let pattern = Pattern::Growing { from, to, over_s: 40.0 };
            guests.add("growing", vec![(load, pattern)]);
        }
        for set in [0.02, 0.1, 0.25] {
            for every_s in [2.0, 10.0] {
                guests.add("moving", vec![(load, Pattern::Moving { set, every_s })]);
            }
        }
        for hot in [0.02, 0.1] {
            guests.add(
                "mixed",
                vec![
                    (load, Pattern::Zipf { set: hot, exponent: 1.0 }),
                    (0.1, Pattern::Sweep { set: 0.6 }),
                ],
            );
            guests.add(
                "mixed",
                vec![
                    (load, Pattern::Even { set: hot }),
                    (0.2, Pattern::Even { set: 0.5 }),
                    (0.3, Pattern::Phased { set: 0.1, burst_s: 0.5, quiet_s: 2.0 }),
                ],
            );
        }
    }
    guests.all
}

struct Guests {
    all: Vec<Guest>,
    variant: usize,
}

impl Guests {
    /// Sizes, links and layouts in turn, so that each family has some of all.
    fn add(&mut self, family: &'static str, writers: Vec<(f64, Pattern)>) {
        let at = self.all.len();
        let turn = at + self.variant;
        let pages = [2048, 4096, 8192][turn % 3];
        let copy_s = COPY_S[(at / 3 + self.variant) % 4];
        let place = [Where::Scattered, Where::Together][turn % 2];
        let named: Vec<String> =
            writers.iter().map(|(load, p)| format!("{load} x link {p:?}")).collect();
        let name = format!("{} ({pages} pages, {copy_s} s, {place:?})", named.join(" + "));
        let writers = writers.into_iter().map(|(load, pattern)| Writer { load, pattern, place });
        let writers = writers.collect();
        let seed = (self.variant * 1000 + at) as u64;
        self.all.push(Guest { name, family, pages, copy_s, writers, seed });
    }
}
