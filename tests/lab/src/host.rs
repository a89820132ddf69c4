//! A Xen host of the lab: its Dom0 as a place to run commands, and facts about it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::{LabError, Result};
use crate::exec::{Background, CommandServer, Output};
use crate::images::{Hypervisor, Images};
use crate::qemu::{Machine, Qemu};

/// For commands that only ask for something.
const ASK: Duration = Duration::from_secs(30);
const CONSOLE_TAIL_LINES: usize = 25;

/// A domain as `xl list` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Domain {
    /// Its name; `NAME--incoming` while a migration is coming in.
    pub name: String,
    /// Its id on this host.
    pub id: u16,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// `xl`'s state letters, for instance `r-----`.
    pub state: String,
    /// CPU time it has had, in seconds, to a tenth.
    pub cpu_seconds: f64,
}

/// One host.
#[derive(Debug)]
pub struct Host {
    machine: Machine,
    qemu: Qemu,
    server: CommandServer,
}

impl Host {
    pub(crate) fn start(
        machine: Machine,
        images: &Images,
        disk: &Path,
        folder: &Path,
    ) -> Result<Self> {
        let qemu = Qemu::start(&machine, images, disk, folder)?;
        let server = CommandServer::new(&machine.name, machine.command_port);
        Ok(Self { machine, qemu, server })
    }

    /// Waits until the Dom0 says that it is up and its command server answers.
    pub(crate) fn wait_until_up(&mut self, deadline: Instant) -> Result<()> {
        loop {
            let console = self.qemu.console();
            if console.contains("LAB-READY") {
                break;
            }
            let failure = ["LAB-FAILED", "Kernel panic", "Panic on CPU"]
                .into_iter()
                .find_map(|sign| console.lines().find(|line| line.contains(sign)));
            if let Some(line) = failure {
                return Err(self.failure(line.trim()));
            }
            if !self.qemu.is_running() {
                return Err(self.failure("QEMU ended"));
            }
            if Instant::now() > deadline {
                return Err(self.failure("did not come up in time"));
            }
            thread::sleep(Duration::from_millis(100));
        }
        // The server starts just after the message.
        loop {
            match self.run("true", Duration::from_secs(5)) {
                Ok(_) => return Ok(()),
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(100)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs the check of the emulator in Dom0 for two seconds.
    pub(crate) fn check_emulator(&self) -> Result<()> {
        let output = self.run("simd-check 2", ASK)?;
        if output.status == 0 {
            return Ok(());
        }
        let detail = format!("{}{}", output.stdout_text(), output.stderr_text());
        Err(LabError::Emulator {
            host: self.name().to_owned(),
            detail: detail.trim().replace('\n', "; "),
        })
    }

    /// Starts to set Dom0's wall clock, and with it Xen's, to this machine's.
    ///
    /// A command takes some tenths of a second to get there, so Dom0 itself waits for the right
    /// moment, by its uptime, which is compared with our clock first.
    pub(crate) fn start_setting_clock(&self) -> Result<Background> {
        let asked = SystemTime::now();
        let answer = self.run_ok("cat /proc/uptime", ASK)?.stdout_text();
        let answered = asked + asked.elapsed().unwrap_or_default() / 2;
        let uptime: f64 = answer
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| self.failure(&format!("/proc/uptime holds `{answer}`")))?;
        let answered = answered.duration_since(UNIX_EPOCH).unwrap_or_default();
        let target = answered.as_secs() + 2;
        let at_uptime = uptime + target as f64 - answered.as_secs_f64();
        self.spawn(&format!(
            "read up idle </proc/uptime; sleep $(awk \"BEGIN{{print {at_uptime:.2}-$up}}\"); \
             date -u -s @{target}"
        ))
    }

    /// The host's name: `a`, `b` and so on.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.machine.name
    }

    /// Its address on the link, for guests and migrations.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.machine.link_ip
    }

    /// Which hypervisor it runs.
    #[must_use]
    pub fn hypervisor(&self) -> Hypervisor {
        self.machine.hypervisor
    }

    /// The port on 127.0.0.1 in the lab's namespace where each connection gets a shell.
    #[must_use]
    pub fn shell_port(&self) -> u16 {
        self.machine.shell_port
    }

    /// All that the serial console has said: Xen's and the Dom0 kernel's messages.
    #[must_use]
    pub fn console(&self) -> String {
        self.qemu.console()
    }

    /// Runs a shell command in Dom0 to its end, whatever its exit status. Standard input is empty.
    ///
    /// # Errors
    /// [`LabError::Deadline`] when it does not end within `timeout`, after it has been killed.
    pub fn run(&self, command: &str, timeout: Duration) -> Result<Output> {
        self.server.start(command)?.wait(timeout)
    }

    /// As [`run`](Self::run), and any status but 0 is an error.
    ///
    /// # Errors
    /// [`LabError::Command`] with what the command wrote to standard error.
    pub fn run_ok(&self, command: &str, timeout: Duration) -> Result<Output> {
        let output = self.run(command, timeout)?;
        if output.status == 0 {
            return Ok(output);
        }
        Err(LabError::Command {
            host: self.name().to_owned(),
            command: command.to_owned(),
            status: output.status,
            stderr: output.stderr_text().trim().to_owned(),
        })
    }

    /// Starts a shell command in Dom0 and returns when it is running.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn spawn(&self, command: &str) -> Result<Background> {
        self.server.start(command)
    }

    /// Copies a file of this machine into Dom0; `mode` as in `0o755`. Folders are made as needed.
    /// Dom0's disk is its memory.
    ///
    /// # Errors
    /// When the file cannot be read here or written there.
    pub fn put(&self, local: &Path, remote: &str, mode: u32) -> Result<()> {
        let content = fs::read(local).map_err(LabError::file("read", local))?;
        self.put_bytes(&content, remote, mode)
    }

    /// Writes a file in Dom0.
    ///
    /// # Errors
    /// When it cannot be written there.
    pub fn put_bytes(&self, content: &[u8], remote: &str, mode: u32) -> Result<()> {
        self.server.put(content, remote, mode)
    }

    /// Reads a file in Dom0.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn get(&self, remote: &str) -> Result<Vec<u8>> {
        let timeout = Duration::from_secs(120);
        Ok(self.run_ok(&format!("cat '{remote}'"), timeout)?.stdout)
    }

    /// The domains on this host, Dom0 first.
    ///
    /// # Errors
    /// When `xl list` fails or prints something unknown.
    pub fn domains(&self) -> Result<Vec<Domain>> {
        let listing = self.run_ok("xl list", ASK)?.stdout_text();
        parse_domains(&listing)
            .ok_or_else(|| self.failure(&format!("`xl list` printed:\n{listing}")))
    }

    /// CPU time Dom0 has had since boot, in seconds, to a tenth. Asking costs some of it.
    ///
    /// # Errors
    /// As [`domains`](Self::domains).
    pub fn dom0_cpu_seconds(&self) -> Result<f64> {
        let listing = self.run_ok("xl list 0", ASK)?.stdout_text();
        parse_domains(&listing)
            .and_then(|domains| domains.first().map(|domain| domain.cpu_seconds))
            .ok_or_else(|| self.failure(&format!("`xl list` printed:\n{listing}")))
    }

    /// What Dom0's kernel calls available memory, in KiB.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn dom0_free_kib(&self) -> Result<u64> {
        let command = "sed -n 's/^MemAvailable: *\\([0-9]*\\).*/\\1/p' /proc/meminfo";
        self.number(command)
    }

    /// Memory the hypervisor has left for new domains, in MiB.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn xen_free_mib(&self) -> Result<u64> {
        self.number("xl info free_memory")
    }

    /// How many nodes xenstore has.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn xenstore_nodes(&self) -> Result<u64> {
        self.number("xenstore-ls / | wc -l")
    }

    pub(crate) fn command_server(&self) -> CommandServer {
        self.server.clone()
    }

    fn number(&self, command: &str) -> Result<u64> {
        let text = self.run_ok(command, ASK)?.stdout_text();
        text.trim().parse().map_err(|_| self.failure(&format!("`{command}` printed `{text}`")))
    }

    fn failure(&self, reason: &str) -> LabError {
        let console = self.qemu.console();
        let lines: Vec<&str> = console.lines().collect();
        let tail = lines[lines.len().saturating_sub(CONSOLE_TAIL_LINES)..].join("\n");
        LabError::Host { host: self.name().to_owned(), reason: reason.to_owned(), console: tail }
    }
}

/// Reads `xl list`: a heading, then name, id, MiB, vCPUs, state and seconds in columns.
fn parse_domains(listing: &str) -> Option<Vec<Domain>> {
    let mut lines = listing.lines();
    lines.next()?.starts_with("Name").then_some(())?;
    lines
        .map(|line| {
            // From the right, because a name may have blanks in it.
            let mut words = line.split_whitespace().rev();
            let cpu_seconds = words.next()?.parse().ok()?;
            let state = words.next()?.to_owned();
            let _vcpus = words.next()?;
            let memory_mib = words.next()?.parse().ok()?;
            let id = words.next()?.parse().ok()?;
            let name = words.rev().collect::<Vec<_>>().join(" ");
            Some(Domain { name, id, memory_mib, state, cpu_seconds })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse_domains;

    #[test]
    fn xl_list_is_read_in_all_its_columns() {
        let listing = "Name                 ID   Mem VCPUs\tState\tTime(s)\n\
                       Domain-0              0   640     1     r-----      12.3\n\
                       my guest--incoming    7   128     1     --p---       0.0\n";
        let domains = parse_domains(listing).expect("a listing");
        assert_eq!(domains.len(), 2);
        assert_eq!((domains[0].id, domains[0].cpu_seconds), (0, 12.3));
        assert_eq!(domains[1].name, "my guest--incoming");
        assert_eq!((domains[1].memory_mib, domains[1].state.as_str()), (128, "--p---"));
        assert_eq!(parse_domains("xl: cannot init\n"), None);
    }
}
