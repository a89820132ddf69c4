//! The thread that tells the agent that we live.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use guest_notifier::Notifier;

use super::nodes::{Channel, GuestNodes};

/// How often it is asked whether that is due.
const PERIOD: Duration = Duration::from_millis(200);

/// The thread, as long as this lives.
#[derive(Debug)]
pub(super) struct Beat {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Beat {
    pub(super) fn start(notifier: Arc<Mutex<Notifier<GuestNodes, Channel>>>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                // Who has it is talking to the agent just now, which is as good.
                if let Ok(mut notifier) = notifier.try_lock() {
                    notifier.beat();
                }
                thread::park_timeout(PERIOD);
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
