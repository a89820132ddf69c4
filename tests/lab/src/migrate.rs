//! A migration with stock `xl` between two hosts, measured from all sides.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{LabError, Result};
use crate::exec::Output;
use crate::guest::Guest;
use crate::host::Host;
use crate::lab::Lab;
use crate::watch::WatchReport;

const PORT: u16 = 8002;
/// How often the outside observer knocks.
const WATCH_PERIOD: Duration = Duration::from_millis(20);
/// How long the receiver may take to end after the sender has.
const RECEIVER_GRACE: Duration = Duration::from_secs(20);
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How to migrate.
#[derive(Debug, Clone)]
pub struct MigrateOptions {
    /// A program of this machine to use in the sender's Dom0 in place of libxl's save helper.
    pub source_helper: Option<PathBuf>,
    /// The same for the receiver.
    pub dest_helper: Option<PathBuf>,
    /// More environment for `xl`, on both sides, as `NAME=value`; values without quotes.
    pub environment: Vec<String>,
    /// When this has passed, both sides are killed.
    pub timeout: Duration,
}

impl Default for MigrateOptions {
    fn default() -> Self {
        Self {
            source_helper: None,
            dest_helper: None,
            environment: Vec::new(),
            timeout: Duration::from_secs(300),
        }
    }
}

/// What a migration was like.
#[derive(Debug, Clone)]
pub struct MigrateReport {
    /// From the start of `xl migrate` to its end.
    pub total: Duration,
    /// Exit status and outputs of `xl migrate`. `None` when it was killed at the timeout.
    pub sender: Option<Output>,
    /// The same of `xl migrate-receive`. Its standard output is the connection, so empty here.
    pub receiver: Option<Output>,
    /// Bytes the sending host put on the link, headers and the guest's own traffic included.
    pub wire_bytes: u64,
    /// CPU time the sender's Dom0 had, in seconds, to a tenth, for all it did in that time.
    pub source_cpu_seconds: f64,
    /// The same of the receiver's.
    pub dest_cpu_seconds: f64,
    /// What a client of the guest saw.
    pub client: WatchReport,
}

impl MigrateReport {
    /// Whether both sides say that it worked.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        let good = |side: &Option<Output>| side.as_ref().is_some_and(|output| output.status == 0);
        good(&self.sender) && good(&self.receiver)
    }
}

impl Lab {
    /// Migrates a guest with stock `xl migrate` over plain TCP, through the `relay` program.
    ///
    /// A migration that fails is a report like any other: ask it whether it
    /// [`succeeded`](MigrateReport::succeeded).
    ///
    /// # Errors
    /// When a host is not there or does not answer.
    pub fn migrate(
        &self,
        from: &str,
        to: &str,
        guest: &Guest,
        options: &MigrateOptions,
    ) -> Result<MigrateReport> {
        let (source, dest) = (self.host(from)?, self.host(to)?);
        let source_environment = environment(source, options.source_helper.as_ref(), options)?;
        let dest_environment = environment(dest, options.dest_helper.as_ref(), options)?;
        let receive = format!(
            "exec relay listen --once {}:{PORT} -- env {dest_environment} xl migrate-receive",
            dest.ip()
        );
        let send = format!(
            "exec env {source_environment} xl migrate -s '' {} 'relay connect {}:{PORT}'",
            guest.name(),
            dest.ip()
        );

        let source_cpu = source.dom0_cpu_seconds()?;
        let dest_cpu = dest.dom0_cpu_seconds()?;
        let receiver = dest.spawn(&receive)?;
        dest.wait_for_listener(PORT, LISTEN_TIMEOUT)?;
        let watch = self.watch(guest.ip(), WATCH_PERIOD)?;
        let counters = self.link().counters(from)?;
        let start = Instant::now();
        let sender = output_unless_late(source.spawn(&send)?.wait(options.timeout))?;
        let total = start.elapsed();
        let wire_bytes = self.link().counters(from)?.since(counters).sent_bytes;
        let receiver = output_unless_late(receiver.wait(RECEIVER_GRACE))?;
        let client = watch.finish();
        Ok(MigrateReport {
            total,
            sender,
            receiver,
            wire_bytes,
            source_cpu_seconds: source.dom0_cpu_seconds()? - source_cpu,
            dest_cpu_seconds: dest.dom0_cpu_seconds()? - dest_cpu,
            client,
        })
    }
}

impl Host {
    /// Waits until something in Dom0 listens on a TCP port.
    ///
    /// # Errors
    /// [`LabError::Deadline`] when nothing does within `timeout`.
    pub fn wait_for_listener(&self, port: u16, timeout: Duration) -> Result<()> {
        let command = format!("until netstat -ltn | grep -q ':{port} '; do sleep 0.05; done");
        self.run_ok(&command, timeout).map(drop)
    }
}

/// Copies a helper into the host's Dom0 and says the environment that makes libxl use it.
fn environment(host: &Host, helper: Option<&PathBuf>, options: &MigrateOptions) -> Result<String> {
    let mut words = options.environment.clone();
    if let Some(helper) = helper {
        let name = helper.file_name().unwrap_or_default().to_string_lossy();
        let remote = format!("/root/helper/{name}");
        host.put(helper, &remote, 0o755)?;
        words.push(format!("LIBXL_SAVE_HELPER={remote}"));
    }
    Ok(words.join(" "))
}

fn output_unless_late(result: Result<Output>) -> Result<Option<Output>> {
    match result {
        Ok(output) => Ok(Some(output)),
        Err(LabError::Deadline { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
