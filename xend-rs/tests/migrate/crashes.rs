//! Killed at every step, on either side or both: afterwards exactly one host has the guest.

use std::os::unix::net::UnixStream;
use std::thread;

use xend_rs::migration::Cancel;
use xend_rs::stream::xend::Verdict;
use xend_rs::toolstack::journal::{DestinationState, Journal, Side, SourceRecord};
use xend_rs::toolstack::migrate::host::HostError;
use xend_rs::toolstack::migrate::{Control, migrate, receive, recover, settle};
use xend_rs::transport::Peer;

use crate::world::{Death, Host, NAME, PFNS, Process, departure, reception};
use xend_rs::hypervisor::sim::SimMemory;

/// A migration during which processes die, and how many actions each had taken.
fn voyage(deaths: (Option<Death>, Option<Death>), reachable: bool) -> (Host, Host, usize, usize) {
    let (source, destination) = (Host::with_guest(), Host::empty());
    let sender = Process::start(&source, deaths.0);
    let receiver = Process::start(&destination, deaths.1);
    let (here, there) = UnixStream::pair().unwrap();
    let stop = Cancel::default();
    let from = sender.link(here, &stop);
    let to = receiver.link(there, &Cancel::default());
    thread::scope(|scope| {
        let receiving =
            scope.spawn(|| receive(&receiver, &receiver, to, reception(), &Control::quiet()));
        let departure = departure(Peer::Tcp("there".to_owned()));
        let ask = |token| {
            let another = Process::start(&destination, None);
            if reachable { settle(&another, &another, token) } else { Err(HostError::new("down")) }
        };
        let control = Control::quiet();
        let (_, sent) = migrate(&sender, &sender, from, &stop, &departure, &control, &ask);
        let received = receiving.join().unwrap();
        if deaths == (None, None) {
            sent.unwrap();
            received.unwrap();
        }
    });
    (source, destination, sender.actions(), receiver.actions())
}

/// `xend recover` on one host, which may itself be killed.
fn recover_on(host: &Host, other: &Host, death: Option<Death>) -> bool {
    let process = Process::start(host, death);
    let ask = |record: &SourceRecord| -> Result<Verdict, HostError> {
        let there = Process::start(other, None);
        settle(&there, &there, record.token)
    };
    let cases = recover(&process, &process, &ask, &|_| None);
    cases.is_ok_and(|cases| cases.iter().all(|case| !case.finding.is_open()))
}

fn require_one_owner(source: &Host, destination: &Host, what: &str) {
    let (here, there) = (source.list(), destination.list());
    let all: Vec<_> = here.iter().chain(&there).collect();
    assert_eq!(all.len(), 1, "{what}: {all:?}");
    assert!(all[0].runs(), "{what}: {:?}", all[0]);
    assert_eq!(all[0].name, NAME, "{what}");
    assert!(all[0].is_watched(), "{what}: nobody watches over it, or two do: {:?}", all[0]);
    assert!(all[0].memory.contents() == SimMemory::filled(PFNS).contents(), "{what}: its memory");
    for (side, token) in source.journal.list().unwrap() {
        assert_ne!(side, Side::Source, "{what}: {token} is still open");
    }
    for (_, token) in destination.journal.list().unwrap() {
        let state = destination.journal.destination(token).unwrap().unwrap().state;
        let is_decided = [DestinationState::Running, DestinationState::Declined].contains(&state);
        assert!(is_decided, "{what}: {token} is still {state:?}");
    }
}

/// Lets processes die so, recovers in either order, also with a recovery that dies, and looks.
fn try_deaths(deaths: (Option<Death>, Option<Death>), reachable: bool, variant: usize) {
    let what = format!("{deaths:?}, reachable: {reachable}, variant {variant}");
    let (source, destination, _, _) = voyage(deaths, reachable);
    let orders = [
        [(&source, &destination), (&destination, &source)],
        [(&destination, &source), (&source, &destination)],
    ];
    let order = orders[variant % 2];
    for (host, other) in order {
        recover_on(host, other, Some(Death::Before(variant / 2 % 4)));
    }
    for (host, other) in order.into_iter().chain(order) {
        assert!(recover_on(host, other, None), "{what}: something is left to do");
    }
    require_one_owner(&source, &destination, &what);
}

fn all_deaths(actions: usize) -> impl Iterator<Item = Death> {
    (0..actions).flat_map(|n| [Death::Before(n), Death::After(n)])
}

#[test]
fn nobody_dies() {
    let (source, destination, ..) = voyage((None, None), true);
    assert!(source.list().is_empty());
    require_one_owner(&source, &destination, "nobody dies");
    assert_eq!(destination.list().len(), 1);
}

#[test]
fn one_side_dies_at_any_step() {
    let (_, _, sending, receiving) = voyage((None, None), true);
    assert!(sending >= 8 && receiving >= 8, "{sending} and {receiving} actions");
    for (variant, death) in all_deaths(sending).enumerate() {
        try_deaths((Some(death), None), variant % 3 != 0, variant);
    }
    for (variant, death) in all_deaths(receiving).enumerate() {
        try_deaths((None, Some(death)), variant % 3 != 0, variant);
    }
}

#[test]
fn both_sides_die_at_any_steps() {
    let (_, _, sending, receiving) = voyage((None, None), true);
    let cases: Vec<_> = all_deaths(sending)
        .flat_map(|s| all_deaths(receiving).map(move |r| (Some(s), Some(r))))
        .enumerate()
        .collect();
    // They wait more than they work.
    thread::scope(|scope| {
        for part in cases.chunks(cases.len().div_ceil(16)) {
            scope.spawn(move || {
                for &(variant, deaths) in part {
                    try_deaths(deaths, variant % 3 != 0, variant);
                }
            });
        }
    });
}
