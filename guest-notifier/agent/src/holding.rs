//! The thread that measures what processes write, and gives turns to those above their share.

use std::collections::{BTreeSet, HashSet};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::grip::Places;
use crate::hold::Hold;
use crate::ledger::Ledger;
use crate::lock::locked;
use crate::meter::Meter;
use crate::process::{self, Process};
use crate::queue::{Queue, TURN, Turn, Writer, judge};

/// How long is measured at a time.
const WINDOW: Duration = Duration::from_secs(1);
/// The first time: what writes fast is to be held soon.
const FIRST_WINDOW: Duration = Duration::from_millis(250);
/// A window that ends in somebody's turn waits for its end.
const LEAST_NAP: Duration = Duration::from_millis(10);
/// Measuring is followed by so many times as long without it: it takes the guest's processor, and much
/// more of it while Xen notes writes, for every mark that is cleared is a page table that changes.
const REST: u32 = 9;

/// The thread, as long as this lives. Dropping it releases everybody.
#[derive(Debug)]
pub struct Holding {
    rates: Option<Sender<f64>>,
    hold: Arc<Mutex<Hold>>,
    thread: Option<JoinHandle<()>>,
}

impl Holding {
    /// Begins to measure. `allowed` names those who are never held; all together may write `rate` bytes
    /// a second.
    #[must_use]
    pub fn start(
        places: Places,
        ledger: Arc<Mutex<Ledger>>,
        allowed: BTreeSet<String>,
        rate: f64,
    ) -> Self {
        let (rates, inbox) = mpsc::channel();
        let hold = Arc::new(Mutex::new(Hold::new(places.clone(), ledger)));
        let mut holder = Holder {
            meter: Meter::new(&places.proc),
            places,
            allowed,
            rate,
            queue: Queue::default(),
            hold: Arc::clone(&hold),
            began: Instant::now(),
            weigh_at: Instant::now(),
            weighing: None,
        };
        let thread = thread::spawn(move || holder.run(&inbox));
        Self { rates: Some(rates), hold, thread: Some(thread) }
    }

    /// Another rate, in bytes a second. Those who were held still get turns again.
    pub fn set_rate(&self, rate: f64) {
        // Not by the thread: what it hears late must not undo what was said since.
        locked(&self.hold).move_on();
        if let Some(rates) = &self.rates {
            let _ = rates.send(rate);
        }
    }

    /// Nobody who is held runs any more. How many they are.
    #[must_use]
    pub fn still(&self) -> usize {
        locked(&self.hold).still()
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        locked(&self.hold).let_all_go();
        self.rates = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Holder {
    places: Places,
    allowed: BTreeSet<String>,
    rate: f64,
    meter: Meter,
    queue: Queue,
    /// Not locked while it is measured.
    hold: Arc<Mutex<Hold>>,
    began: Instant,
    /// When a turn is to be measured again.
    weigh_at: Instant,
    /// The turn that is measured, and what it has cost so far.
    weighing: Option<(Process, Duration)>,
}

impl Holder {
    /// Until nobody tells rates any more.
    fn run(&mut self, inbox: &Receiver<f64>) {
        self.measure();
        let mut next_window = Instant::now() + FIRST_WINDOW;
        loop {
            let until = if self.hold().is_still() {
                Instant::now() + WINDOW
            } else {
                self.end_turn();
                // Not in somebody's turn, which would be a long one.
                if self.hold().running().is_none() && Instant::now() >= next_window {
                    let began = Instant::now();
                    self.measure();
                    next_window = Instant::now() + WINDOW.max(began.elapsed() * REST);
                }
                let turn = self.queue.turn(self.began.elapsed());
                let turn_ends = self.began + self.give(turn).until;
                next_window.max(Instant::now() + LEAST_NAP).min(turn_ends)
            };
            match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(rate) => self.rate = rate,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Ends a window: who is above its share joins the queue, who is not leaves it. Those who are held
    /// are measured in their turns.
    fn measure(&mut self) {
        let held: HashSet<Process> = self.hold().members().collect();
        let all = process::all(&self.places.proc);
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        let mut candidates = process::candidates(&all, me, &self.allowed, &held);
        let alive: HashSet<Process> = candidates.iter().map(|look| look.process).collect();
        let waiting = self.queue.members().filter(|writer| alive.contains(&writer.process));
        let waiting: Vec<Writer> = waiting.collect();
        candidates.retain(|look| !held.contains(&look.process));
        let free = self.meter.window(&candidates).into_iter().map(|written| {
            let rate = written.bytes as f64 / written.window.as_secs_f64().max(0.001);
            Writer { process: written.process, rate }
        });
        self.queue.set(judge(free.collect(), waiting, self.rate));
        let members: Vec<Process> = self.queue.members().map(|writer| writer.process).collect();
        self.hold().adjust(&members);
    }

    /// Ends a turn that has lasted for long enough, and sees what was written in it.
    fn end_turn(&mut self) {
        let now = self.began.elapsed();
        let Some((process, since)) = self.hold().running() else { return };
        if now < since + TURN {
            return;
        }
        self.hold().give_turn(None, now);
        let ran = (self.began.elapsed() - since).as_secs_f64();
        if let Some((weighed, cost)) = self.weighing.take()
            && weighed == process
        {
            let began = Instant::now();
            if let Ok(bytes) = self.meter.since(process) {
                self.queue.correct(bytes as f64 / ran);
            }
            self.weigh_at = Instant::now() + (cost + began.elapsed()) * REST;
        }
    }

    /// Has the process run whose turn it is. Says until when.
    fn give(&mut self, turn: Turn) -> Turn {
        if self.hold().running().map(|(process, _)| process) == turn.who {
            return turn;
        }
        let began = Instant::now();
        self.weighing = turn
            .who
            .filter(|_| began >= self.weigh_at)
            .filter(|process| self.meter.begin(*process).is_ok())
            .map(|process| (process, began.elapsed()));
        let now = self.began.elapsed();
        if !self.hold().give_turn(turn.who, now) {
            return turn;
        }
        self.queue.begin_now(now);
        Turn { until: now + TURN, ..turn }
    }

    fn hold(&self) -> MutexGuard<'_, Hold> {
        locked(&self.hold)
    }
}
