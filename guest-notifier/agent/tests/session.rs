//! The host's side and the agent's, over a xenstore in memory.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use guest_notifier::protocol::{
    ANSWER, COMMAND, GUEST_FOLDER, HOST_FOLDER, INSTANCE, PrepareOrder, Reply, STATE, Share,
    VERSIONS,
};
use guest_notifier::testing::{MemoryStore, NoBell};
use guest_notifier::{Notifier, Outcome, Store, Wish};
use xend_agent::session::{Deeds, Session};

use common::await_that;

/// What an agent was told to do, in order, and how it behaves.
#[derive(Clone, Default)]
struct Told {
    done: Arc<Mutex<Vec<String>>>,
    /// Prepares for ever.
    slow: bool,
}

impl Told {
    fn note(&self, what: impl Into<String>) {
        self.done.lock().unwrap().push(what.into());
    }

    fn await_last(&self, what: &str) {
        await_that(&format!("the agent to {what}"), || {
            self.done.lock().unwrap().last().is_some_and(|last| last == what)
        });
    }
}

impl Deeds for Told {
    fn prepare(&mut self, order: &PrepareOrder) {
        self.note(format!("prepare {:?}", order.cache));
    }

    fn prepared(&mut self) -> Option<Reply> {
        let began =
            self.done.lock().unwrap().last().is_some_and(|last| last.starts_with("prepare "));
        (began && !self.slow).then(|| {
            self.note("prepared");
            Reply::Done { freed_kib: 4096, hooks_failed: 1, soft_dirty: true, held: 0 }
        })
    }

    fn share(&mut self, share: &Share) {
        self.note(format!("share {}", share.rate_kib_s));
    }

    fn still(&mut self) -> u32 {
        self.note("still");
        3
    }

    fn release(&mut self) {
        self.note("release");
    }

    fn alive(&mut self, _: bool) {}
}

struct Agent {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Agent {
    fn start(store: &MemoryStore, told: &Told) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut session = Session::start(store.clone(), told.clone(), "abc".to_owned()).unwrap();
        let stopped = Arc::clone(&stop);
        Self { stop, thread: Some(thread::spawn(move || session.run(&stopped))) }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn notifier(store: &MemoryStore) -> Notifier<MemoryStore, NoBell> {
    Notifier::new(store.clone(), 4_000_000_000)
}

fn prepare(notifier: &mut Notifier<MemoryStore, NoBell>, wish: Wish) -> Outcome {
    notifier.prepare(&wish, || Some(NoBell), &|| false)
}

const QUICK: Duration = Duration::from_millis(300);

/// A host and an agent with a guest's tree between them. The host ends first.
struct Meeting {
    host: Notifier<MemoryStore, NoBell>,
    agent: Agent,
    store: MemoryStore,
    told: Told,
}

impl Meeting {
    fn begin(told: Told) -> Self {
        let store = MemoryStore::default();
        Self { host: notifier(&store), agent: Agent::start(&store, &told), store, told }
    }

    fn prepare(&mut self, wish: Wish) -> Outcome {
        prepare(&mut self.host, wish)
    }

    /// The agent has prepared, and knows what share of the link it has.
    fn in_pre_copy(wish: Wish) -> Self {
        let mut meeting = Self::begin(Told::default());
        let outcome = meeting.prepare(wish);
        assert!(matches!(outcome, Outcome::Prepared(_)), "{outcome}");
        meeting.host.pre_copy(1 << 20);
        meeting.told.await_last("share 1024");
        meeting
    }
}

/// The tree of a guest without an agent, in which somebody says that there is one.
fn store_of_a_liar(versions: &[u8]) -> MemoryStore {
    let store = MemoryStore::default();
    store.write_bytes(VERSIONS, versions);
    store
}

#[test]
fn a_move_from_the_first_word_to_the_arrival() {
    let Meeting { mut host, agent, store, told } = Meeting::begin(Told::default());
    let sight = host.look().unwrap().unwrap();
    assert!(sight.program.starts_with("xend-agent "), "{sight:?}");
    let outcome = prepare(&mut host, Wish::default());
    let Outcome::Prepared(prepared) = outcome else { panic!("{outcome}") };
    assert_eq!((prepared.freed_kib, prepared.hooks_failed, prepared.soft_dirty), (4096, 1, true));
    host.pre_copy(5 << 20);
    told.await_last("share 5120");
    assert!(host.has_agent());
    assert_eq!(host.suspending(), Some(3));

    // Somewhere else: a tree without anything of ours.
    store.clear();
    told.await_last("release");
    await_that("the agent to publish itself", || store.text(VERSIONS).is_some());
    assert_eq!(store.text(STATE).as_deref(), Some("idle"));
    drop(host);
    drop(agent);
    assert_eq!(store.text(VERSIONS), None, "an agent that is stopped leaves nothing");
    let done = told.done.lock().unwrap().clone();
    let expected = ["prepare Drop", "prepared", "share 5120", "still", "release", "release"];
    assert_eq!(done, expected);
}

#[test]
fn a_cancelled_move_releases_at_once_and_leaves_no_command() {
    for resumed in [false, true] {
        let mut meeting = Meeting::in_pre_copy(Wish::default());
        if resumed {
            meeting.host.resumed();
        } else {
            meeting.host.cancelled();
        }
        let Meeting { host, store, told, .. } = &mut meeting;
        assert_eq!(told.done.lock().unwrap().last().map(String::as_str), Some("release"));
        assert_eq!(store.text(COMMAND), None);
        assert!(!host.has_agent());
    }
}

#[test]
fn a_host_that_ends_without_a_word_has_everything_released() {
    let meeting = Meeting::in_pre_copy(Wish::default());
    drop(meeting.host);
    meeting.told.await_last("release");
}

#[test]
fn a_host_that_is_killed_is_given_up_after_its_silence() {
    let wish = Wish { deadman_s: 1, ..Wish::default() };
    let Meeting { mut host, agent: _agent, store, told } = Meeting::in_pre_copy(wish);
    // As long as it lives it is believed.
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        host.beat();
        thread::sleep(Duration::from_millis(50));
    }
    told.await_last("share 1024");
    std::mem::forget(host);
    let silent = Instant::now();
    told.await_last("release");
    assert!(silent.elapsed() > Duration::from_millis(500));
    assert_eq!(store.text(STATE).as_deref(), Some("idle the host is silent"));
}

#[test]
fn a_guest_without_an_agent_costs_nothing() {
    let store = MemoryStore::default();
    let mut host = notifier(&store);
    let started = Instant::now();
    let outcome = host.prepare(
        &Wish::default(),
        || -> Option<NoBell> { panic!("nobody needs an event channel") },
        &|| false,
    );
    assert!(matches!(outcome, Outcome::NoAgent), "{outcome}");
    host.pre_copy(1);
    assert_eq!(host.suspending(), None);
    host.cancelled();
    assert!(started.elapsed() < Duration::from_millis(100));
    assert_eq!(store.text(COMMAND), None);
}

#[test]
fn an_agent_that_died_is_waited_for_once() {
    let store = store_of_a_liar(b"1 1");
    let mut host = notifier(&store);
    let started = Instant::now();
    assert!(matches!(prepare(&mut host, Wish::default()), Outcome::Silent));
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(store.text(COMMAND), None);
    let started = Instant::now();
    assert!(matches!(prepare(&mut host, Wish::default()), Outcome::NoAgent));
    assert!(started.elapsed() < Duration::from_millis(100));
}

#[test]
fn an_agent_that_was_only_slow_is_there_the_next_time() {
    let Meeting { agent: _agent, mut store, .. } = Meeting::begin(Told::default());
    store.remove(GUEST_FOLDER).unwrap();
    await_that("the agent to come back", || store.text(VERSIONS).is_some());
    assert_eq!(store.text(INSTANCE).as_deref(), Some("abc"));
}

#[test]
fn one_that_is_not_through_in_time_is_left_behind_and_releases() {
    let mut meeting = Meeting::begin(Told { slow: true, ..Told::default() });
    let started = Instant::now();
    let outcome = meeting.prepare(Wish { deadline: QUICK, ..Wish::default() });
    assert!(matches!(outcome, Outcome::Late), "{outcome}");
    assert!(started.elapsed() < QUICK * 3);
    meeting.told.await_last("release");
    assert!(!meeting.host.has_agent());
}

#[test]
fn who_cancels_does_not_wait_for_the_guest() {
    let mut meeting = Meeting::begin(Told { slow: true, ..Told::default() });
    let started = Instant::now();
    let cancelled = || started.elapsed() > QUICK;
    let outcome = meeting.host.prepare(&Wish::default(), || Some(NoBell), &cancelled);
    assert!(matches!(outcome, Outcome::Cancelled), "{outcome}");
    assert!(started.elapsed() < QUICK * 3);
    meeting.told.await_last("release");
}

#[test]
fn liars_cost_no_more_than_the_deadline() {
    let number = "4000000001";
    let lies: [(&[u8], &[u8]); 7] = [
        (b"1 1", b"garbage \x00\xff"),
        (b"1 1", b"1 done"),
        (b"1 1", b"99999999999 done"),
        (b"1 1", format!("{number} seen").leak().as_bytes()),
        (b"1 1", format!("{number} dance").leak().as_bytes()),
        (b"1 1", vec![b'9'; 1 << 16].leak()),
        (b"1 65535", format!("{number} failed {}", "x".repeat(10_000)).leak().as_bytes()),
    ];
    for (versions, answer) in lies {
        let store = store_of_a_liar(versions);
        store.write_bytes(ANSWER, answer);
        let mut host = notifier(&store);
        let started = Instant::now();
        let outcome = prepare(&mut host, Wish { deadline: QUICK, ..Wish::default() });
        assert!(matches!(outcome, Outcome::Silent | Outcome::Late), "{outcome}");
        assert!(started.elapsed() < QUICK * 3);
        host.pre_copy(1);
        assert_eq!(host.suspending(), None);
        assert!(started.elapsed() < QUICK * 3, "nothing more is waited for");
        assert_eq!(store.text(COMMAND), None);
    }
}

#[test]
fn versions_that_make_no_sense_are_nobody_and_others_are_named() {
    for (versions, is_other) in
        [(&b"2 9"[..], true), (b"0 1", false), (b"\xff", false), (&[b'1'; 5000], false)]
    {
        let store = store_of_a_liar(versions);
        let outcome = prepare(&mut notifier(&store), Wish::default());
        match outcome {
            Outcome::OtherVersion(_) => assert!(is_other, "{versions:?}"),
            Outcome::NoAgent => assert!(!is_other, "{versions:?}"),
            other => panic!("{other}"),
        }
        assert_eq!(store.text(COMMAND), None);
    }
}

#[test]
fn an_agent_whose_host_folder_vanishes_releases() {
    let mut meeting = Meeting::in_pre_copy(Wish::default());
    // As a toolstack may do it.
    meeting.store.remove(HOST_FOLDER).unwrap();
    meeting.told.await_last("release");
}
