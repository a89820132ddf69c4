//! Showing what happens from a thread of its own: a terminal that takes nothing (Ctrl-S, a pager)
//! holds up that thread, and not the one that moves a guest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::toolstack::migrate::Event;

/// How many events wait at most.
const QUEUE: usize = 64;
/// How long a screen may take for a line before nobody waits for it any more.
const PATIENCE: Duration = Duration::from_millis(500);
const NAP: Duration = Duration::from_millis(2);

/// An event. What is sent with it is dropped when it has been drawn.
type Job = (Event, Sender<()>);

/// Draws events one after the other. What comes too fast for the screen is left out.
pub(super) struct Painter {
    /// `None` at the end.
    jobs: Option<SyncSender<Job>>,
    /// Disconnected when the last has been drawn.
    ended: Mutex<Receiver<()>>,
    /// The screen does not keep up: nobody waits for it.
    is_late: AtomicBool,
}

impl Painter {
    /// Begins to draw with `draw`, which is dropped at the end by the thread that calls it.
    pub(super) fn new(mut draw: impl FnMut(&Event) + Send + 'static) -> Self {
        let (jobs, queue) = mpsc::sync_channel::<Job>(QUEUE);
        let (end, ended) = mpsc::channel();
        let paint = move || {
            for (event, drawn) in queue {
                draw(&event);
                drop(drawn);
            }
            drop(draw);
            drop(end);
        };
        if let Err(error) = thread::Builder::new().name("screen".to_owned()).spawn(paint) {
            log::warn!("nothing is shown: {error}");
        }
        Self { jobs: Some(jobs), ended: Mutex::new(ended), is_late: AtomicBool::new(false) }
    }

    /// Shows an event. All but progress is on the screen then, if that takes it, so that what is
    /// printed otherwise comes after it.
    pub(super) fn show(&self, event: &Event) {
        let must_come = !matches!(event, Event::Progress(_)) && !self.is_late();
        let (drawing, drawn) = mpsc::channel();
        self.send((event.clone(), drawing), must_come);
        if must_come && drawn.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            self.is_late.store(true, Ordering::Relaxed);
        }
    }

    /// Puts it into the queue; if it must come, waits a while for room.
    fn send(&self, mut job: Job, must_come: bool) {
        let Some(jobs) = &self.jobs else { return };
        let until = Instant::now() + PATIENCE;
        while let Err(TrySendError::Full(refused)) = jobs.try_send(job) {
            if !must_come {
                return;
            }
            if Instant::now() >= until {
                self.is_late.store(true, Ordering::Relaxed);
                return;
            }
            job = refused;
            thread::sleep(NAP);
        }
    }

    fn is_late(&self) -> bool {
        self.is_late.load(Ordering::Relaxed)
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        self.jobs = None;
        let patience = if self.is_late() { NAP } else { PATIENCE };
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Whatever it says, it is over, or has taken too long.
        let _ = ended.recv_timeout(patience);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::migration::progress::{Progress, Stage};

    fn line(number: usize) -> Event {
        Event::Line(number.to_string())
    }

    fn progress() -> Event {
        Event::Progress(Progress {
            stage: Stage::StopAndCopy,
            done_pages: 1,
            data_pages: 1,
            total_pages: 2,
            sent_bytes: 0,
        })
    }

    #[test]
    fn lines_are_there_at_once_and_in_their_order() {
        let drawn = Arc::new(Mutex::new(Vec::new()));
        let paper = Arc::clone(&drawn);
        let painter = Painter::new(move |event: &Event| {
            if let Event::Line(text) = event {
                paper.lock().unwrap().push(text.clone());
            }
        });
        for number in 0..100 {
            (0..QUEUE).for_each(|_| painter.show(&progress()));
            painter.show(&line(number));
            assert_eq!(drawn.lock().unwrap().len(), number + 1);
        }
        drop(painter);
        assert_eq!(Arc::strong_count(&drawn), 1, "the screen is gone, too");
        let numbers = (0..100).map(|number: usize| number.to_string());
        assert!(drawn.lock().unwrap().iter().cloned().eq(numbers));
    }

    #[test]
    fn a_screen_that_stands_still_holds_up_nobody() {
        let (wake, asleep) = mpsc::channel::<()>();
        let painter = Painter::new(move |_: &Event| {
            let _ = asleep.recv();
        });
        let started = Instant::now();
        (0..10 * QUEUE).for_each(|_| painter.show(&progress()));
        assert!(started.elapsed() < PATIENCE, "progress waits for nobody");
        (0..10 * QUEUE).for_each(|number| painter.show(&line(number)));
        drop(painter);
        assert!(started.elapsed() < 10 * PATIENCE, "{:?}", started.elapsed());
        drop(wake);
    }
}
