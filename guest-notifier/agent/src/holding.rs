//! The thread that measures what processes write, and holds those above their share.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::grip::{Grip, Places};
use crate::ledger::Ledger;
use crate::meter::Meter;
use crate::process::{self, Process};
use crate::queue::{Queue, TURN, Writer, judge};

/// How long is measured at a time.
const WINDOW: Duration = Duration::from_secs(1);
/// The first time: what writes fast is to be held soon.
const FIRST_WINDOW: Duration = Duration::from_millis(250);
/// A window that ends in somebody's turn waits for its end.
const LEAST_NAP: Duration = Duration::from_millis(10);
/// How long an answer of the thread is waited for. It may be reading a large process's pagemap.
const ANSWER: Duration = Duration::from_millis(400);

/// The thread, as long as this lives. Dropping it releases everybody.
#[derive(Debug)]
pub struct Holding {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    /// What all processes together may write, in bytes a second.
    Rate(f64),
    /// Let nobody run who is held, and say how many there are.
    Still(Sender<u32>),
}

impl Holding {
    /// Begins to measure. `allowed` names those who are never held.
    #[must_use]
    pub fn start(
        places: Places,
        ledger: Arc<Mutex<Ledger>>,
        allowed: BTreeSet<String>,
        rate: f64,
    ) -> Self {
        let (orders, inbox) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut holder = Holder {
                meter: Meter::new(&places.proc),
                places,
                ledger,
                allowed,
                rate,
                queue: Queue::default(),
                held: HashMap::new(),
                running: None,
                began: Instant::now(),
            };
            holder.run(&inbox);
            holder.let_all_go();
        });
        Self { orders: Some(orders), thread: Some(thread) }
    }

    /// Another rate, in bytes a second.
    pub fn set_rate(&self, rate: f64) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(Order::Rate(rate));
        }
    }

    /// Nobody who is held runs any more. How many they are, if that is known soon.
    #[must_use]
    pub fn still(&self) -> u32 {
        let (answer, inbox) = mpsc::channel();
        if let Some(orders) = &self.orders {
            let _ = orders.send(Order::Still(answer));
        }
        inbox.recv_timeout(ANSWER).unwrap_or(0)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Holder {
    places: Places,
    ledger: Arc<Mutex<Ledger>>,
    allowed: BTreeSet<String>,
    rate: f64,
    meter: Meter,
    queue: Queue,
    held: HashMap<Process, Grip>,
    /// Whose turn it is, and since when.
    running: Option<(Process, Duration)>,
    began: Instant,
}

impl Holder {
    /// Until nobody gives orders any more.
    fn run(&mut self, inbox: &Receiver<Order>) {
        self.measure();
        let mut next_window = Instant::now() + FIRST_WINDOW;
        let mut still = false;
        loop {
            let until = if still {
                Instant::now() + WINDOW
            } else {
                self.end_turn();
                // Not in somebody's turn, which would be a long one.
                if self.running.is_none() && Instant::now() >= next_window {
                    self.measure();
                    next_window = Instant::now() + WINDOW;
                }
                let now = self.began.elapsed();
                let turn = self.queue.turn(now);
                self.give_turn(turn.who, now);
                next_window.max(Instant::now() + LEAST_NAP).min(self.began + turn.until)
            };
            match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Order::Rate(rate)) => {
                    self.rate = rate;
                    if still {
                        still = false;
                        next_window = Instant::now();
                    }
                }
                Ok(Order::Still(answer)) => {
                    still = true;
                    self.give_turn(None, Duration::ZERO);
                    let _ = answer.send(u32::try_from(self.held.len()).unwrap_or(u32::MAX));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Ends a window: who is above its share joins the queue, who is not leaves it. Those who are held
    /// are measured in their turns.
    fn measure(&mut self) {
        let held: HashSet<Process> = self.held.keys().copied().collect();
        let all = process::all(&self.places.proc);
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        let mut candidates = process::candidates(&all, me, &self.allowed, &held);
        let alive: HashSet<Process> = candidates.iter().map(|look| look.process).collect();
        let waiting = self.queue.members().filter(|writer| alive.contains(&writer.process));
        let mut writers: Vec<Writer> = waiting.collect();
        candidates.retain(|look| !held.contains(&look.process));
        writers.extend(self.meter.window(&candidates).into_iter().map(|written| {
            let rate = written.bytes as f64 / written.window.as_secs_f64().max(0.001);
            Writer { process: written.process, rate }
        }));
        self.queue.set(judge(writers, self.rate));
        self.adjust();
    }

    /// Holds those in the queue and nobody else.
    fn adjust(&mut self) {
        let members: Vec<Process> = self.queue.members().map(|writer| writer.process).collect();
        let leaving: Vec<Process> =
            self.held.keys().filter(|process| !members.contains(process)).copied().collect();
        let coming: Vec<Grip> = members
            .iter()
            .filter(|process| !self.held.contains_key(process))
            .map(|process| Grip::choose(&self.places, *process))
            .collect();
        if leaving.is_empty() && coming.is_empty() {
            return;
        }
        for process in leaving {
            if let Some(grip) = self.held.remove(&process) {
                let _ = grip.go(&self.places);
            }
            self.running = self.running.filter(|(running, _)| *running != process);
        }
        let noted: Vec<Grip> = self.held.values().chain(&coming).cloned().collect();
        if let Err(error) = self.write_down(noted) {
            eprintln!("xend-agent: nobody more is held, it cannot be written down: {error}");
            return;
        }
        for grip in coming {
            println!("xend-agent: process {} is held", grip.process.pid);
            if grip.stop(&self.places).is_ok() {
                self.held.insert(grip.process, grip);
            }
        }
    }

    /// Ends a turn that has lasted for long enough, and sees what was written in it.
    fn end_turn(&mut self) {
        let now = self.began.elapsed();
        let Some((process, since)) = self.running.filter(|(_, since)| now >= *since + TURN) else {
            return;
        };
        self.give_turn(None, now);
        let ran = (self.began.elapsed() - since).as_secs_f64();
        if let Ok(bytes) = self.meter.since(process) {
            self.queue.correct(bytes as f64 / ran);
        }
    }

    fn give_turn(&mut self, who: Option<Process>, now: Duration) {
        if self.running.map(|(process, _)| process) == who {
            return;
        }
        if let Some((process, _)) = self.running.take()
            && let Some(grip) = self.held.get(&process)
        {
            let _ = grip.stop(&self.places);
        }
        if let Some(process) = who
            && let Some(grip) = self.held.get(&process)
            && self.meter.begin(process).is_ok()
            && grip.go(&self.places).is_ok()
        {
            self.running = Some((process, now));
        }
    }

    fn let_all_go(&mut self) {
        for (_, grip) in self.held.drain() {
            // One that has ended needs nothing.
            let _ = grip.go(&self.places);
        }
        if let Err(error) = self.write_down(Vec::new()) {
            eprintln!("xend-agent: cannot note that nobody is held any more: {error}");
        }
    }

    fn write_down(&self, grips: Vec<Grip>) -> std::io::Result<()> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).set_grips(grips)
    }
}
