//! Guests: making one with stock `xl`, and asking the workload in it how it is.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{LabError, Result};
use crate::host::Host;
use crate::lab::WORKLOAD_PORT;

const CREATE_TIMEOUT: Duration = Duration::from_secs(120);
const BOOT_TIMEOUT: Duration = Duration::from_secs(180);
/// How often the console of a guest that does not answer yet is looked at.
const CONSOLE_PERIOD: Duration = Duration::from_secs(5);
/// How long the check of the emulator takes at a guest's start.
const SIMD_CHECK_SECONDS: u32 = 2;
/// What kernel, file system and page tables of a small guest take of its memory.
const SYSTEM_MIB: u32 = 85;
/// An answer that has not come by then is asked for again: UDP loses things.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
const ANSWER_LIMIT_BYTES: usize = 65536;

/// What kind of virtual machine a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GuestKind {
    /// Paravirtualised.
    Pv,
    /// With hardware virtualisation and no device model. Needs some 64 MiB more than PV for the
    /// same workload.
    Pvh,
}

/// What the guest does all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkloadSpec {
    /// Memory it fills and verifies, in MiB.
    pub memory_mib: u32,
    /// The first part of that, in MiB, of which pages are written anew.
    pub hot_mib: u32,
    /// How many pages are written anew per second.
    pub writes_per_s: u32,
}

/// A guest to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestSpec {
    /// Its name, of letters, digits, `-` and `_`.
    pub name: String,
    /// Its kind.
    pub kind: GuestKind,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// What it does.
    pub workload: WorkloadSpec,
    /// Its address, within 10.77.0.0/24 and from .100 on, where no host is.
    pub ip: Ipv4Addr,
    /// Whether it has the hosts' shared disk, [`SHARED_DISK`], and works on that too. Of the guests
    /// that run at one time one may.
    pub disk: bool,
    /// Processes besides the workload.
    pub processes: Vec<ProcessSpec>,
    /// How much of the disk is read into the guest's page cache at its start, in MiB.
    pub cache_mib: u32,
    /// Whether `xend-agent` runs in it.
    pub agent: bool,
}

/// A process of a guest besides its workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessSpec {
    /// What it does to a page.
    pub role: ProcessRole,
    /// Its memory, in MiB.
    pub memory_mib: u32,
    /// Pages that it writes or reads in a second.
    pub pages_per_s: u32,
    /// The UDP port of the guest that it answers on; not the workload's 7000.
    pub port: u16,
}

/// What a process does to its pages, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessRole {
    /// Writes them.
    Writer,
    /// Reads them.
    Reader,
}

/// What a process of a guest has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessFigures {
    /// Pages written or read.
    pub done_pages: u64,
    /// Since it started, by its own clock.
    pub uptime: Duration,
    /// The longest time between two turns of its own.
    pub longest_gap: Duration,
}

/// The disk that all hosts of a lab see, in every Dom0.
pub const SHARED_DISK: &str = "/dev/vda";
const GUEST_DISK: &str = "xvda";

/// A guest that is somewhere in the lab. It is known by its address, so it stays the same one
/// wherever it migrates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    name: String,
    ip: Ipv4Addr,
}

/// The result of one pass over all of the workload's memory.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyReport {
    /// Pages looked at.
    pub pages_verified: u64,
    /// Pages that did not hold what was last written to them.
    pub pages_wrong: u64,
    /// All the workload said.
    pub answer: Value,
}

impl GuestSpec {
    /// Refuses what would fail later and less clearly.
    fn check(&self) -> Result<()> {
        let refuse = |reason: String| Err(LabError::Guest { guest: self.name.clone(), reason });
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(good) {
            return refuse("a name has letters, digits, `-` and `_` only".to_owned());
        }
        let [a, b, c, d] = self.ip.octets();
        if [a, b, c] != [10, 77, 0] || !(100..255).contains(&d) {
            return refuse(format!("{} is not within 10.77.0.100 to .254", self.ip));
        }
        if self.cache_mib > 0 && !self.disk {
            return refuse("there is no disk to be read into the page cache".to_owned());
        }
        let processes: u32 = self.processes.iter().map(|process| process.memory_mib).sum();
        let needed = self.workload.memory_mib + processes + self.cache_mib + SYSTEM_MIB;
        if self.memory_mib < needed {
            return refuse(format!(
                "a workload of {} MiB, processes of {processes} and a cache of {} need a guest of \
                 {needed} MiB or more",
                self.workload.memory_mib, self.cache_mib
            ));
        }
        Ok(())
    }

    /// The guest's configuration for `xl`.
    #[must_use]
    pub fn xl_config(&self) -> String {
        let kind = match self.kind {
            GuestKind::Pv => "pv",
            GuestKind::Pvh => "pvh",
        };
        let mac = mac_text(self.ip);
        let WorkloadSpec { memory_mib, hot_mib, writes_per_s } = self.workload;
        let (disk, disk_argument) = match self.disk {
            true => (
                format!("disk = [ \"phy:{SHARED_DISK},{GUEST_DISK},w\" ]\n"),
                format!(" lab.disk=/dev/{GUEST_DISK}"),
            ),
            false => Default::default(),
        };
        let processes: String = self.processes.iter().map(ProcessSpec::argument).collect();
        let cache_argument = match self.cache_mib {
            0 => String::new(),
            mib => format!(" lab.cache={mib}"),
        };
        let agent_argument = if self.agent { " lab.agent" } else { "" };
        format!(
            "name = \"{name}\"\n\
             type = \"{kind}\"\n\
             memory = {memory}\n\
             vcpus = 1\n\
             kernel = \"/lab/guest/vmlinux\"\n\
             ramdisk = \"/lab/guest/initramfs\"\n\
             extra = \"console=hvc0 quiet mitigations=off lab.ip={ip} lab.memory={memory_mib} \
             lab.hot={hot_mib} lab.writes={writes_per_s} lab.simd={SIMD_CHECK_SECONDS}\
             {disk_argument}{processes}{cache_argument}{agent_argument}\"\n\
             {disk}\
             vif = [ \"mac={mac},bridge=xenbr0,ip={ip}\" ]\n\
             # Emulated time-stamp reads are slow, and the emulator gets RDTSCP wrong.\n\
             tsc_mode = \"native\"\n\
             on_crash = \"preserve\"\n",
            name = self.name,
            memory = self.memory_mib,
            ip = self.ip,
        )
    }
}

impl ProcessSpec {
    fn argument(&self) -> String {
        let role = match self.role {
            ProcessRole::Writer => "writer",
            ProcessRole::Reader => "reader",
        };
        let Self { memory_mib, pages_per_s, port, .. } = self;
        format!(" lab.process={role}:{memory_mib}:{pages_per_s}:{port}")
    }
}

/// The MAC address that goes with a guest's address.
fn mac_of(ip: Ipv4Addr) -> [u8; 6] {
    let [.., last] = ip.octets();
    [0x00, 0x16, 0x3e, 0x77, 0x00, last]
}

fn mac_text(ip: Ipv4Addr) -> String {
    mac_of(ip).map(|octet| format!("{octet:02x}")).join(":")
}

impl Host {
    /// Makes a guest with stock `xl create` and waits until its workload answers.
    ///
    /// # Errors
    /// What `xl` said, or why the workload does not answer with the end of the guest's console;
    /// [`LabError::Emulator`] when the check of the emulator fails in the guest.
    pub fn create_guest(&self, spec: &GuestSpec) -> Result<Guest> {
        self.create_guest_with("xl", spec)
    }

    /// As [`create_guest`](Self::create_guest), with the `create` of another program.
    ///
    /// # Errors
    /// The same.
    pub fn create_guest_with(&self, program: &str, spec: &GuestSpec) -> Result<Guest> {
        spec.check()?;
        let config = format!("/root/{}.cfg", spec.name);
        self.put_bytes(spec.xl_config().as_bytes(), &config, 0o644)?;
        self.run_ok(&format!("{program} create {config}"), CREATE_TIMEOUT)?;
        let guest = Guest { name: spec.name.clone(), ip: spec.ip };
        self.wait_for_workload(&guest)?;
        Ok(guest)
    }

    /// What a guest's console has said on this host.
    ///
    /// # Errors
    /// When there has been no such guest here.
    pub fn guest_console(&self, guest: &Guest) -> Result<String> {
        let content = self.get(&format!("/var/log/xen/guest-{}.log", guest.name))?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    fn wait_for_workload(&self, guest: &Guest) -> Result<()> {
        let deadline = Instant::now() + BOOT_TIMEOUT;
        let mut look = Instant::now() + CONSOLE_PERIOD;
        loop {
            if guest.answers(ANSWER_TIMEOUT)? {
                return Ok(());
            }
            let now = Instant::now();
            if now >= look || now >= deadline {
                let console = self.guest_console(guest).unwrap_or_default();
                if console.contains("LAB-FAILED the emulator") {
                    return Err(LabError::Emulator {
                        host: self.name().to_owned(),
                        detail: format!("in guest {}: {}", guest.name, tail(&console)),
                    });
                }
                if console.contains("LAB-FAILED") || now >= deadline {
                    let reason =
                        format!("does not answer; its console ends with:\n{}", tail(&console));
                    return Err(LabError::Guest { guest: guest.name.clone(), reason });
                }
                look = now + CONSOLE_PERIOD;
            }
        }
    }
}

impl Guest {
    /// Its MAC address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        mac_of(self.ip)
    }

    /// A guest that something other than [`Host::create_guest`] made, with the workload in it.
    #[must_use]
    pub fn existing(name: &str, ip: Ipv4Addr) -> Self {
        Self { name: name.to_owned(), ip }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Whether the workload answers an echo within `timeout`.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn answers(&self, timeout: Duration) -> Result<bool> {
        let probe = "echo are you there";
        let until = Instant::now() + timeout;
        Ok(self.ask(probe, until, |answer| answer == probe.as_bytes())?.is_some())
    }

    /// The workload's figures: whatever it puts into its JSON object.
    ///
    /// # Errors
    /// When the guest does not answer within 10 s.
    pub fn stats(&self) -> Result<Value> {
        self.ask_json("stats", Duration::from_secs(10))
    }

    /// Has the workload look at all of its memory.
    ///
    /// # Errors
    /// When the result does not come within `timeout`. Wrong pages are no error.
    pub fn verify(&self, timeout: Duration) -> Result<VerifyReport> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // The workload starts one pass per identifier however often it is asked.
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let answer = self.ask_json(&format!("verify {id}"), timeout)?;
        let number = |field: &str| {
            answer.get(field).and_then(Value::as_u64).ok_or_else(|| LabError::Guest {
                guest: self.name.clone(),
                reason: format!("answered `{answer}` to verify"),
            })
        };
        Ok(VerifyReport {
            pages_verified: number("pages_verified")?,
            pages_wrong: number("pages_wrong")?,
            answer,
        })
    }

    /// Makes unrest in the guest, so often a second, until it is told otherwise; 0 ends it. Processes
    /// and threads come and go, and the balloon moves: see the workload's README.
    ///
    /// # Errors
    /// When the guest does not answer within 10 s.
    pub fn churn(&self, per_s: u32) -> Result<()> {
        self.ask_ok(&format!("churn {per_s}"))
    }

    /// What a process of the guest has done, by its port. A process that something holds still
    /// does not answer: `None` if it has not by then.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn process(&self, port: u16, timeout: Duration) -> Result<Option<ProcessFigures>> {
        let until = Instant::now() + timeout;
        let answer =
            self.ask_port(port, "how are you", until, |answer| answer.starts_with(b"{"))?;
        let Some(answer) = answer else { return Ok(None) };
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let number = |field: &str| {
            answer[field].as_u64().ok_or_else(|| LabError::Guest {
                guest: self.name.clone(),
                reason: format!("its process at port {port} answered {answer}"),
            })
        };
        Ok(Some(ProcessFigures {
            done_pages: number("done_pages")?,
            uptime: Duration::from_millis(number("uptime_ms")?),
            longest_gap: Duration::from_millis(number("longest_gap_ms")?),
        }))
    }

    /// Has the workload write so many pages a second from now on, chosen from the first `hot_mib` MiB of
    /// its memory.
    ///
    /// # Errors
    /// When the guest refuses or does not answer within 10 s.
    pub fn set_writes(&self, writes_per_s: u32, hot_mib: u32) -> Result<()> {
        let hot_pages = u64::from(hot_mib) << 8;
        self.ask_ok(&format!("writes {writes_per_s} {hot_pages}"))
    }

    fn ask_ok(&self, request: &str) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        match self.ask(request, until, |answer| answer == b"ok")? {
            Some(_) => Ok(()),
            None => Err(LabError::Guest {
                guest: self.name.clone(),
                reason: format!("did not answer `{request}`"),
            }),
        }
    }

    fn ask_json(&self, request: &str, timeout: Duration) -> Result<Value> {
        let until = Instant::now() + timeout;
        let answer = self.ask(request, until, |answer| answer.starts_with(b"{"))?;
        answer.and_then(|answer| serde_json::from_slice(&answer).ok()).ok_or_else(|| {
            LabError::Guest {
                guest: self.name.clone(),
                reason: format!("did not answer `{request}` within {} s", timeout.as_secs_f32()),
            }
        })
    }

    /// Repeats a request until an answer comes that is one, or until `until`.
    fn ask(
        &self,
        request: &str,
        until: Instant,
        is_answer: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        self.ask_port(WORKLOAD_PORT, request, until, is_answer)
    }

    fn ask_port(
        &self,
        port: u16,
        request: &str,
        until: Instant,
        is_answer: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        let address = SocketAddrV4::new(self.ip, port);
        let failed =
            |source: io::Error| LabError::Network { operation: format!("ask {address}"), source };
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(failed)?;
        let mut buffer = vec![0; ANSWER_LIMIT_BYTES];
        while Instant::now() < until {
            // Not connected: "port unreachable" while the guest boots is not of interest.
            let _ = socket.send_to(request.as_bytes(), address);
            let again = (Instant::now() + ANSWER_TIMEOUT).min(until);
            loop {
                let patience = again.saturating_duration_since(Instant::now());
                if patience.is_zero() {
                    break;
                }
                socket.set_read_timeout(Some(patience)).map_err(failed)?;
                if let Ok((length, _)) = socket.recv_from(&mut buffer)
                    && is_answer(&buffer[..length])
                {
                    return Ok(Some(buffer[..length].to_vec()));
                }
            }
        }
        Ok(None)
    }
}

fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
