//! The real thing: what a session does to this guest.

use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use guest_notifier::protocol::{Cache, PrepareOrder, Reply, Share};

use crate::config::Config;
use crate::grip::Places;
use crate::guardian::Guardian;
use crate::holding::Holding;
use crate::ledger::Ledger;
use crate::lock::locked;
use crate::memory::Files;
use crate::say::{complain, say};
use crate::session::Deeds;
use crate::{hooks, meter};

/// The command of the agent's program that zeroes free memory.
pub const ZERO: &str = "zero";

/// What is kept of the host's deadline, to answer in time.
const MARGIN: Duration = Duration::from_millis(300);

/// All that the agent does.
#[derive(Debug)]
pub struct Work {
    config: Arc<Config>,
    files: Files,
    places: Places,
    ledger: Arc<Mutex<Ledger>>,
    guardian: Guardian,
    soft_dirty: bool,
    /// Somebody releases what is held if we die.
    is_guarded: bool,
    preparing: Option<Preparing>,
    holding: Option<Holding>,
}

#[derive(Debug)]
struct Preparing {
    cancel: Arc<AtomicBool>,
    result: Receiver<Reply>,
    thread: JoinHandle<()>,
}

impl Work {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(
        config: Config,
        files: Files,
        places: Places,
        ledger: Ledger,
        guardian: Guardian,
    ) -> Self {
        let soft_dirty = meter::is_supported();
        if !soft_dirty {
            say("this kernel does not say what a process writes; nobody is held");
        }
        Self {
            config: Arc::new(config),
            files,
            places,
            ledger: Arc::new(Mutex::new(ledger)),
            guardian,
            soft_dirty,
            is_guarded: true,
            preparing: None,
            holding: None,
        }
    }

    fn stop_preparing(&mut self) {
        if let Some(preparing) = self.preparing.take() {
            preparing.cancel.store(true, Ordering::Relaxed);
            let _ = preparing.thread.join();
        }
    }
}

impl Deeds for Work {
    fn prepare(&mut self, order: &PrepareOrder) {
        self.stop_preparing();
        let until = Instant::now() + order.deadline().saturating_sub(MARGIN);
        let cancel = Arc::new(AtomicBool::new(false));
        let (sender, result) = mpsc::channel();
        let preparation = Preparation {
            config: Arc::clone(&self.config),
            files: self.files.clone(),
            ledger: Arc::clone(&self.ledger),
            soft_dirty: self.soft_dirty,
            order: *order,
            until,
            cancel: Arc::clone(&cancel),
        };
        let thread = thread::spawn(move || {
            // Nobody hears it who does not prepare any more.
            let _ = sender.send(preparation.run());
        });
        self.preparing = Some(Preparing { cancel, result, thread });
    }

    fn prepared(&mut self) -> Option<Reply> {
        let reply = self.preparing.as_ref()?.result.try_recv().ok()?;
        self.stop_preparing();
        Some(reply)
    }

    fn share(&mut self, share: &Share) {
        self.stop_preparing();
        if !self.soft_dirty || !self.config.hold || !self.is_guarded {
            return;
        }
        let rate = f64::from(share.rate_kib_s) * 1024.0;
        match &self.holding {
            Some(holding) => holding.set_rate(rate),
            None => {
                let allowed = self.config.allowed.clone();
                let (places, ledger) = (self.places.clone(), Arc::clone(&self.ledger));
                self.holding = Some(Holding::start(places, ledger, allowed, rate));
            }
        }
    }

    fn still(&mut self) -> u32 {
        let held = self.holding.as_ref().map_or(0, Holding::still);
        u32::try_from(held).unwrap_or(u32::MAX)
    }

    fn release(&mut self) {
        self.stop_preparing();
        self.holding = None;
        locked(&self.ledger).release(&self.places, &self.files);
    }

    fn alive(&mut self, busy: bool) {
        let alive = self.guardian.alive(busy);
        self.is_guarded = alive.is_ok();
        if let Err(error) = alive {
            complain(format_args!("there is no guardian, so nothing is held: {error}"));
            self.release();
        }
    }
}

/// What is done before the move, on a thread of its own.
struct Preparation {
    config: Arc<Config>,
    files: Files,
    ledger: Arc<Mutex<Ledger>>,
    soft_dirty: bool,
    order: PrepareOrder,
    until: Instant,
    cancel: Arc<AtomicBool>,
}

impl Preparation {
    fn run(&self) -> Reply {
        let Self { config, order, cancel, .. } = self;
        let hooks = hooks::run(&config.hooks, config.hook_limit, self.until, cancel);
        // The kernel cannot be told to stop: a big cache takes its time.
        if order.cache == Cache::Drop
            && config.cache
            && Instant::now() < self.until
            && !cancel.load(Ordering::Relaxed)
            && let Err(error) = self.files.drop_cache()
        {
            return Reply::Failed(format!("cannot drop page cache: {error}"));
        }
        let mut freed_kib = 0;
        if order.balloon && config.balloon && !cancel.load(Ordering::Relaxed) {
            match self.give_back() {
                Ok(kib) => freed_kib = kib,
                Err(error) => return Reply::Failed(format!("cannot give memory back: {error}")),
            }
        }
        if order.zero
            && config.cache
            && let Err(error) = self.zero_free()
        {
            return Reply::Failed(format!("cannot zero free memory: {error}"));
        }
        let soft_dirty = self.soft_dirty && config.hold;
        Reply::Done { freed_kib, hooks_failed: hooks.failed, soft_dirty, held: 0 }
    }

    /// By a process of its own, which is the first to go should memory get short.
    fn zero_free(&self) -> io::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ZERO).args(self.config.reserve_kib.map(|kib| kib.to_string()));
        // However far it comes is as good.
        hooks::run_until(&mut command, self.until, &self.cancel).map(drop)
    }

    fn give_back(&self) -> io::Result<u64> {
        // What an earlier attempt has set is what we would come back to.
        if locked(&self.ledger).balloon().is_some() {
            return Ok(0);
        }
        let Some(target) = self.files.plan(self.config.reserve_kib) else { return Ok(0) };
        locked(&self.ledger).set_balloon(Some(target))?;
        self.files.give_back(target, self.until, &self.cancel)
    }
}
