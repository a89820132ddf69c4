//! The sending half of the pipeline: guest memory is read into batches, and another thread writes
//! them to the receiver, so that neither waits for the other without need.
//!
//! The queue between them is short, and at the end of a round it is emptied
//! ([`Outgoing::wait_until_taken`]): what waits in it while the guest goes on will be sent twice.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use super::rate::Rate;
use super::sink::Sink;
use crate::hypervisor::PageBatch;
use crate::stream::libxc::{PageRun, page_data, write};

/// Batches that may wait between reader and writer. With one being read by each reader and one being
/// written, this bounds the pages held in memory to 16 MiB, and 4 MiB for each further reader.
const QUEUED_BATCHES: usize = 2;

/// What travels through the queue.
enum Item {
    Batch(PageBatch),
    Bytes(Vec<u8>),
    /// Say when all before has been written.
    Drain(SyncSender<()>),
    /// Say when the sink is as good as rid of it, too: when it will be within this time.
    WaitUntilTaken(Duration, SyncSender<()>),
    /// What comes after this travels no faster.
    Limit(Option<Rate>),
}

/// The writer thread has stopped, because it failed: [`Outgoing::failure`] says why.
#[derive(Debug)]
pub(super) struct Broken;

/// The engine's end of the pipeline.
pub(super) struct Outgoing<'scope> {
    queue: SyncSender<Item>,
    used: Mutex<Receiver<PageBatch>>,
    give_back: Sender<PageBatch>,
    writer: ScopedJoinHandle<'scope, io::Result<()>>,
    sent_bytes: Arc<AtomicU64>,
}

impl<'scope> Outgoing<'scope> {
    /// Starts the writer thread on `sink`.
    pub(super) fn start<'env, W: Sink + Send>(
        scope: &'scope Scope<'scope, 'env>,
        sink: &'env mut W,
    ) -> Self {
        let (queue, items) = sync_channel(QUEUED_BATCHES);
        let (give_back, used) = channel();
        let sent_bytes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent_bytes);
        let written = give_back.clone();
        let writer = scope.spawn(move || {
            let mut writer = Writer { sink, head: Vec::new(), sent_bytes: &counter };
            for item in items {
                match item {
                    Item::Bytes(bytes) => writer.write(&bytes, &[])?,
                    Item::Batch(mut batch) => {
                        writer.write_batch(&mut batch)?;
                        // The readers may have gone; then nobody needs the memory back.
                        let _ = written.send(batch);
                    }
                    Item::Drain(done) => {
                        let _ = done.send(());
                    }
                    Item::WaitUntilTaken(within, done) => {
                        writer.sink.wait_until_taken(within)?;
                        let _ = done.send(());
                    }
                    Item::Limit(limit) => writer.sink.set_rate(limit),
                }
            }
            writer.sink.flush()
        });
        Self { queue, used: Mutex::new(used), give_back, writer, sent_bytes }
    }

    /// An empty batch to fill, recycled where one has come back.
    pub(super) fn empty_batch(&self) -> PageBatch {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).try_recv();
        let mut batch = used.unwrap_or_else(|_| PageBatch::new());
        batch.clear();
        batch
    }

    /// Takes a batch back that was not sent after all.
    pub(super) fn give_back(&self, batch: PageBatch) {
        // The other end is ours.
        let _ = self.give_back.send(batch);
    }

    /// Queues a batch. Waits while the queue is full.
    pub(super) fn send_batch(&self, batch: PageBatch) -> Result<(), Broken> {
        self.queue.send(Item::Batch(batch)).map_err(|_| Broken)
    }

    /// Queues encoded records.
    pub(super) fn send_bytes(&self, bytes: Vec<u8>) -> Result<(), Broken> {
        self.queue.send(Item::Bytes(bytes)).map_err(|_| Broken)
    }

    /// What is queued from now on travels no faster than this.
    pub(super) fn limit(&self, limit: Option<Rate>) -> Result<(), Broken> {
        self.queue.send(Item::Limit(limit)).map_err(|_| Broken)
    }

    /// Waits until all that was queued has been written.
    pub(super) fn drain(&self) -> Result<(), Broken> {
        self.wait_for(Item::Drain)
    }

    /// Waits until all that was queued has been written, and has left the sink or will within the
    /// given time.
    pub(super) fn wait_until_taken(&self, within: Duration) -> Result<(), Broken> {
        self.wait_for(|done| Item::WaitUntilTaken(within, done))
    }

    fn wait_for(&self, item: impl FnOnce(SyncSender<()>) -> Item) -> Result<(), Broken> {
        let (done, wait) = sync_channel(1);
        self.queue.send(item(done)).map_err(|_| Broken)?;
        wait.recv().map_err(|_| Broken)
    }

    /// Bytes that the sink has taken.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Ends the pipeline: lets the writer finish what is queued and gives its verdict. A writer that
    /// panicked has failed like any other: the guest must not stay suspended for it.
    pub(super) fn finish(self) -> io::Result<()> {
        drop(self.queue);
        let panicked = |_| Err(io::Error::other("the thread that writes to it panicked"));
        self.writer.join().unwrap_or_else(panicked)
    }
}

/// The writer thread's state.
struct Writer<'a, W> {
    sink: &'a mut W,
    head: Vec<u8>,
    sent_bytes: &'a AtomicU64,
}

impl<W: Sink> Writer<'_, W> {
    /// Pages of zeroes first: the receiver then populates them and those that follow together.
    fn write_batch(&mut self, batch: &mut PageBatch) -> io::Result<()> {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        if !batch.zeroes.is_empty() {
            batch.zeroes.sort_unstable();
            write::zero_pages(&mut head, &PageRun::all_of(batch.zeroes.iter().copied()))?;
        }
        let page_bytes = match batch.entries.is_empty() {
            true => 0,
            false => page_data::encode_head(&batch.entries, &mut head).map_err(io::Error::other)?,
        };
        if page_bytes != batch.data.len() {
            return Err(io::Error::other("a batch's entries and its pages do not match"));
        }
        let result = self.write(&head, &batch.data);
        self.head = head;
        result
    }

    /// Writes `first` and `second` as one: in one system call where the sink takes it.
    fn write(&mut self, first: &[u8], second: &[u8]) -> io::Result<()> {
        let mut slices = [IoSlice::new(first), IoSlice::new(second)];
        let mut rest = &mut slices[..];
        // Drops empty slices at the front; an empty write would look like a closed sink.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match self.sink.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.sent_bytes.fetch_add(n as u64, Ordering::Relaxed);
                    IoSlice::advance_slices(&mut rest, n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
