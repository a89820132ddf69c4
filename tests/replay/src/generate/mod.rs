//! Traces of guests that were never there: made from a seed, the same each time.

mod catalogue;
mod pattern;

use std::time::Duration;

pub use catalogue::{COPY_S, FORESEEABLE, catalogue, variant};
pub use pattern::{Pattern, Where};

use crate::random::Random;
use crate::trace::{Trace, Window, Windows};

/// The length of a window: half of the time that a guest runs on when it is to stop.
const WINDOW: Duration = Duration::from_millis(25);
/// How many copies of its memory a trace is long.
const COPIES: f64 = 12.0;

/// A guest to be made up.
#[derive(Clone, Debug, PartialEq)]
pub struct Guest {
    /// What tells it from others.
    pub name: String,
    /// What it is counted with.
    pub family: &'static str,
    /// Pages that it has. A power of two.
    pub pages: u32,
    /// How long the link takes for all of them.
    pub copy_s: f64,
    /// What it writes, all of it at once.
    pub writers: Vec<Writer>,
    /// Where its randomness begins.
    pub seed: u64,
}

/// One of the things that a guest does.
#[derive(Clone, Debug, PartialEq)]
pub struct Writer {
    /// How many pages it writes, repeats included, for each page that the link sends.
    pub load: f64,
    /// Which ones.
    pub pattern: Pattern,
    /// Whether they lie together or all over memory.
    pub place: Where,
}

impl Guest {
    /// What it writes.
    pub fn trace(&self) -> Trace {
        let mut random = Random::new(self.seed);
        let window_s = WINDOW.as_secs_f64();
        let count = (self.copy_s * COPIES / window_s) as usize;
        let per_window = f64::from(self.pages) * window_s / self.copy_s;
        let mut writers: Vec<_> = self.writers.iter().map(|w| w.start(self.pages)).collect();
        let window = |at: usize| {
            let mut written = Vec::new();
            for (writer, running) in self.writers.iter().zip(&mut writers) {
                let at_s = at as f64 * window_s;
                let writes = writer.load * running.activity(at_s) * per_window;
                for _ in 0..random.round(writes) {
                    written.push(running.page(at_s, &mut random));
                }
            }
            written.sort_unstable();
            written.dedup();
            Window { length: WINDOW, pages: written }
        };
        let windows = Windows::new((0..count).map(window).collect());
        let windows = windows.expect("a trace is longer than a window");
        Trace::new(self.pages, f64::from(self.pages) / self.copy_s, windows)
            .named(self.name.clone(), self.family.to_owned())
    }
}

impl Writer {
    fn start(&self, pages: u32) -> pattern::Running {
        pattern::Running::new(&self.pattern, self.place, pages)
    }
}
