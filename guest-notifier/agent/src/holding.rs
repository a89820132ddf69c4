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
use crate::queue::{Queue, Writer, judge};

/// How long is measured at a time.
const WINDOW: Duration = Duration::from_secs(1);
/// The first time: what writes fast is to be held soon.
const FIRST_WINDOW: Duration = Duration::from_millis(250);
/// How long an answer of the thread is waited for. It may be reading a large process's pagemap.
const ANSWER: Duration = Duration::from_millis(400);
/// One that ran for less tells too little of its rate.
const LEAST_RUN: Duration = Duration::from_millis(20);

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
                ran: HashMap::new(),
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
    /// Whose turn it is.
    running: Option<(Process, Instant)>,
    /// How long each of the held ran in this window.
    ran: HashMap<Process, Duration>,
    began: Instant,
}

impl Holder {
    /// Until nobody gives orders any more.
    fn run(&mut self, inbox: &Receiver<Order>) {
        self.measure();
        let mut next_window = Instant::now() + FIRST_WINDOW;
        let mut still = false;
        loop {
            let now = Instant::now();
            if !still && now >= next_window {
                self.measure();
                next_window = Instant::now() + WINDOW;
            }
            let until = if still {
                now + WINDOW
            } else {
                let turn = self.queue.turn(self.began.elapsed());
                self.give_turn(turn.who);
                next_window.min(self.began + turn.until)
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
                    self.give_turn(None);
                    let _ = answer.send(u32::try_from(self.held.len()).unwrap_or(u32::MAX));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Ends a window: who is above its share joins the queue, who is not leaves it.
    fn measure(&mut self) {
        self.note_run();
        let held: HashSet<Process> = self.held.keys().copied().collect();
        let all = process::all(&self.places.proc);
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        let candidates = process::candidates(&all, me, &self.allowed, &held);
        let written = self.meter.window(&candidates);
        let alive: HashSet<Process> = candidates.iter().map(|look| look.process).collect();
        // Whoever is held keeps the rate it was held for, until it has run for long enough to tell.
        let mut rates: HashMap<Process, f64> =
            self.queue.members().map(|writer| (writer.process, writer.rate)).collect();
        rates.retain(|process, _| alive.contains(process));
        for written in written {
            let ran = match self.held.contains_key(&written.process) {
                true => self.ran.get(&written.process).copied().unwrap_or_default(),
                false => written.window,
            };
            if ran >= LEAST_RUN {
                rates.insert(written.process, written.bytes as f64 / ran.as_secs_f64());
            }
        }
        self.ran.clear();
        let writers = rates.into_iter().map(|(process, rate)| Writer { process, rate }).collect();
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

    fn give_turn(&mut self, who: Option<Process>) {
        if self.running.map(|(process, _)| process) == who {
            return;
        }
        self.note_run();
        if let Some((process, _)) = self.running.take()
            && let Some(grip) = self.held.get(&process)
        {
            let _ = grip.stop(&self.places);
        }
        if let Some(process) = who
            && let Some(grip) = self.held.get(&process)
            && grip.go(&self.places).is_ok()
        {
            self.running = Some((process, Instant::now()));
        }
    }

    /// Counts how long the one whose turn it is has run.
    fn note_run(&mut self) {
        if let Some((process, since)) = &mut self.running {
            let now = Instant::now();
            *self.ran.entry(*process).or_default() += now - *since;
            *since = now;
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
