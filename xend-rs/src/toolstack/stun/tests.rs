//! A cap is what an administrator wants it to be, whatever happens in between.

use std::cell::{Cell, RefCell};
use std::fs;
use std::mem;

use super::*;

const DOMID: Domid = Domid(7);
const UUID: Uuid = Uuid([7; 16]);

/// A host with one domain.
#[derive(Debug)]
struct World {
    folder: tempfile::TempDir,
    domain: Cell<Option<Seen>>,
    /// The caps that were set, in order.
    set: RefCell<Vec<u16>>,
}

impl World {
    fn new(cap: Option<u16>) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            domain: Cell::new(Some(Seen { uuid: UUID, online_vcpus: 2, cap })),
            set: RefCell::default(),
        }
    }

    fn records(&self) -> Records {
        Records::at(&self.folder.path().join("stun"))
    }

    fn begin(&self) -> Result<Stun<&Self>, StunError> {
        Stun::begin_with(self, self.records(), DOMID)
    }

    fn cap(&self) -> u16 {
        self.domain.get().unwrap().cap.unwrap()
    }

    /// Somebody sets it, or another domain comes.
    fn change(&self, change: impl FnOnce(&mut Seen)) {
        let mut domain = self.domain.get().unwrap();
        change(&mut domain);
        self.domain.set(Some(domain));
    }

    fn recover(&self) -> Vec<Ended> {
        let ended = recover_in(&self, &self.records(), |_| Some(())).unwrap();
        ended.into_iter().collect::<Result<_, _>>().unwrap()
    }
}

impl Caps for &World {
    fn look(&self, domid: Domid) -> crate::hypervisor::Result<Option<Seen>> {
        Ok(self.domain.get().filter(|_| domid == DOMID))
    }

    fn set_cap(&self, _: Domid, cap: u16) -> crate::hypervisor::Result<()> {
        let is_known = self.records().read(DOMID).unwrap().is_some();
        assert!(is_known, "it is written down before it is changed");
        self.set.borrow_mut().push(cap);
        self.change(|domain| domain.cap = Some(cap));
        Ok(())
    }
}

fn percent(percent: u8) -> CpuShare {
    CpuShare::percent(percent)
}

#[test]
fn it_goes_down_and_up_and_back() {
    for administrators in [0, 150] {
        let world = World::new(Some(administrators));
        let mut stun = world.begin().unwrap();
        stun.set(CpuShare::FULL).unwrap();
        assert!(world.set.borrow().is_empty(), "it has its full share");
        for share in [50, 20, 20, 50] {
            stun.set(percent(share)).unwrap();
            assert_eq!(world.cap(), u16::from(share) * 2);
        }
        assert_eq!(*world.set.borrow(), [100, 40, 100]);
        stun.set(CpuShare::FULL).unwrap();
        assert_eq!(world.cap(), administrators);
        stun.set(percent(10)).unwrap();
        drop(stun);
        assert_eq!(world.cap(), administrators);
        assert_eq!(world.records().list().unwrap(), []);
    }
}

#[test]
fn a_share_is_never_more_than_the_administrators() {
    let world = World::new(Some(30));
    let mut stun = world.begin().unwrap();
    stun.set(percent(50)).unwrap();
    assert_eq!(world.cap(), 30);
    stun.set(percent(10)).unwrap();
    assert_eq!(world.cap(), 20);
    stun.release().unwrap();
    assert_eq!(world.cap(), 30);
}

#[test]
fn after_a_kill_it_is_restored() {
    let world = World::new(Some(0));
    for share in [50, 10] {
        let mut stun = world.begin().unwrap();
        stun.set(percent(share)).unwrap();
        mem::forget(stun);
    }
    assert_eq!(world.cap(), 20);
    // A process that lives has its turn.
    assert!(recover_in(&&world, &world.records(), |_| None::<()>).unwrap().is_empty());
    assert_eq!(world.cap(), 20);
    assert_eq!(world.recover(), [Ended::Restored { domid: DOMID, cap: 0 }]);
    assert_eq!(world.cap(), 0);
    assert_eq!(world.recover(), []);
}

#[test]
fn the_next_to_stun_it_knows_its_true_cap() {
    let world = World::new(Some(90));
    let mut killed = world.begin().unwrap();
    killed.set(percent(10)).unwrap();
    mem::forget(killed);
    let mut stun = world.begin().unwrap();
    assert_eq!(world.cap(), 90);
    stun.set(percent(20)).unwrap();
    drop(stun);
    assert_eq!(world.cap(), 90);
}

#[test]
fn another_domain_of_that_number_keeps_its_cap() {
    let world = World::new(Some(0));
    let mut stun = world.begin().unwrap();
    stun.set(percent(10)).unwrap();
    mem::forget(stun);
    world.change(|domain| domain.uuid = Uuid([8; 16]));
    assert_eq!(world.recover(), [Ended::Forgotten(DOMID)]);
    assert_eq!(world.cap(), 20);
    assert_eq!(world.records().list().unwrap(), []);
}

#[test]
fn a_domain_that_is_gone_is_forgotten() {
    let world = World::new(Some(0));
    let mut stun = world.begin().unwrap();
    stun.set(percent(10)).unwrap();
    world.domain.set(None);
    assert!(matches!(stun.set(percent(5)), Err(StunError::Gone(DOMID))));
    drop(stun);
    assert_eq!(world.records().list().unwrap(), []);
}

#[test]
fn what_an_administrator_sets_meanwhile_stays() {
    let world = World::new(Some(0));
    let mut stun = world.begin().unwrap();
    stun.set(percent(50)).unwrap();
    world.change(|domain| domain.cap = Some(33));
    stun.set(percent(10)).unwrap();
    assert_eq!(world.cap(), 20);
    stun.set(percent(90)).unwrap();
    assert_eq!(world.cap(), 33);
    world.change(|domain| domain.cap = Some(44));
    drop(stun);
    assert_eq!(world.cap(), 44);
}

#[test]
fn without_caps_it_says_so_and_a_domain_that_is_not_there_is_none() {
    let error = World::new(None).begin().unwrap_err();
    assert!(error.to_string().contains("credit2"), "{error}");
    let world = World::new(Some(0));
    world.domain.set(None);
    assert!(matches!(world.begin(), Err(StunError::Gone(DOMID))));
}

#[test]
fn a_record_that_cannot_be_read_is_named_and_keeps_nobody_else_waiting() {
    let world = World::new(Some(0));
    let mut stun = world.begin().unwrap();
    stun.set(percent(10)).unwrap();
    mem::forget(stun);
    fs::write(world.records().path(Domid(3)), "{").unwrap();
    let ended = recover_in(&&world, &world.records(), |_| Some(())).unwrap();
    let [Err(unread), Ok(Ended::Restored { domid: DOMID, cap: 0 })] = &ended[..] else {
        panic!("{ended:?}")
    };
    assert!(unread.to_string().contains("3.json"), "{unread}");
}

#[test]
fn nothing_is_changed_that_cannot_be_written_down() {
    let world = World::new(Some(0));
    // In the place of the folder.
    fs::write(world.folder.path().join("stun"), "").unwrap();
    let mut stun = Stun {
        caps: &world,
        records: world.records(),
        record: Record { domid: DOMID.0, uuid: UUID.to_string(), cap: 0, ours: Vec::new() },
        is_recorded: false,
    };
    assert!(matches!(stun.set(percent(10)), Err(StunError::Record { .. })));
    assert_eq!(world.cap(), 0);
    mem::forget(stun);
}
