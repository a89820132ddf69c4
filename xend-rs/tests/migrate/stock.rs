//! With a peer that says what xl says, to the byte.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use xend_rs::hypervisor::MissingPolicies;
use xend_rs::hypervisor::sim::{Faults, SimDestination, SimMemory, SimSource};
use xend_rs::migration::progress::Progress;
use xend_rs::migration::toolstack::{DestinationToolstack, SourceToolstack, ToolstackError};
use xend_rs::migration::{Cancel, SaveOptions, restore, save};
use xend_rs::stream::xend::Verdict;
use xend_rs::stream::xl_header::XlHeader;
use xend_rs::stream::{Source, libxl};
use xend_rs::toolstack::journal::{Journal, Side};
use xend_rs::toolstack::migrate::host::HostError;
use xend_rs::toolstack::migrate::{
    Control, Departure, MigrateError, ReceiveError, Received, Reception, Report, migrate, receive,
};
use xend_rs::transport::Peer;

use crate::world::{Host, LIMIT, PFNS, Process, departure, reception};

const BANNER: &[u8] = b"xl migration receiver ready, send binary domain data.\n";
const READY: &[u8] = b"domain received, ready to unpause\0";
const GO: &[u8] = b"domain is yours, you are cleared to unpause\0";
const REPORT: &[u8] = b"my copy unpause results are as follows\0";

/// Sends the guest of `source` to a receiver that is played by `play`.
fn send_to(
    source: &Host,
    play: impl FnOnce(UnixStream) + Send,
) -> (Report, Result<(), MigrateError>) {
    send_with(source, LIMIT, play)
}

/// The same with another patience.
fn send_with(
    source: &Host,
    limit: Duration,
    play: impl FnOnce(UnixStream) + Send,
) -> (Report, Result<(), MigrateError>) {
    let sender = Process::start(source, None);
    let (here, there) = UnixStream::pair().unwrap();
    let stop = Cancel::default();
    let link = sender.link(here, &stop);
    let ask = |_| -> Result<Verdict, HostError> { panic!("xl cannot be asked") };
    thread::scope(|scope| {
        scope.spawn(move || play(there));
        let wait = limit.min(LIMIT);
        let departure =
            Departure { limit, answer_wait: wait, ..departure(Peer::Command("xl".to_owned())) };
        let sent = migrate(&sender, &sender, link, &stop, &departure, &Control::quiet(), &ask);
        sender.exit();
        sent
    })
}

/// Takes in all that a sender sends up to the end of the libxl stream.
fn take_stream(stream: &mut UnixStream) {
    let header = XlHeader::read(&mut Source::new(&mut *stream), false).unwrap();
    assert_eq!(header.config.as_deref(), Some(b"{}".as_slice()));
    // Without a preface, and not a byte more than the stream.
    let mut reader = libxl::Reader::new(&mut *stream).unwrap();
    assert_eq!(reader.next_record().unwrap(), Some(libxl::Record::LibxcContext));
    let memory = SimMemory::empty(PFNS);
    let mut guest = SimDestination::new(memory.clone(), Faults::none());
    restore(&mut guest, &mut Plain(memory.clone()), reader.image()).unwrap();
    assert_eq!(reader.next_record().unwrap(), Some(libxl::Record::End));
    assert!(memory.contents() == SimMemory::filled(PFNS).contents());
}

fn expect(stream: &mut UnixStream, message: &[u8]) {
    let mut heard = vec![0; message.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, message);
}

#[test]
fn xl_receives() {
    let source = Host::with_guest();
    let (report, result) = send_to(&source, |mut stream| {
        stream.write_all(BANNER).unwrap();
        take_stream(&mut stream);
        stream.write_all(READY).unwrap();
        expect(&mut stream, GO);
        stream.write_all(REPORT).unwrap();
        stream.write_all(&[0]).unwrap();
    });
    result.unwrap();
    assert_eq!((report.outcome, report.conversation.as_str()), ("migrated", "xl"));
    assert!(source.list().is_empty());
    assert_eq!(source.journal.list().unwrap(), []);
}

#[test]
fn xl_receives_and_gives_back() {
    let source = Host::with_guest();
    let (_, result) = send_to(&source, |mut stream| {
        stream.write_all(BANNER).unwrap();
        take_stream(&mut stream);
        stream.write_all(READY).unwrap();
        expect(&mut stream, GO);
        stream.write_all(REPORT).unwrap();
        stream.write_all(&[3]).unwrap();
        stream.write_all(GO).unwrap();
    });
    result.expect_err("it failed there");
    let domains = source.list();
    assert!(domains[0].runs() && domains[0].name == "web", "{domains:?}");
}

#[test]
fn xl_is_gone_before_and_after_the_handover() {
    let source = Host::with_guest();
    let (_, result) = send_to(&source, |mut stream| {
        stream.write_all(BANNER).unwrap();
        take_stream(&mut stream);
    });
    let error = result.expect_err("nobody acknowledged it");
    assert!(matches!(error, MigrateError::Peer(_)), "{error}");
    let domains = source.list();
    assert!(domains[0].runs() && domains[0].name == "web", "{domains:?}");

    let (_, result) = send_to(&source, |mut stream| {
        stream.write_all(BANNER).unwrap();
        take_stream(&mut stream);
        stream.write_all(READY).unwrap();
        expect(&mut stream, GO);
    });
    let error = result.expect_err("nobody knows");
    assert!(error.is_undecided(), "{error}");
    let domains = source.list();
    assert!(!domains[0].runs() && domains[0].name == "web--migratedaway", "{domains:?}");
    assert_eq!(source.journal.list().unwrap().len(), 1);
}

#[test]
fn what_is_no_receiver_is_told_from_one() {
    let source = Host::with_guest();
    for said in [b"".as_slice(), b"sh: xl: not found\n", &[b'x'; 100]] {
        let (_, result) = send_to(&source, |mut stream| {
            let _ = stream.write_all(said);
        });
        let error = result.expect_err("no receiver");
        assert!(matches!(error, MigrateError::NoReceiver(_)), "{error}");
    }
    assert!(source.list()[0].runs());
}

#[test]
fn an_xl_that_never_is_ready_or_never_reports_is_given_up() {
    for reports in [false, true] {
        let source = Host::with_guest();
        let started = Instant::now();
        let limit = Duration::from_millis(100);
        let (_, result) = send_with(&source, limit, |mut stream| {
            stream.write_all(BANNER).unwrap();
            take_stream(&mut stream);
            if reports {
                stream.write_all(READY).unwrap();
                expect(&mut stream, GO);
            }
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let error = result.expect_err("it says no more");
        assert_eq!(error.is_undecided(), reports, "{error}");
        assert_eq!(source.list()[0].runs(), !reports);
        assert!(started.elapsed() >= limit * 10 && started.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_sender_that_drips_is_given_up() {
    let whole = xl_stream();
    let limit = Duration::from_millis(500);
    // Before its header is whole: one limit. Within the image, of which enough comes at first: two times
    // five.
    for (at_once, limits) in [(10, 1), (whole.len() / 2, 10)] {
        let destination = Host::empty();
        let started = Instant::now();
        let patience = Reception { limit, stream_limit: limit, ..reception() };
        let received = receive_with(&destination, patience, |mut stream| {
            expect(&mut stream, BANNER);
            stream.write_all(&whole[..at_once]).unwrap();
            for byte in &whole[at_once..] {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let error = received.expect_err("it does not come");
        let took = started.elapsed();
        assert!(took >= limit && took < limit * limits * 2 + LIMIT, "{took:?}: {error}");
        assert!(destination.list().is_empty());
    }
}

struct Plain(SimMemory);

impl SourceToolstack for Plain {
    fn suspend(&mut self) -> Result<(), ToolstackError> {
        self.0.suspend();
        Ok(())
    }

    fn resume(&mut self) -> Result<(), ToolstackError> {
        self.0.resume();
        Ok(())
    }

    fn set_device_model_log_dirty(&mut self, _: bool) -> Result<(), ToolstackError> {
        Ok(())
    }

    fn progress(&mut self, _: &Progress) {}
}

impl DestinationToolstack for Plain {
    fn static_data_done(&mut self, _: MissingPolicies) -> Result<(), ToolstackError> {
        Ok(())
    }

    fn progress(&mut self, _: &Progress) {}
}

/// All that xl sends up to the end of the libxl stream.
fn xl_stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    XlHeader::with_json("{}").write(&mut bytes).unwrap();
    bytes.extend(b"LibxlFmt\0\0\0\x02\0\0\0\0");
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    let memory = SimMemory::filled(PFNS);
    let mut guest = SimSource::new(memory.clone(), Faults::none());
    let options = SaveOptions::stock(true);
    save(&mut guest, &mut Plain(memory), &mut bytes, &options, &Cancel::default()).unwrap();
    bytes.extend([0; 8]);
    bytes
}

/// Has `destination` receive from a sender that is played by `play`.
fn receive_from(
    destination: &Host,
    play: impl FnOnce(UnixStream) + Send,
) -> Result<Received, ReceiveError> {
    receive_with(destination, reception(), play)
}

/// The same with another patience.
fn receive_with(
    destination: &Host,
    reception: Reception,
    play: impl FnOnce(UnixStream) + Send,
) -> Result<Received, ReceiveError> {
    let receiver = Process::start(destination, None);
    let (here, there) = UnixStream::pair().unwrap();
    let link = receiver.link(here, &Cancel::default());
    thread::scope(|scope| {
        scope.spawn(move || play(there));
        let received = receive(&receiver, &receiver, link, reception, &Control::quiet());
        receiver.exit();
        received
    })
}

#[test]
fn xl_sends() {
    let destination = Host::empty();
    let received = receive_from(&destination, |mut stream| {
        expect(&mut stream, BANNER);
        stream.write_all(&xl_stream()).unwrap();
        expect(&mut stream, READY);
        stream.write_all(GO).unwrap();
        expect(&mut stream, REPORT);
        expect(&mut stream, &[0]);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "nothing but xl's words");
    });
    assert!(matches!(received, Ok(Received::Guest { .. })), "{received:?}");
    let domains = destination.list();
    assert!(domains[0].runs() && domains[0].name == "web", "{domains:?}");
    assert!(domains[0].memory.contents() == SimMemory::filled(PFNS).contents());
}

#[test]
fn a_sender_that_goes_away_leaves_nothing() {
    let whole = xl_stream();
    for length in [0, 10, 60, 80, 200, whole.len() / 2, whole.len() - 4, whole.len()] {
        let destination = Host::empty();
        let part = &whole[..length];
        let received = receive_from(&destination, move |mut stream| {
            expect(&mut stream, BANNER);
            stream.write_all(part).unwrap();
        });
        received.expect_err("nothing was handed over");
        assert!(destination.list().is_empty(), "after {length} bytes");
        for (side, token) in destination.journal.list().unwrap() {
            assert_eq!(side, Side::Destination);
            let record = destination.journal.destination(token).unwrap().unwrap();
            assert_eq!(format!("{:?}", record.state), "Declined");
        }
    }
}
