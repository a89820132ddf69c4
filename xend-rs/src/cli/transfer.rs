//! What the commands that move memory have in common: what they show, and how they are stopped.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::args::Args;
use super::interruption::Interruption;
use crate::migration::progress::{self, Progress};
use crate::toolstack::migrate::{Control, Event, Steps};

/// How often progress is shown.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows lines on standard error, and progress once a second; SIGINT, SIGTERM and SIGHUP cancel.
///
/// # Errors
/// If the signals cannot be handled.
pub(super) fn control(args: &Args, who: &'static str) -> io::Result<Control> {
    Ok(control_under(args, who, &Interruption::await_signals()?))
}

/// The same for what has an end before the process has.
pub(super) fn control_under(
    args: &Args,
    who: &'static str,
    interruption: &Interruption,
) -> Control {
    let shown =
        Mutex::new(Shown { who, on_one_line: args.global.progress_with_cr, ..Shown::new() });
    let show = move |event: &Event| {
        shown.lock().unwrap_or_else(PoisonError::into_inner).show(event);
    };
    let asked = interruption.cancel.clone();
    Control { asked, steps: Steps::from_environment(), show: Arc::new(show) }
}

/// What is on the screen.
struct Shown {
    who: &'static str,
    /// Progress replaces progress, with carriage returns.
    on_one_line: bool,
    /// The last line has no end yet.
    open: bool,
    last: Option<(progress::Stage, u64, Instant)>,
}

impl Shown {
    fn new() -> Self {
        Self { who: "", on_one_line: false, open: false, last: None }
    }

    fn show(&mut self, event: &Event) {
        match event {
            Event::Line(text) => self.line(text),
            Event::Stage(stage) => log::info!("{}: stage {stage}", self.who),
            Event::Progress(progress) => self.progress(progress),
        }
    }

    fn line(&mut self, text: &str) {
        let end = if std::mem::take(&mut self.open) { "\n" } else { "" };
        // Nobody left to tell: nothing to be done about it.
        let _ = io::stderr().write_all(format!("{end}{text}\n").as_bytes());
    }

    fn progress(&mut self, now: &Progress) {
        let Some((stage, pages, since)) = self.last else {
            self.last = Some((now.stage, now.done_pages, Instant::now()));
            return;
        };
        let elapsed = since.elapsed();
        if elapsed < INTERVAL {
            return;
        }
        self.last = Some((now.stage, now.done_pages, Instant::now()));
        let before = if stage == now.stage { pages } else { 0 };
        let per_second = now.done_pages.saturating_sub(before) as f64 / elapsed.as_secs_f64();
        let text = format!("{}: {}", self.who, in_words(now, per_second));
        if self.on_one_line {
            self.open = true;
            let _ = io::stderr().write_all(format!("\r{text:<76}").as_bytes());
        } else {
            self.line(&text);
        }
    }
}

fn in_words(now: &Progress, pages_per_second: f64) -> String {
    let rate = pages_per_second * 4.0 / 1024.0;
    let stage = match now.stage {
        progress::Stage::PreCopy { round } => format!("pre-copy, round {round}"),
        progress::Stage::StopAndCopy => "stop-and-copy".to_owned(),
        progress::Stage::Verify => "verify".to_owned(),
        progress::Stage::Receiving => {
            return format!("{} MiB received, {rate:.1} MiB/s", now.done_pages >> 8);
        }
    };
    let percent = now.done_pages * 100 / now.total_pages.max(1);
    let left = now.total_pages.saturating_sub(now.done_pages) as f64 / pages_per_second.max(1.0);
    format!(
        "{stage}: {} of {} pages ({percent}%), {rate:.1} MiB/s, {left:.0} s left",
        now.done_pages, now.total_pages
    )
}
