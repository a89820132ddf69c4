//! A guest that works: a thread that writes to its hot pages until it is told to stop.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::memory::SimMemory;
use crate::hypervisor::types::Pfn;

/// A running writer. Dropping it stops it.
#[derive(Debug)]
pub struct SimWriter {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl SimWriter {
    /// Starts writing ever new values, as fast as it can, to the pfns of `hot` in turn.
    pub fn start(memory: SimMemory, hot: Range<u64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut writes = 0u64;
            while !stopped.load(Ordering::Relaxed) {
                let pfn = Pfn(hot.start + writes % (hot.end - hot.start));
                if memory.write(pfn, 8, &writes.to_le_bytes()) {
                    writes += 1;
                }
                thread::yield_now();
            }
            writes
        });
        Self { stop, thread: Some(thread) }
    }

    /// Stops it and tells how often it has written.
    pub fn stop(mut self) -> u64 {
        self.join()
    }

    fn join(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(0, |t| t.join().expect("the writer does not panic"))
    }
}

impl Drop for SimWriter {
    fn drop(&mut self) {
        self.join();
    }
}
