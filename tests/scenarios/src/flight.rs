//! One migration with stock `xl migrate`, from its start to its account, with room to interfere.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::{Background, Guest, LabError, LinkCounters, Output, Watch, WatchReport};
use serde::Serialize;

use crate::helper::Helper;
use crate::ipc::{self, Said};
use crate::progress::{self, Pass};
use crate::rig::{ASK, Place, Rig};

/// Where the receiver listens.
pub const PORT: u16 = 8002;
/// How often the outside observer knocks.
pub(crate) const WATCH_PERIOD: Duration = Duration::from_millis(20);
/// How long the receiver may take to end after the sender has.
const RECEIVER_GRACE: Duration = Duration::from_secs(20);
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_PERIOD: Duration = Duration::from_millis(200);
/// Where the recorder writes in each Dom0.
pub const RECORDS: &str = "/run/recorded";

/// Who is to go where, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The guest.
    pub guest: &'a Guest,
    /// Where it is.
    pub from: Place,
    /// Who sends.
    pub sender: Helper,
    /// Who receives.
    pub receiver: Helper,
}

/// The two commands of a migration, for the shells of the two Dom0s.
#[derive(Debug, Clone)]
pub struct Orders {
    /// What receives, listening on [`PORT`] of its host.
    pub receive: String,
    /// What sends.
    pub send: String,
    /// Whether the receiver is a server, which does not end with the migration.
    pub serves: bool,
    /// How often a client asks the guest for an answer meanwhile.
    pub watch_period: Duration,
}

/// A migration under way.
#[derive(Debug)]
pub struct Flight<'a> {
    rig: &'a Rig,
    from: Place,
    recorded: bool,
    serves: bool,
    sender: Background,
    receiver: Background,
    watch: Watch,
    started: Instant,
    counters: LinkCounters,
    source_cpu_seconds: f64,
    dest_cpu_seconds: f64,
    /// What `xl migrate` left behind, and when, once it has ended.
    ended: Option<(Output, Duration)>,
}

/// What a migration was like.
#[derive(Debug, Clone)]
pub struct Account {
    /// From the start of `xl migrate` to its end.
    pub total: Duration,
    /// Exit status and outputs of `xl migrate`.
    pub sender: Output,
    /// The same of `xl migrate-receive`. `None` when it had to be killed.
    pub receiver: Option<Output>,
    /// Bytes the sending host put on the link, headers and the guest's own traffic included.
    pub wire_bytes: u64,
    /// CPU time the sender's Dom0 had, in seconds, to a tenth, for all it did in that time.
    pub source_cpu_seconds: f64,
    /// The same of the receiver's.
    pub dest_cpu_seconds: f64,
    /// What a client of the guest saw.
    pub client: WatchReport,
    /// What the sending helper said and cost, if that was recorded.
    pub source_record: Option<Record>,
    /// The same of the receiving helper.
    pub dest_record: Option<Record>,
}

/// What a helper said and cost, written down by the recorder.
#[derive(Debug, Clone)]
pub struct Record {
    /// Everything it told libxl.
    pub said: Vec<Said>,
    /// The kernel's account of it.
    pub cost: Cost,
}

/// The kernel's account of a process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// The most memory it had resident, in KiB.
    pub peak_rss_kib: u64,
    /// CPU time in user mode and in the kernel, in seconds, to a hundredth.
    pub cpu_seconds: f64,
}

impl<'a> Flight<'a> {
    /// Starts `xl migrate` on one host and `xl migrate-receive` on the other.
    ///
    /// With `recorded`, what the helpers say and cost is written down.
    ///
    /// # Errors
    /// When a host does not answer.
    pub fn start(rig: &'a Rig, route: &Route<'_>, recorded: bool) -> Result<Self> {
        Self::start_with(rig, route, recorded, "")
    }

    /// Like [`start`](Self::start), with more environment for the sender, as `NAME=value`.
    ///
    /// # Errors
    /// When a host does not answer.
    pub fn start_with(
        rig: &'a Rig,
        route: &Route<'_>,
        recorded: bool,
        sender_environment: &str,
    ) -> Result<Self> {
        let dest = rig.host(route.from.other());
        let environment = |helper: Helper| match recorded {
            true => helper.recorded_environment(RECORDS),
            false => helper.environment(),
        };
        if recorded {
            make_room_for_records(rig)?;
        }
        let address = format!("{}:{PORT}", dest.ip());
        let receive = format!(
            "exec relay listen --once {address} -- env {} xl migrate-receive",
            environment(route.receiver)
        );
        let send = format!(
            "exec env {} {sender_environment} xl migrate -s '' {} 'exec relay connect {address}'",
            environment(route.sender),
            route.guest.name()
        );
        let orders = Orders { receive, send, serves: false, watch_period: WATCH_PERIOD };
        Self::launch(rig, route.guest, route.from, &orders, recorded)
    }

    /// Starts any two commands that migrate a guest.
    ///
    /// # Errors
    /// When a host does not answer, or the receiver does not listen.
    pub fn launch(
        rig: &'a Rig,
        guest: &Guest,
        from: Place,
        orders: &Orders,
        recorded: bool,
    ) -> Result<Self> {
        let (source, dest) = (rig.host(from), rig.host(from.other()));
        let source_cpu_seconds = source.dom0_cpu_seconds()?;
        let dest_cpu_seconds = dest.dom0_cpu_seconds()?;
        let receiver = dest.spawn(&orders.receive)?;
        dest.wait_for_listener(PORT, LISTEN_TIMEOUT)?;
        let watch = rig.lab().watch(guest.ip(), orders.watch_period)?;
        let counters = rig.lab().link().counters(source.name())?;
        let started = Instant::now();
        let sender = source.spawn(&orders.send)?;
        Ok(Self {
            rig,
            from,
            recorded,
            serves: orders.serves,
            sender,
            receiver,
            watch,
            started,
            counters,
            source_cpu_seconds,
            dest_cpu_seconds,
            ended: None,
        })
    }

    /// Time since `xl migrate` was started.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The passes so far, from the record.
    ///
    /// # Errors
    /// When the host does not answer, or the flight is not recorded.
    pub fn passes(&self) -> Result<Vec<Pass>> {
        ensure!(self.recorded, "passes are asked for and the migration is not recorded");
        let command = format!("cat {RECORDS}/said 2>/dev/null || true");
        let said = self.rig.host(self.from).run_ok(&command, ASK)?.stdout;
        Ok(progress::passes(&ipc::read_all(&said)?))
    }

    /// Waits until the source has sent so many bytes. (`xl migrate` shows no progress.)
    ///
    /// # Errors
    /// When it has not within `timeout`, or the migration has ended before.
    pub fn wait_for_bytes(&mut self, bytes: u64, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let name = self.from.name();
        while self.rig.lab().link().counters(name)?.since(self.counters).sent_bytes < bytes {
            ensure!(!self.sender_ends(POLL_PERIOD)?, "`xl migrate` ended: {}", self.sender_log()?);
            ensure!(Instant::now() < deadline, "the source does not send {bytes} bytes");
        }
        Ok(())
    }

    fn sender_log(&self) -> Result<String> {
        match &self.ended {
            Some((output, _)) => Ok(output.stderr_text()),
            None => Ok(self.sender.log()?),
        }
    }

    /// Waits for `patience` for the end of `xl migrate`, and gives the account once it has ended.
    ///
    /// # Errors
    /// When a host does not answer.
    pub fn poll(mut self, patience: Duration) -> Result<std::result::Result<Account, Self>> {
        self.sender_ends(patience)?;
        match self.ended.take() {
            Some((output, total)) => self.account(output, total).map(Ok),
            None => Ok(Err(self)),
        }
    }

    /// Waits for `patience` for the end of `xl migrate` alone, and says whether it has ended.
    ///
    /// # Errors
    /// When a host does not answer.
    pub fn sender_ends(&mut self, patience: Duration) -> Result<bool> {
        if self.ended.is_none() {
            let output = self.sender.poll(patience)?;
            self.ended = output.map(|output| (output, self.elapsed()));
        }
        Ok(self.ended.is_some())
    }

    /// Waits for the end of both sides.
    ///
    /// # Errors
    /// When `xl migrate` does not end within `timeout`: it is killed then.
    pub fn finish(self, timeout: Duration) -> Result<Account> {
        match self.poll(timeout)? {
            Ok(account) => Ok(account),
            Err(flight) => {
                let output = flight.sender.kill()?;
                bail!(
                    "`xl migrate` did not end within {} s and was killed; it had said: {}",
                    timeout.as_secs(),
                    output.stderr_text()
                );
            }
        }
    }

    fn account(self, sender: Output, total: Duration) -> Result<Account> {
        let (source, dest) = (self.rig.host(self.from), self.rig.host(self.from.other()));
        let wire_bytes =
            self.rig.lab().link().counters(source.name())?.since(self.counters).sent_bytes;
        let receiver = match self.serves {
            true => end_server(dest, self.receiver),
            false => self.receiver.wait(RECEIVER_GRACE),
        };
        let receiver = match receiver {
            Ok(output) => Some(output),
            Err(LabError::Deadline { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let client = self.watch.finish();
        let source_cpu_seconds = source.dom0_cpu_seconds()? - self.source_cpu_seconds;
        let dest_cpu_seconds = dest.dom0_cpu_seconds()? - self.dest_cpu_seconds;
        let record = |host: &lab::Host| self.recorded.then(|| read_record(host)).transpose();
        Ok(Account {
            total,
            sender,
            receiver,
            wire_bytes,
            source_cpu_seconds,
            dest_cpu_seconds,
            client,
            source_record: record(source)?,
            dest_record: record(dest)?,
        })
    }
}

impl Account {
    /// Whether both sides say that it worked.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.sender.status == 0 && self.receiver.as_ref().is_some_and(|output| output.status == 0)
    }

    /// Fails with what both sides said unless it worked.
    ///
    /// # Errors
    /// When it did not work.
    pub fn require_success(&self) -> Result<()> {
        ensure!(self.succeeded(), "the migration failed: {}", self.said());
        Ok(())
    }

    /// What both sides wrote to standard error.
    #[must_use]
    pub fn said(&self) -> String {
        let side =
            |output: &Output| format!("(status {}) {}", output.status, output.stderr_text().trim());
        let receiver = self.receiver.as_ref().map_or("did not end by itself".to_owned(), side);
        format!("sender {}\nreceiver {receiver}", side(&self.sender))
    }

    /// The passes the sender made, if that was recorded.
    #[must_use]
    pub fn passes(&self) -> Vec<Pass> {
        self.source_record.as_ref().map(|record| progress::passes(&record.said)).unwrap_or_default()
    }
}

/// Removes old records in both Dom0s, so that new ones can be written.
///
/// # Errors
/// When a host does not answer.
pub fn make_room_for_records(rig: &Rig) -> Result<()> {
    for place in [Place::A, Place::B] {
        rig.host(place).run_ok(&format!("rm -rf {RECORDS} && mkdir -p {RECORDS}"), ASK)?;
    }
    Ok(())
}

/// Ends a server once it has nothing left to receive. That it had to be ended is no failure.
fn end_server(host: &lab::Host, server: Background) -> lab::Result<Output> {
    let idle = host.run_ok(
        "while ps | grep -v relay | grep -q '[m]igrate-receive'; do sleep 0.1; done",
        RECEIVER_GRACE,
    );
    let output = server.kill()?;
    idle.map(|_| Output { status: 0, ..output })
}

fn read_record(host: &lab::Host) -> Result<Record> {
    // The recorder ends just after the helper does.
    host.run_ok(&format!("until [ -s {RECORDS}/cost ]; do sleep 0.05; done"), ASK)?;
    let cost = String::from_utf8_lossy(&host.get(&format!("{RECORDS}/cost"))?).into_owned();
    let said = host.get(&format!("{RECORDS}/said"))?;
    Ok(Record {
        said: ipc::read_all(&said)?,
        cost: read_cost(&cost).with_context(|| format!("`time -v` said: {cost}"))?,
    })
}

/// busybox multiplies the KiB that Linux gives it by the page size in KiB.
const BUSYBOX_RSS_FACTOR: u64 = 4;

/// Reads what busybox's `time -v` writes.
fn read_cost(text: &str) -> Option<Cost> {
    let field = |name: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "))
    };
    let seconds = |name: &str| field(name)?.trim().parse::<f64>().ok();
    let peak = field("Maximum resident set size (kbytes)")?.trim().parse::<u64>().ok();
    Some(Cost {
        peak_rss_kib: peak? / BUSYBOX_RSS_FACTOR,
        cpu_seconds: seconds("User time (seconds)")? + seconds("System time (seconds)")?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Cost, read_cost};

    #[test]
    fn the_account_of_busybox_is_read() {
        let text = "\tCommand being timed: \"x\"\n\tUser time (seconds): 1.25\n\
                    \tSystem time (seconds): 0.50\n\
                    \tMaximum resident set size (kbytes): 4640\n";
        assert_eq!(read_cost(text), Some(Cost { peak_rss_kib: 1160, cpu_seconds: 1.75 }));
        assert_eq!(read_cost(""), None);
    }
}
