//! How far it is: a bar on a terminal, a line once a second elsewhere. On standard error, so that
//! standard output stays what was asked for.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::Global;
use crate::migration::progress::{Progress, Stage};
use crate::toolstack::migrate::{self, Event};

/// How often progress is told in lines, and what a rate is measured over.
const INTERVAL: Duration = Duration::from_secs(1);
/// Redraws of a bar in a second, at most.
const REDRAWS: u8 = 5;
/// A page in MiB.
const PAGE_MIB: f64 = 4.0 / 1024.0;

/// Where progress is shown.
enum Style {
    /// Nowhere.
    Hidden,
    /// In lines.
    Lines,
    /// In one line, with carriage returns; whether that has no end yet.
    OneLine { is_open: bool },
    /// In a bar below all lines.
    Bar(ProgressBar),
}

/// What is on the screen.
pub(super) struct Screen {
    who: &'static str,
    style: Style,
    meter: Meter,
    told: Option<Instant>,
}

impl Screen {
    /// For the one who moves or saves a guest.
    pub(super) fn of_sender(global: &Global, who: &'static str) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
        let style = match target.is_hidden() {
            _ if global.progress_with_cr => Style::OneLine { is_open: false },
            // Messages of the log would run into it.
            false if global.verbosity == 0 => Style::Bar(bar(target)),
            // No terminal, or one that cannot draw.
            _ => Style::Lines,
        };
        Self::new(who, style)
    }

    /// For the one who receives it: the sender shows how far it is, often on the same terminal.
    pub(super) fn of_receiver(global: &Global, who: &'static str) -> Self {
        Self::new(who, if global.verbosity == 0 { Style::Hidden } else { Style::Lines })
    }

    fn new(who: &'static str, style: Style) -> Self {
        Self { who, style, meter: Meter::default(), told: None }
    }

    pub(super) fn show(&mut self, event: &Event) {
        match event {
            Event::Line(text) => self.line(text),
            Event::Stage(stage) => {
                log::info!("{}: stage {stage}", self.who);
                // In the first one ssh may be asking for a password, in the same place.
                if let Style::Bar(bar) = &self.style
                    && *stage > migrate::Stage::PreMigration
                {
                    bar.set_length(0);
                    bar.set_message(stage.to_string());
                }
            }
            Event::Progress(now) => self.progress(now, Instant::now()),
        }
    }

    fn line(&mut self, text: &str) {
        let mut end = "";
        if let Style::OneLine { is_open } = &mut self.style
            && std::mem::take(is_open)
        {
            end = "\n";
        }
        // Nobody left to tell: nothing to be done about it.
        let write = || drop(io::stderr().write_all(format!("{end}{text}\n").as_bytes()));
        match &self.style {
            Style::Bar(bar) => bar.suspend(write),
            _ => write(),
        }
    }

    fn progress(&mut self, progress: &Progress, now: Instant) {
        let pages_per_s = self.meter.measure(progress, now);
        if let Style::Bar(bar) = &self.style {
            bar.set_length(progress.total_pages);
            bar.set_position(progress.done_pages);
            bar.set_message(in_words(progress, pages_per_s));
            return;
        }
        let told = *self.told.get_or_insert(now);
        if now.duration_since(told) < INTERVAL {
            return;
        }
        self.told = Some(now);
        let text = format!("{}: {}", self.who, in_words(progress, pages_per_s));
        match &mut self.style {
            Style::OneLine { is_open } => {
                *is_open = true;
                let _ = io::stderr().write_all(format!("\r{text:<76}").as_bytes());
            }
            Style::Lines => self.line(&text),
            Style::Hidden | Style::Bar(_) => {}
        }
    }
}

fn bar(target: ProgressDrawTarget) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), target);
    let style = ProgressStyle::with_template("{msg} [{wide_bar}]");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
}

/// Measures the rate of a stage.
#[derive(Debug, Default)]
struct Meter {
    /// The stage, and the pages that were done when the measurement began.
    since: Option<(Stage, u64, Instant)>,
    pages_per_s: Option<f64>,
}

impl Meter {
    /// Pages per second over the last interval; of a stage that is younger than that, so far.
    fn measure(&mut self, progress: &Progress, now: Instant) -> Option<f64> {
        let (stage, before, since) =
            *self.since.get_or_insert((progress.stage, progress.done_pages, now));
        if stage != progress.stage {
            (self.since, self.pages_per_s) = (Some((progress.stage, 0, now)), None);
            return None;
        }
        let elapsed = now.duration_since(since);
        let rate = progress.done_pages.saturating_sub(before) as f64 / elapsed.as_secs_f64();
        if elapsed >= INTERVAL {
            self.since = Some((stage, progress.done_pages, now));
            self.pages_per_s = Some(rate);
        }
        self.pages_per_s.or_else(|| Some(rate).filter(|rate| rate.is_finite() && *rate > 0.0))
    }
}

fn in_words(now: &Progress, pages_per_s: Option<f64>) -> String {
    let stage = match now.stage {
        Stage::PreCopy { round } => format!("pre-copy, round {round}"),
        Stage::StopAndCopy => "stop-and-copy".to_owned(),
        Stage::Verify => "verify".to_owned(),
        Stage::Receiving => "received".to_owned(),
    };
    let rate = pages_per_s.map_or(String::new(), |n| format!(", {:.1} MiB/s", n * PAGE_MIB));
    if now.stage == Stage::Receiving {
        return format!("{stage} {:.0} MiB{rate}", now.done_pages as f64 * PAGE_MIB);
    }
    let left_pages = now.total_pages.saturating_sub(now.done_pages);
    let left = match pages_per_s.filter(|&rate| rate > 0.0) {
        Some(rate) => format!(", {:.0} s left", left_pages as f64 / rate),
        None => String::new(),
    };
    let percent = now.done_pages.saturating_mul(100) / now.total_pages.max(1);
    format!("{stage}: {} of {} pages ({percent}%){rate}{left}", now.done_pages, now.total_pages)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    fn progress(round: u32, done_pages: u64) -> Progress {
        Progress {
            stage: Stage::PreCopy { round },
            done_pages,
            data_pages: done_pages,
            total_pages: 1000,
            sent_bytes: 0,
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_second_and_of_the_round() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(meter.measure(&progress(0, 0), at(0)), None);
        assert_eq!(meter.measure(&progress(0, 50), at(500)), Some(100.0), "so far");
        assert_eq!(meter.measure(&progress(0, 200), at(1000)), Some(200.0));
        assert_eq!(meter.measure(&progress(0, 210), at(1500)), Some(200.0));
        assert_eq!(meter.measure(&progress(0, 500), at(2000)), Some(300.0));
        assert_eq!(meter.measure(&progress(1, 0), at(2100)), None, "another round");
        assert_eq!(meter.measure(&progress(1, 10), at(2200)), Some(100.0));
    }

    #[test]
    fn says_stage_round_pages_rate_and_what_is_left() {
        assert_eq!(
            in_words(&progress(2, 250), Some(256.0)),
            "pre-copy, round 2: 250 of 1000 pages (25%), 1.0 MiB/s, 3 s left"
        );
        assert_eq!(in_words(&progress(0, 0), None), "pre-copy, round 0: 0 of 1000 pages (0%)");
        let received = Progress {
            stage: Stage::Receiving,
            done_pages: 512,
            data_pages: 512,
            total_pages: 0,
            sent_bytes: 0,
        };
        assert_eq!(in_words(&received, None), "received 2 MiB");
    }

    /// A terminal that keeps what is drawn.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl Paper {
        fn put(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            100
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.put(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.put(text)
        }

        fn clear_line(&self) -> io::Result<()> {
            self.put("\n")
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_has_it_all_and_is_gone_at_the_end() {
        let paper = Paper::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(paper.clone()), 255);
        let mut screen = Screen::new("test", Style::Bar(bar(target)));
        screen.show(&Event::Stage(migrate::Stage::PreMigration));
        assert_eq!(*paper.0.lock().unwrap(), "", "that belongs to a prompt");
        screen.show(&Event::Stage(migrate::Stage::Reservation));
        for done_pages in [0, 500] {
            std::thread::sleep(Duration::from_millis(50));
            screen.show(&Event::Progress(progress(1, done_pages)));
        }
        drop(screen);
        let drawn = paper.0.lock().unwrap().clone();
        assert!(drawn.contains("reservation"), "{drawn:?}");
        let line = drawn.lines().find(|line| line.contains("500 of 1000")).expect(&drawn);
        assert!(line.contains("pre-copy, round 1") && line.contains("MiB/s"), "{line:?}");
        assert!(line.contains("s left") && line.contains("=>"), "{line:?}");
        assert!(drawn.ends_with('\n'), "what is drawn last is cleared: {drawn:?}");
    }
}
