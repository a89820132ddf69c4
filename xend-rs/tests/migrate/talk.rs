//! Two xends, and peers of other versions.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use xend_rs::hypervisor::sim::SimMemory;
use xend_rs::migration::policy::CpuShare;
use xend_rs::migration::{Cancel, Tracking};
use xend_rs::stream::Source;
use xend_rs::stream::xend::{Answer, Frame, Verdict};
use xend_rs::stream::xl_header::XlHeader;
use xend_rs::toolstack::migrate::host::{Findings, HostError};
use xend_rs::toolstack::migrate::{
    Control, Departure, MigrateError, ReceiveError, Received, Report, Step, Steps, migrate, receive,
};
use xend_rs::transport::Peer;

use crate::world::{Host, PFNS, Process, departure, reception};

type Sent = (Report, Result<(), MigrateError>);

fn between(
    sender: &Process,
    receiver: &Process,
    departure: &Departure,
    control: &Control,
) -> (Sent, Result<Received, ReceiveError>) {
    let (here, there) = UnixStream::pair().unwrap();
    let stop = Cancel::default();
    let from = sender.link(here, &stop);
    let to = receiver.link(there, &Cancel::default());
    let ask = |_| Err(HostError::new("not to be asked"));
    thread::scope(|scope| {
        let receiving =
            scope.spawn(|| receive(receiver, receiver, to, reception(), &Control::quiet()));
        let sent = migrate(sender, sender, from, &stop, departure, control, &ask);
        (sent, receiving.join().unwrap())
    })
}

#[test]
fn two_xends_use_their_own_conversation_and_the_source_hears_the_times_there() {
    let (source, destination) = (Host::with_guest(), Host::empty());
    let (sender, receiver) = (Process::start(&source, None), Process::start(&destination, None));
    let departure = departure(Peer::Command("ssh".to_owned()));
    let ((report, result), received) = between(&sender, &receiver, &departure, &Control::quiet());
    result.unwrap();
    received.unwrap();
    assert_eq!(report.conversation, "xend 1");
    let steps: Vec<_> = report.destination.iter().map(|s| s.step.as_str()).collect();
    assert!(steps.contains(&"finish") && steps.contains(&"unpause"), "{steps:?}");
    assert!(report.stopped_ms.is_some());
}

#[test]
fn a_guest_that_was_slowed_down_stops_and_stays_at_its_full_speed() {
    for (tracking, goes) in [(Tracking::Auto, true), (Tracking::LogDirty, false)] {
        let (source, destination) = (Host::with_guest(), Host::empty());
        source.domains.lock().unwrap()[0].cpu_share = CpuShare::percent(30);
        let mut sender = Process::start(&source, None);
        sender.has_log_dirty = goes;
        let receiver = Process::start(&destination, None);
        let departure = Departure { tracking, ..departure(Peer::Command("ssh".to_owned())) };
        // It is looked at when it suspends: see `world`.
        let ((_, result), _) = between(&sender, &receiver, &departure, &Control::quiet());
        assert_eq!(result.is_ok(), goes, "{result:?}");
        let left = source.list();
        assert!(left.iter().all(|d| d.cpu_share == CpuShare::FULL && d.runs()), "{left:?}");
        assert_eq!(left.is_empty(), goes);
    }
}

#[test]
fn the_report_says_how_writes_were_tracked_and_what_the_stop_was_to_take() {
    for (has_log_dirty, wanted, used) in [
        (true, Tracking::Auto, Some("log-dirty")),
        (true, Tracking::Digest, Some("digest")),
        (true, Tracking::None, Some("none")),
        (false, Tracking::Auto, Some("digest")),
        (false, Tracking::LogDirty, None),
    ] {
        let (source, destination) = (Host::with_guest(), Host::empty());
        let mut sender = Process::start(&source, None);
        sender.has_log_dirty = has_log_dirty;
        let receiver = Process::start(&destination, None);
        let departure =
            Departure { tracking: wanted, ..departure(Peer::Command("ssh".to_owned())) };
        let ((report, result), received) =
            between(&sender, &receiver, &departure, &Control::quiet());
        assert_eq!(report.tracking, used, "{wanted}");
        assert_eq!(report.predicted_last_pass_ms.is_some(), used == Some("digest"), "{wanted}");
        assert_eq!(result.is_ok(), used.is_some(), "{wanted}: {result:?}");
        assert_eq!(received.is_ok(), used.is_some(), "{wanted}");
        let (here, there) = (source.list(), destination.list());
        if used.is_some() {
            assert!(here.is_empty() && there[0].runs(), "{wanted}: {here:?} {there:?}");
        } else {
            assert!(here[0].runs() && there.is_empty(), "{wanted}: {here:?} {there:?}");
        }
        let memory = &here.first().unwrap_or_else(|| &there[0]).memory;
        assert!(memory.contents() == SimMemory::filled(PFNS).contents(), "{wanted}");
        let rounds = report.passes.len().saturating_sub(1);
        assert_eq!(rounds > 0, used.is_some() && wanted != Tracking::None, "{wanted}");
    }
}

#[test]
fn all_problems_are_told_and_nothing_is_touched() {
    let (source, destination) = (Host::with_guest(), Host::empty());
    let sender = Process::start(&source, None);
    let mut receiver = Process::start(&destination, None);
    let problems = vec!["bridge br7 does not exist".to_owned(), "too little memory".to_owned()];
    receiver.findings = Findings { problems: problems.clone(), warnings: vec!["old".to_owned()] };
    let ((report, result), received) =
        between(&sender, &receiver, &departure(Peer::Tcp("b".to_owned())), &Control::quiet());
    match result {
        Err(MigrateError::Refused(told)) => assert_eq!(told, problems),
        other => panic!("{other:?}"),
    }
    assert!(matches!(received, Err(ReceiveError::Refused(_))));
    assert_eq!(report.warnings, ["old"]);
    assert!(source.list()[0].runs() && destination.list().is_empty());
    assert_eq!((sender.actions(), receiver.actions()), (0, 0));
}

#[test]
fn the_guests_agent_hears_of_it_before_its_writes_are_tracked_and_after() {
    let (source, destination) = (Host::with_guest(), Host::empty());
    let (sender, receiver) = (Process::start(&source, None), Process::start(&destination, None));
    let ((_, result), _) =
        between(&sender, &receiver, &departure(Peer::Tcp("b".to_owned())), &Control::quiet());
    result.unwrap();
    let all = ["(looked for)", "prepare", "(opened)", "suspending", "(suspended)"];
    assert_eq!(sender.told.list(), all);

    // It stays: the agent may take memory back when nobody tracks it any more.
    let (source, destination) = (Host::with_guest(), Host::empty());
    let mut sender = Process::start(&source, None);
    sender.suspends_late = true;
    let receiver = Process::start(&destination, None);
    let ((_, result), _) =
        between(&sender, &receiver, &departure(Peer::Tcp("b".to_owned())), &Control::quiet());
    assert!(result.is_err());
    let told = sender.told.list();
    assert_eq!(told[..5], all);
    assert_eq!(told[5..], ["(not tracked)", "cancelled"]);

    // It is not asked for its help where it is not going to be moved.
    let sender = Process::start(&source, None);
    let departure = Departure { check_only: true, ..departure(Peer::Tcp("b".to_owned())) };
    let _ = between(&sender, &receiver, &departure, &Control::quiet());
    assert_eq!(sender.told.list(), [""; 0]);
}

#[test]
fn an_agent_that_is_not_wanted_is_not_looked_for() {
    for suspends_late in [false, true] {
        let (source, destination) = (Host::with_guest(), Host::empty());
        let mut sender = Process::start(&source, None);
        sender.suspends_late = suspends_late;
        let receiver = Process::start(&destination, None);
        let departure = Departure { agent: false, ..departure(Peer::Tcp("b".to_owned())) };
        let ((report, result), _) = between(&sender, &receiver, &departure, &Control::quiet());
        assert_eq!(result.is_err(), suspends_late, "{result:?}");
        let told = sender.told.list();
        assert_eq!(told[..2], ["(opened)", "(suspended)"]);
        assert!(told[2..].iter().all(|&what| what == "(not tracked)"), "{told:?}");
        assert!(report.source.iter().all(|step| step.step != "prepare the guest"), "{report:?}");
    }
}

#[test]
fn to_ask_leaves_nothing_anywhere() {
    let (source, destination) = (Host::with_guest(), Host::empty());
    let (sender, receiver) = (Process::start(&source, None), Process::start(&destination, None));
    let departure = Departure { check_only: true, ..departure(Peer::Tcp("b".to_owned())) };
    let ((report, result), received) = between(&sender, &receiver, &departure, &Control::quiet());
    result.unwrap();
    assert!(matches!(received, Ok(Received::Checked(_))));
    assert_eq!(report.outcome, "checked");
    assert!(source.list()[0].runs() && destination.list().is_empty());
    assert_eq!(sender.actions(), 0);
}

#[test]
fn it_can_be_cancelled_at_every_step_before_the_handover() {
    use Step::*;
    for at in [Connected, Offered, Sending, Suspending, Suspended, Sent, Given] {
        let (source, destination) = (Host::with_guest(), Host::empty());
        let sender = Process::start(&source, None);
        let receiver = Process::start(&destination, None);
        let mut control = Control::quiet();
        let asked = control.asked.clone();
        control.steps = Steps::calling(move |step| {
            if step == at {
                asked.cancel();
            }
        });
        let departure = departure(Peer::Tcp("b".to_owned()));
        let ((report, result), received) = between(&sender, &receiver, &departure, &control);
        assert!(matches!(result, Err(MigrateError::Cancelled)), "{at:?}: {result:?}");
        assert_eq!(report.outcome, "cancelled");
        received.expect_err("it did not come");
        let domains = source.list();
        assert!(domains[0].runs() && domains[0].is_watched(), "{at:?}: {domains:?}");
        assert_eq!(domains[0].name, "web", "{at:?}");
        assert!(destination.list().is_empty(), "{at:?}");
    }
}

#[test]
fn once_handed_over_it_cannot() {
    let (source, destination) = (Host::with_guest(), Host::empty());
    let (sender, receiver) = (Process::start(&source, None), Process::start(&destination, None));
    let mut control = Control::quiet();
    let asked = control.asked.clone();
    control.steps = Steps::calling(move |step| {
        if step == Step::HandedOver {
            asked.cancel();
        }
    });
    let departure = departure(Peer::Tcp("b".to_owned()));
    let ((_, result), received) = between(&sender, &receiver, &departure, &control);
    result.unwrap();
    received.unwrap();
    assert!(source.list().is_empty() && destination.list()[0].runs());
}

#[test]
fn a_receiver_that_falls_silent_is_given_up() {
    let source = Host::with_guest();
    let sender = Process::start(&source, None);
    let (here, mut there) = UnixStream::pair().unwrap();
    let stop = Cancel::default();
    let link = sender.link(here, &stop);
    let departure = departure(Peer::Tcp("b".to_owned()));
    let ask = |_| Err(HostError::new("not to be asked"));
    let started = Instant::now();
    thread::scope(|scope| {
        let token = departure.token;
        scope.spawn(move || {
            there.write_all(b"xl migration receiver ready, send binary domain data.\n").unwrap();
            XlHeader::read(&mut Source::new(&mut there), false).unwrap();
            there.write_all(&answer(token, 1..=1)).unwrap();
            // Takes everything, and never says a word again.
            let mut rest = Vec::new();
            let _ = there.read_to_end(&mut rest);
        });
        let control = Control::quiet();
        let (_, result) = migrate(&sender, &sender, link, &stop, &departure, &control, &ask);
        sender.exit();
        let error = result.expect_err("it is dead");
        assert!(error.to_string().contains("nothing was heard"), "{error}");
    });
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(source.list()[0].runs());
}

/// Sends the guest of `source` to a xend that is played by `play`, which gets the connection once it has
/// accepted.
fn send_to(
    source: &Host,
    limit: Duration,
    play: impl FnOnce(UnixStream) + Send,
) -> (Process, Sent) {
    let sender = Process::start(source, None);
    let (here, mut there) = UnixStream::pair().unwrap();
    let stop = Cancel::default();
    let link = sender.link(here, &stop);
    let departure = Departure { limit, ..departure(Peer::Tcp("b".to_owned())) };
    let ask = |_| Err(HostError::new("not to be asked"));
    let sent = thread::scope(|scope| {
        let token = departure.token;
        scope.spawn(move || {
            there.write_all(b"xl migration receiver ready, send binary domain data.\n").unwrap();
            XlHeader::read(&mut Source::new(&mut there), false).unwrap();
            there.write_all(&answer(token, 1..=1)).unwrap();
            play(there);
        });
        let sent = migrate(&sender, &sender, link, &stop, &departure, &Control::quiet(), &ask);
        sender.exit();
        sent
    });
    (sender, sent)
}

/// Takes everything, and says what `say` says until the connection is closed.
fn take_and_say(mut stream: UnixStream, say: impl Fn(&mut UnixStream) + Send) {
    let mut out = stream.try_clone().unwrap();
    thread::scope(|scope| {
        let taking = scope.spawn(move || stream.read_to_end(&mut Vec::new()));
        while !taking.is_finished() {
            say(&mut out);
            thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn a_receiver_that_is_alive_and_never_ready_is_given_up() {
    let limit = Duration::from_millis(300);
    for taken in [None, Some(1 << 40)] {
        let source = Host::with_guest();
        let started = Instant::now();
        let (_, (_, result)) = send_to(&source, limit, |stream| {
            take_and_say(stream, |out| {
                let _ = Frame::KeepAlive.write(&mut *out);
                if let Some(bytes) = taken {
                    let _ = Frame::Taken(bytes).write(&mut *out);
                }
            });
        });
        let error = result.expect_err("it is never ready");
        assert!(error.to_string().contains("does not get ready"), "{error}");
        let domain = &source.list()[0];
        assert!(domain.runs() && domain.is_watched() && domain.name == "web", "{domain:?}");
        let patience = limit * if taken.is_some() { 5 } else { 10 };
        let took = started.elapsed();
        assert!(took >= patience && took < patience + Duration::from_secs(2), "{took:?}");
    }
}

#[test]
fn a_guest_is_resumed_before_it_is_unmapped() {
    let source = Host::with_guest();
    let (sender, (_, result)) = send_to(&source, Duration::from_millis(300), |stream| {
        take_and_say(stream, |out| {
            let _ = Frame::Taken(1 << 40).write(out);
        });
    });
    result.expect_err("it is never ready");
    assert_eq!(*sender.mapped_at_resume.lock().unwrap(), Some(true));
}

#[test]
fn a_guest_that_may_suspend_late_is_expected_to_and_keeps_its_monitor() {
    for late in [true, false] {
        let (source, destination) = (Host::with_guest(), Host::empty());
        let mut sender = Process::start(&source, None);
        sender.suspends_late = late;
        let mut control = Control::quiet();
        let asked = control.asked.clone();
        control.steps = Steps::calling(move |step| {
            if step == Step::Suspended {
                asked.cancel();
            }
        });
        let receiver = Process::start(&destination, None);
        let departure = departure(Peer::Tcp("b".to_owned()));
        let ((_, result), _) = between(&sender, &receiver, &departure, &control);
        result.expect_err("it does not suspend, or is cancelled when it has");
        let domain = &source.list()[0];
        assert!(domain.runs() && domain.is_watched(), "{domain:?}");
        // A stock xl's monitor stays with a guest that has not suspended.
        assert_eq!((domain.expected_late, domain.watched_by_xl), (late, late), "{domain:?}");
    }
}

fn answer(
    token: xend_rs::stream::xend::Token,
    versions: xend_rs::stream::xend::Versions,
) -> Vec<u8> {
    let answer = Answer {
        version: None,
        versions,
        verdict: Verdict::Accepted,
        token,
        capabilities: 0,
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    answer.encode()
}

/// What a sender says first to a receiver of these versions, after its answer.
fn choice_for(versions: xend_rs::stream::xend::Versions) -> [u8; 8] {
    let source = Host::with_guest();
    let sender = Process::start(&source, None);
    let (here, mut there) = UnixStream::pair().unwrap();
    let stop = Cancel::default();
    let link = sender.link(here, &stop);
    let departure = departure(Peer::Command("ssh".to_owned()));
    let ask = |_| Err(HostError::new("not to be asked"));
    thread::scope(|scope| {
        let token = departure.token;
        let peer = scope.spawn(move || {
            there.write_all(b"xl migration receiver ready, send binary domain data.\n").unwrap();
            XlHeader::read(&mut Source::new(&mut there), false).unwrap();
            there.write_all(&answer(token, versions)).unwrap();
            let mut choice = [0; 8];
            there.read_exact(&mut choice).unwrap();
            choice
        });
        let control = Control::quiet();
        let (_, result) = migrate(&sender, &sender, link, &stop, &departure, &control, &ask);
        sender.exit();
        result.expect_err("the peer went away");
        peer.join().unwrap()
    })
}

#[test]
fn a_common_version_is_found_and_without_one_it_goes_on_as_xl_does() {
    assert_eq!(&choice_for(1..=1), b"XENDtalk");
    assert_eq!(&choice_for(1..=9), b"XENDtalk");
    assert_eq!(&choice_for(2..=3), b"LibxlFmt");
}
