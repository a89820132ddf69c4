//! The stream: memory and state, through the engine, and the devices meanwhile.

use std::io::{self, IoSliceMut, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{Receiver, locked};
use crate::hypervisor::{DestinationGuest, MissingPolicies, RingFrames};
use crate::migration::progress::Progress;
use crate::migration::toolstack::{DestinationToolstack, ToolstackError};
use crate::migration::{RestoreReport, restore};
use crate::stream::xend::{self, Frame, PREFACE_BYTES, PREFACE_MAGIC};
use crate::stream::{Source, libxl};
use crate::toolstack::migrate::control::{Control, Event};
use crate::toolstack::migrate::error::ReceiveError;
use crate::toolstack::migrate::host::{DestinationHost, Incoming};
use crate::toolstack::migrate::stage::{Stage, Step};
use crate::transport::{FdSink, FdSource, Least};

/// How often a receiver says how far it is, if it has come further.
const TAKEN: Duration = Duration::from_millis(50);
/// How often it shows that it is alive when there is nothing to say.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// What a sender has to send, at least, within so many times the silence that it is allowed. It may
/// well send nothing while it looks through a large guest that does nothing, and little after.
const LEAST_BYTES: u64 = 64 * 1024;
const SILENCES: u32 = 5;

impl<H: DestinationHost> Receiver<'_, H> {
    /// Everything up to the end of the stream, and the devices meanwhile. The engine's guest is given
    /// back to be dropped when there is time: that unmaps what a standing guest need not wait for.
    pub(super) fn transfer(
        &mut self,
        incoming: &mut H::Incoming,
    ) -> Result<(RestoreReport, <H::Incoming as Incoming>::Guest), ReceiveError> {
        let taken_bytes = self.source.get_mut().taken_bytes();
        let start_bytes = taken_bytes.load(Ordering::Relaxed);
        self.set_deadline(Some(self.reception.limit));
        let mut first = [0; PREFACE_MAGIC.len()];
        self.source.read_whole("the sender's choice of conversation", &mut first)?;
        let mut before = first.to_vec();
        if first == PREFACE_MAGIC {
            let mut rest = [0; PREFACE_BYTES - PREFACE_MAGIC.len()];
            self.source.read_whole("the sender's choice of conversation", &mut rest)?;
            let version = xend::decode_preface(rest);
            if !xend::our_versions().contains(&version) {
                return Err(ReceiveError::Unexpected(format!("version {version} of xend's")));
            }
            self.version = Some(version);
            before.clear();
        }
        self.set_deadline(None);
        let silence = self.reception.stream_limit;
        let source = self.source.get_mut();
        source.set_limit(Some(silence));
        source.set_least(Some(Least { bytes: LEAST_BYTES, within: silence * SILENCES }));
        let mut engine_guest = incoming.open_guest()?;
        self.stage(Stage::PreCopy);
        let (host, control, sink) = (self.host, self.control, &self.sink);
        let alive = self.version.is_some();
        // Without its devices the guest cannot come, and need not be sent to the end.
        let in_vain = AtomicBool::new(false);
        let source = Needed { inner: &mut self.source, in_vain: &in_vain };
        let (restored, prepared) = thread::scope(|scope| {
            let (end, ended) = channel::<()>();
            if alive {
                let taken = move || taken_bytes.load(Ordering::Relaxed) - start_bytes;
                scope.spawn(move || tell_how_far(sink, &ended, taken));
            }
            let devices = scope.spawn(|| {
                let started = Instant::now();
                let result = incoming.prepare_devices();
                in_vain.store(result.is_err(), Ordering::Relaxed);
                host.prepare_announcement(incoming.domid());
                control.steps.reach(Step::Prepared);
                result.map(|()| started.elapsed())
            });
            let restored = read_stream(&before, source, &mut engine_guest, control);
            let waited = Instant::now();
            let prepared = devices.join().expect("preparing devices does not panic");
            drop::<Sender<()>>(end);
            (restored, prepared.map(|took| (took, waited.elapsed())))
        });
        // A guest whose devices cannot be had is refused even if all its memory came.
        let (prepared, waited) = prepared?;
        let (frames, report) = restored?;
        log::info!("devices were prepared in {} ms", prepared.as_millis());
        self.time("finish", report.finish);
        self.time("wait for devices", waited);
        let started = Instant::now();
        incoming.introduce(frames)?;
        self.time("introduce", started.elapsed());
        self.reach(Step::Received);
        Ok((report, engine_guest))
    }
}

/// Says how far the transfer is, until it ends or nobody listens any more.
fn tell_how_far(sink: &Mutex<FdSink>, ended: &mpsc::Receiver<()>, taken_bytes: impl Fn() -> u64) {
    let (mut told_bytes, mut told_at) = (0, Instant::now());
    while ended.recv_timeout(TAKEN) == Err(RecvTimeoutError::Timeout) {
        let bytes = taken_bytes();
        let frame = match bytes == told_bytes {
            false => Frame::Taken(bytes),
            true if told_at.elapsed() >= KEEP_ALIVE => Frame::KeepAlive,
            true => continue,
        };
        if frame.write(&mut *locked(sink)).is_err() {
            return;
        }
        (told_bytes, told_at) = (bytes, Instant::now());
    }
}

/// A stream that ends when nobody needs what is left of it.
struct Needed<'a, R> {
    inner: R,
    in_vain: &'a AtomicBool,
}

impl<R> Needed<'_, R> {
    fn check(&self) -> io::Result<()> {
        match self.in_vain.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the guest cannot come any more")),
            false => Ok(()),
        }
    }
}

impl<R: Read> Read for Needed<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(out)
    }

    fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.check()?;
        self.inner.read_vectored(slices)
    }
}

/// The libxl stream, of which `before` has been read: its image into `guest`.
fn read_stream<G: DestinationGuest>(
    before: &[u8],
    source: impl Read,
    guest: &mut G,
    control: &Control,
) -> Result<(RingFrames, RestoreReport), ReceiveError> {
    let whole = before.chain(source);
    let mut reader = libxl::Reader::new(whole)?;
    expect(reader.next_record()?, &libxl::Record::LibxcContext)?;
    let mut toolstack = Watcher { control };
    let (frames, report) = restore(guest, &mut toolstack, reader.image())?;
    expect(reader.next_record()?, &libxl::Record::End)?;
    Ok((frames, report))
}

fn expect(found: Option<libxl::Record>, expected: &libxl::Record) -> Result<(), ReceiveError> {
    match found {
        Some(record) if record == *expected => Ok(()),
        Some(record) => Err(ReceiveError::Unexpected(record.record_type().to_string())),
        None => Err(ReceiveError::Unexpected("end".to_owned())),
    }
}

/// The toolstack, as the engine tells it.
struct Watcher<'a> {
    control: &'a Control,
}

impl DestinationToolstack for Watcher<'_> {
    fn static_data_done(&mut self, missing: MissingPolicies) -> Result<(), ToolstackError> {
        if missing.cpuid || missing.msr {
            let source = "the stream carries no CPU policy: it is from before Xen 4.14".into();
            return Err(ToolstackError::Failed { request: "make up a CPU policy", source });
        }
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        (self.control.show)(&Event::Progress(*progress));
    }
}

/// Reads the whole of a saved guest into `incoming`: a restore from a file.
///
/// # Errors
/// As [`receive`].
pub(in crate::toolstack::migrate) fn restore_file<I: Incoming>(
    incoming: &mut I,
    source: &mut Source<FdSource>,
    control: &Control,
) -> Result<RestoreReport, ReceiveError> {
    let mut guest = incoming.open_guest()?;
    let (frames, report) = read_stream(&[], source, &mut guest, control)?;
    drop(guest);
    incoming.prepare_devices()?;
    incoming.introduce(frames)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_in_vain_ends() {
        let in_vain = AtomicBool::new(false);
        let mut stream = Needed { inner: &b"abcdef"[..], in_vain: &in_vain };
        let mut two = [0; 2];
        stream.read_exact(&mut two).unwrap();
        let mut slices = [IoSliceMut::new(&mut two)];
        assert_eq!(stream.read_vectored(&mut slices).unwrap(), 2);
        assert_eq!(&two, b"cd");
        in_vain.store(true, Ordering::Relaxed);
        assert!(stream.read_exact(&mut two).is_err());
        assert!(stream.read_vectored(&mut [IoSliceMut::new(&mut two)]).is_err());
    }
}
