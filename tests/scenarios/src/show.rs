//! A migration under way, shown: a bar on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::flight::{Account, Flight};
use crate::progress::Pass;

/// How often the record of a migration is looked at. Each look costs the emulated Dom0 some 20 ms.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
const LINE_PERIOD: Duration = Duration::from_secs(5);
/// How far back the rate looks, in looks.
const RATE_LOOKS: usize = 8;

/// Follows a recorded migration to its end.
///
/// # Errors
/// When it has no end within `timeout`, or a host does not answer.
pub fn follow(mut flight: Flight<'_>, label: &str, timeout: Duration) -> Result<Account> {
    let mut display = Display::new(label);
    loop {
        match flight.poll(LOOK_PERIOD)? {
            Ok(account) => {
                display.end();
                return Ok(account);
            }
            Err(still) => flight = still,
        }
        if flight.elapsed() > timeout {
            display.end();
            bail!(
                "no end after {} s: {}",
                timeout.as_secs(),
                flight.finish(Duration::ZERO)?.said()
            );
        }
        display.show(&flight.passes()?);
    }
}

struct Display {
    label: String,
    bar: Option<ProgressBar>,
    next_line: Instant,
    shown_pass: usize,
    /// Moments and pages sent by then, for the rate.
    looks: Vec<(Instant, u64)>,
}

impl Display {
    fn new(label: &str) -> Self {
        let bar = io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stdout());
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} pages {msg}");
            bar.set_style(
                style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "),
            );
            bar
        });
        Self {
            label: label.to_owned(),
            bar,
            next_line: Instant::now(),
            shown_pass: 0,
            looks: Vec::new(),
        }
    }

    fn show(&mut self, passes: &[Pass]) {
        let Some(pass) = passes.last() else { return };
        let done: u64 = passes.iter().map(|pass| pass.done_pages).sum();
        self.looks.push((Instant::now(), done));
        if self.looks.len() > RATE_LOOKS {
            self.looks.remove(0);
        }
        let what = pass.what.strip_prefix("Frames ").unwrap_or(&pass.what);
        let speed = self.speed(pass.total_pages.saturating_sub(pass.done_pages));
        if let Some(bar) = &self.bar {
            bar.set_length(pass.total_pages);
            bar.set_position(pass.done_pages);
            bar.set_prefix(format!("{}: {what}", self.label));
            bar.set_message(speed);
            return;
        }
        let now = Instant::now();
        if now >= self.next_line || passes.len() != self.shown_pass {
            println!(
                "{}: {what}: {}/{} pages {speed}",
                self.label, pass.done_pages, pass.total_pages
            );
            self.next_line = now + LINE_PERIOD;
            self.shown_pass = passes.len();
        }
    }

    /// The rate, and the time the rest of this pass takes at it.
    fn speed(&self, left_pages: u64) -> String {
        let (Some((from, before)), Some((to, after))) = (self.looks.first(), self.looks.last())
        else {
            return String::new();
        };
        let seconds = (*to - *from).as_secs_f64();
        let rate = after.saturating_sub(*before) as f64 / seconds;
        if seconds <= 0.0 || rate <= 0.0 {
            return String::new();
        }
        format!("{rate:.0} pages/s, {:.0} s left in this pass", left_pages as f64 / rate)
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
