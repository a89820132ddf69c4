//! What a guest is to be, and how `xl` is told.

use std::net::Ipv4Addr;

use super::mac_of;
use crate::error::{LabError, Result};

/// How long the check of the emulator takes at a guest's start.
const SIMD_CHECK_SECONDS: u32 = 2;
/// What kernel, file system and page tables of a small guest take of its memory.
const SYSTEM_MIB: u32 = 85;

/// The disk that all hosts of a lab see, in every Dom0.
pub const SHARED_DISK: &str = "/dev/vda";
const GUEST_DISK: &str = "xvda";

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

impl GuestSpec {
    /// Refuses what would fail later and less clearly.
    pub(super) fn check(&self) -> Result<()> {
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

fn mac_text(ip: Ipv4Addr) -> String {
    mac_of(ip).map(|octet| format!("{octet:02x}")).join(":")
}
