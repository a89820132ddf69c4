//! Two hosts made of memory, and processes on them that can be killed between any two calls.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use xend_rs::hypervisor::RingFrames;
use xend_rs::hypervisor::sim::{Faults, SimDestination, SimMemory, SimSource};
use xend_rs::hypervisor::types::Domid;
use xend_rs::migration::policy::CpuShare;
use xend_rs::migration::policy::adaptive::Settings;
use xend_rs::migration::{Cancel, Tracking};
use xend_rs::stream::xend::{GuestNeeds, Offer, Token};
use xend_rs::toolstack::journal::{
    Claim, DestinationRecord, DestinationState, FileJournal, Identity, Journal, Side, SourceRecord,
};
use xend_rs::toolstack::migrate::host::{
    Agent, DestinationHost, Domains, Findings, Found, HostError, Incoming, SourceHost,
};
use xend_rs::toolstack::migrate::{Departure, Reception};
use xend_rs::transport::{Link, Peer};

pub(crate) const NAME: &str = "web";
pub(crate) const UUID: &str = "00000000-0000-0000-0000-000000000001";
pub(crate) const PFNS: u64 = 64;
pub(crate) const LIMIT: Duration = Duration::from_secs(2);

/// A domain of a simulated host.
#[derive(Clone, Debug)]
pub(crate) struct Domain {
    pub(crate) domid: Domid,
    pub(crate) name: String,
    pub(crate) token: Option<Token>,
    pub(crate) paused: bool,
    /// It has a monitor of ours.
    pub(crate) watched: bool,
    /// It has the monitor of a stock xl, which leaves when it suspends.
    pub(crate) watched_by_xl: bool,
    /// It has seen a request to suspend, and follows it when it likes.
    pub(crate) may_suspend_late: bool,
    /// Somebody resumes it should it suspend late.
    pub(crate) expected_late: bool,
    pub(crate) memory: SimMemory,
    /// What its vCPUs are left with.
    pub(crate) cpu_share: CpuShare,
}

impl Domain {
    pub(crate) fn runs(&self) -> bool {
        !self.paused && !self.memory.is_suspended()
    }

    /// Whether one monitor watches over it, and not two.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched != self.watched_by_xl
    }

    fn suspend(&mut self) {
        self.memory.suspend();
        self.watched_by_xl = false;
    }
}

/// What outlives a process: the domains, and the journal.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) domains: Arc<Mutex<Vec<Domain>>>,
    pub(crate) journal: FileJournal,
    _directory: Arc<tempfile::TempDir>,
}

impl Host {
    pub(crate) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let journal = FileJournal::at(Path::new(&at("records")), Path::new(&at("locks"))).unwrap();
        Self { domains: Arc::default(), journal, _directory: Arc::new(directory) }
    }

    /// A host with a running guest.
    pub(crate) fn with_guest() -> Self {
        let host = Self::empty();
        host.domains.lock().unwrap().push(Domain {
            domid: Domid(7),
            name: NAME.to_owned(),
            token: None,
            paused: false,
            watched: false,
            watched_by_xl: true,
            may_suspend_late: false,
            expected_late: false,
            memory: SimMemory::filled(PFNS),
            cpu_share: CpuShare::FULL,
        });
        host
    }

    pub(crate) fn list(&self) -> Vec<Domain> {
        self.domains.lock().unwrap().clone()
    }
}

/// When a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// Instead of its n-th action.
    Before(usize),
    /// Right after it.
    After(usize),
}

/// A process on a host. Once it is dead nothing that it does has an effect.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) host: Host,
    life: Arc<Mutex<Life>>,
    pub(crate) findings: Findings,
    /// Its Xen can log what guests write.
    pub(crate) has_log_dirty: bool,
    /// Its guest sees that it is to suspend, and does not while anybody waits for that.
    pub(crate) suspends_late: bool,
    /// What was mapped of the guest when it was resumed: whether anything was.
    pub(crate) mapped_at_resume: Arc<Mutex<Option<bool>>>,
    /// What its guest's agent was told, and what happened to the guest meanwhile.
    pub(crate) told: Told,
}

/// A guest's agent that only listens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<&'static str>>>);

impl Told {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    /// What it heard, and what the host did meanwhile, in order. That the guest is going to be suspended
    /// it hears once more where live copying gets no further.
    pub(crate) fn list(&self) -> Vec<&'static str> {
        let mut told = self.0.lock().unwrap().clone();
        told.dedup();
        told
    }
}

impl Agent for Told {
    fn prepare(&mut self, limit: Duration, _: &Cancel) -> Option<String> {
        assert!(limit < LIMIT, "the peer would not wait");
        self.note("prepare");
        Some("the guest's agent has prepared".to_owned())
    }

    fn pre_copy(&self, _: u64) {
        self.note("pre-copy");
    }

    fn suspending(&self) -> u32 {
        self.note("suspending");
        0
    }

    fn cancelled(&self) {
        self.note("cancelled");
    }
}

#[derive(Default)]
struct Life {
    actions: usize,
    death: Option<Death>,
    dead: bool,
    /// Its end of the connection, which the kernel closes.
    connection: Option<UnixStream>,
}

impl Process {
    pub(crate) fn start(host: &Host, death: Option<Death>) -> Self {
        let life = Life { death, ..Life::default() };
        let life = Arc::new(Mutex::new(life));
        Self {
            host: host.clone(),
            life,
            findings: Findings::default(),
            has_log_dirty: true,
            suspends_late: false,
            mapped_at_resume: Arc::default(),
            told: Told::default(),
        }
    }

    pub(crate) fn actions(&self) -> usize {
        self.life.lock().unwrap().actions
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.life.lock().unwrap().dead
    }

    /// It ends, and the kernel closes its connection.
    pub(crate) fn exit(&self) {
        self.life.lock().unwrap().die();
    }

    /// The process' end of a connection, as a link.
    pub(crate) fn link(&self, end: UnixStream, cancel: &Cancel) -> Link {
        self.life.lock().unwrap().connection = Some(end.try_clone().unwrap());
        let other = end.try_clone().unwrap();
        Link::new(end.into(), other.into(), cancel, Some(Duration::from_secs(5))).unwrap()
    }

    /// Does something that lasts, unless it is dead by then.
    fn act<T>(&self, action: impl FnOnce() -> T) -> Result<T, HostError> {
        let mut life = self.life.lock().unwrap();
        let number = life.actions;
        life.actions += 1;
        if life.death == Some(Death::Before(number)) {
            life.die();
        }
        if life.dead {
            return Err(HostError::new("killed"));
        }
        let value = action();
        if life.death == Some(Death::After(number)) {
            life.die();
            return Err(HostError::new("killed"));
        }
        Ok(value)
    }

    fn domain<T>(
        &self,
        domid: Domid,
        action: impl FnOnce(&mut Domain) -> T,
    ) -> Result<T, HostError> {
        self.act(|| {
            let mut domains = self.host.domains.lock().unwrap();
            let domain = domains.iter_mut().find(|d| d.domid == domid);
            domain.map(action).ok_or_else(|| HostError::new(format!("no {domid}")))
        })?
    }
}

impl Life {
    fn die(&mut self) {
        self.dead = true;
        if let Some(connection) = &self.connection {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Domains for Process {
    fn hold(&self, _: Domid) -> Result<Option<Box<dyn Send>>, HostError> {
        Ok(Some(Box::new(())))
    }

    fn find(&self, uuid: &str) -> Result<Vec<Found>, HostError> {
        assert_eq!(uuid, UUID);
        if self.is_dead() {
            return Err(HostError::new("killed"));
        }
        let found = |d: &Domain| Found {
            domid: d.domid,
            name: d.name.clone(),
            suspended: d.memory.is_suspended(),
            token: d.token,
        };
        Ok(self.host.list().iter().map(found).collect())
    }

    fn stop_tracking(&self, domid: Domid) -> Result<(), HostError> {
        self.told.note("(not tracked)");
        self.domain(domid, |_| ())
    }

    fn resume(&self, domid: Domid) -> Result<(), HostError> {
        self.domain(domid, |d| {
            // The host's own handle, and the engine's.
            assert_eq!(d.cpu_share, CpuShare::FULL, "it goes on at its full speed");
            *self.mapped_at_resume.lock().unwrap() = Some(d.memory.handles() > 1);
            d.memory.resume();
        })
    }

    fn call_off_suspend(&self, domid: Domid) -> Result<(), HostError> {
        self.domain(domid, |d| d.expected_late = d.may_suspend_late)
    }

    fn unpause(&self, domid: Domid) -> Result<(), HostError> {
        self.domain(domid, |d| d.paused = false)
    }

    fn rename(&self, domid: Domid, from: &str, to: &str) -> Result<(), HostError> {
        self.domain(domid, |d| {
            assert_eq!(d.name, from, "it is renamed from the name it has");
            to.clone_into(&mut d.name);
        })
    }

    fn destroy(&self, domid: Domid) -> Result<(), HostError> {
        self.act(|| self.host.domains.lock().unwrap().retain(|d| d.domid != domid))
    }

    fn start_monitor(&self, domid: Domid) -> Result<(), HostError> {
        self.domain(domid, |d| d.watched = true)
    }
}

impl SourceHost for Process {
    type Guest = SimSource;

    fn open_guest(&self, domid: Domid) -> Result<SimSource, HostError> {
        self.told.note("(opened)");
        let has_log_dirty = self.has_log_dirty;
        self.domain(domid, |d| {
            let guest = SimSource::new(d.memory.clone(), Faults::none());
            if has_log_dirty { guest } else { guest.without_log_dirty() }
        })
    }

    fn set_cpu_share(&self, domid: Domid, share: CpuShare) -> Result<(), HostError> {
        self.domain(domid, |d| d.cpu_share = share)
    }

    fn suspend(&self, domid: Domid, _: &Cancel) -> Result<(), HostError> {
        self.told.note("(suspended)");
        let late = self.suspends_late;
        self.domain(domid, |d| if late { d.may_suspend_late = true } else { d.suspend() })?;
        if late { Err(HostError::new("it did not suspend")) } else { Ok(()) }
    }

    fn agent(&self, _: Domid) -> Box<dyn Agent> {
        self.told.note("(looked for)");
        Box::new(self.told.clone())
    }
}

impl DestinationHost for Process {
    type Incoming = Arriving;

    fn identify(&self, config: &[u8]) -> Result<Identity, HostError> {
        assert_eq!(config, b"{}");
        Ok(identity())
    }

    fn check(&self, _: &[u8], _: Option<&Offer>) -> Result<Findings, HostError> {
        Ok(self.findings.clone())
    }

    fn reserve(
        &self,
        _: &[u8],
        _: Option<&GuestNeeds>,
        token: Token,
    ) -> Result<Arriving, HostError> {
        let domid = self.act(|| {
            let mut domains = self.host.domains.lock().unwrap();
            let domid = Domid(domains.iter().map(|d| d.domid.0).max().unwrap_or(0) + 3);
            domains.push(Domain {
                domid,
                name: identity().incoming_name(),
                token: None,
                paused: true,
                watched: false,
                watched_by_xl: false,
                may_suspend_late: false,
                expected_late: false,
                memory: SimMemory::empty(PFNS),
                cpu_share: CpuShare::FULL,
            });
            domid
        })?;
        let arriving = Arriving { process: self.clone(), domid, kept: false };
        self.domain(domid, |d| d.token = Some(token))?;
        Ok(arriving)
    }

    fn prepare_announcement(&self, _: Domid) {}

    fn announce(&self) {}

    fn await_announced(&self) {}
}

/// A domain that waits for its guest.
pub(crate) struct Arriving {
    process: Process,
    domid: Domid,
    kept: bool,
}

impl Incoming for Arriving {
    type Guest = SimDestination;

    fn domid(&self) -> Domid {
        self.domid
    }

    fn open_guest(&self) -> Result<SimDestination, HostError> {
        let domid = self.domid;
        self.process.domain(domid, |d| SimDestination::new(d.memory.clone(), Faults::none()))
    }

    fn prepare_devices(&mut self) -> Result<(), HostError> {
        self.process.domain(self.domid, |_| ())
    }

    fn introduce(&mut self, _: RingFrames) -> Result<(), HostError> {
        self.process.domain(self.domid, |_| ())
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.process.destroy(self.domid);
        }
    }
}

/// The journal, as a process that may be dead uses it.
impl Journal for Process {
    fn claim(&self, side: Side, token: Token) -> std::io::Result<Option<Claim>> {
        self.host.journal.claim(side, token)
    }

    fn write_source(&self, record: &SourceRecord) -> std::io::Result<()> {
        self.act(|| self.host.journal.write_source(record)).map_err(std::io::Error::other)?
    }

    fn source(&self, token: Token) -> std::io::Result<Option<SourceRecord>> {
        self.host.journal.source(token)
    }

    fn write_destination(&self, record: &DestinationRecord) -> std::io::Result<()> {
        self.act(|| self.host.journal.write_destination(record)).map_err(std::io::Error::other)?
    }

    fn destination(&self, token: Token) -> std::io::Result<Option<DestinationRecord>> {
        self.host.journal.destination(token)
    }

    fn decide(
        &self,
        token: Token,
        from: &[DestinationState],
        to: DestinationState,
    ) -> std::io::Result<Option<DestinationRecord>> {
        self.act(|| self.host.journal.decide(token, from, to)).map_err(std::io::Error::other)?
    }

    fn remove(&self, side: Side, token: Token) -> std::io::Result<()> {
        self.act(|| self.host.journal.remove(side, token)).map_err(std::io::Error::other)?
    }

    fn list(&self) -> std::io::Result<Vec<(Side, Token)>> {
        self.host.journal.list()
    }
}

pub(crate) fn identity() -> Identity {
    Identity { name: NAME.to_owned(), uuid: UUID.to_owned() }
}

pub(crate) fn departure(peer: Peer) -> Departure {
    Departure {
        domid: Domid(7),
        identity: identity(),
        config: b"{}".to_vec(),
        needs: GuestNeeds::default(),
        peer,
        token: Token::random().unwrap(),
        check_only: false,
        tracking: Tracking::Auto,
        rounds: Settings::default(),
        agent: true,
        verify: false,
        limit: LIMIT,
        answer_wait: LIMIT,
    }
}

pub(crate) fn reception() -> Reception {
    Reception { paused: false, monitor: true, limit: LIMIT, stream_limit: LIMIT * 2 }
}
