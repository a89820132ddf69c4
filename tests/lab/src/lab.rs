//! The lab itself: hosts, the link between them, the outside observer.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::error::{LabError, Result};
use crate::host::Host;
use crate::images::{Hypervisor, Images};
use crate::isolation::Isolation;
use crate::net::Link;
use crate::qemu::Machine;
use crate::watch::Watch;
use crate::workdir::WorkDir;

/// With two hosts at once on two busy cores a boot takes 15 to 40 s.
const BOOT_TIMEOUT: Duration = Duration::from_secs(240);
/// The names of the hosts are single letters.
const MAX_HOSTS: usize = 26;
/// The disk that all hosts share.
const DISK_BYTES: usize = 192 << 20;
const LOG_TIMEOUT: Duration = Duration::from_secs(10);
/// What shows why a guest is not heard: it is asked once more from nearby, and what is counted on the way
/// is shown before and after that.
const DOM0_STATE: &str = r#"
exec 2>&1
counted() { grep -e vif -e xenbr0 -e eth0 /proc/net/dev; grep vif /proc/interrupts; }
xl list
xenstore-ls -f /local/domain
od -A d -t x1 /sys/class/net/xenbr0/brforward
ip neigh
counted
for ip in $(xenstore-ls -f /local/domain/0/backend/vif | sed -n 's/.*ip = "\(.*\)"/\1/p'); do
    ping -c 3 -W 1 "$ip"
done
counted
dmesg | tail -n 60
"#;
const CLOCK_TIMEOUT: Duration = Duration::from_secs(20);
const FIRST_COMMAND_PORT: u16 = 5000;
const FIRST_SHELL_PORT: u16 = 5100;
/// The workload's port in every guest.
pub(crate) const WORKLOAD_PORT: u16 = 7000;

/// What one host is to be.
#[derive(Debug, Clone, Copy)]
pub struct HostSpec {
    /// Which hypervisor it runs.
    pub hypervisor: Hypervisor,
    /// The machine's memory in MiB; what Dom0 does not take is there for guests.
    pub memory_mib: u32,
    /// Dom0's memory in MiB, which is its disk too.
    pub dom0_memory_mib: u32,
    /// Emulated processors. More than one makes everything slower on a machine with few cores.
    pub cpus: u32,
}

impl HostSpec {
    /// A host of the usual size.
    #[must_use]
    pub fn new(hypervisor: Hypervisor) -> Self {
        Self { hypervisor, memory_mib: 1536, dom0_memory_mib: 640, cpus: 1 }
    }
}

/// Running hosts, named `a`, `b` and so on. Dropping the lab ends them.
#[derive(Debug)]
pub struct Lab {
    // In this order: machines first, then the folder with their logs.
    hosts: Vec<Host>,
    link: Link,
    work: WorkDir,
    _isolation: Isolation,
}

impl Lab {
    /// Boots the hosts, waits until `xl` works on each, and checks the emulator there.
    ///
    /// Call it from a thread that lives as long as the lab: the kernel ends the machines when
    /// the thread that started them ends.
    ///
    /// # Errors
    /// What this machine lacks, or why a host did not come up, with the end of its console. The
    /// whole consoles are then kept under target/lab-logs.
    pub fn up(isolation: Isolation, images: &Images, specs: &[HostSpec]) -> Result<Self> {
        if specs.is_empty() || specs.len() > MAX_HOSTS {
            return Err(LabError::Missing(format!("a lab has 1 to {MAX_HOSTS} hosts")));
        }
        let work = WorkDir::create()?;
        let machines: Vec<Machine> = specs.iter().zip(0u8..).map(machine).collect();
        let names: Vec<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
        let link = Link::create(&isolation, &names)?;
        let disk = work.create_disk(DISK_BYTES)?;
        let hosts = machines
            .into_iter()
            .map(|machine| Host::start(machine, images, &disk, work.path()))
            .collect::<Result<Vec<_>>>()?;
        let mut lab = Self { hosts, link, work, _isolation: isolation };
        lab.boot().inspect_err(|_| lab.keep_logs())?;
        Ok(lab)
    }

    fn boot(&mut self) -> Result<()> {
        let deadline = Instant::now() + BOOT_TIMEOUT;
        for host in &mut self.hosts {
            host.wait_until_up(deadline)?;
        }
        for host in &self.hosts {
            host.check_emulator()?;
            host.run_ok("xl list", BOOT_TIMEOUT)?;
        }
        self.set_clocks()
    }

    /// Sets all wall clocks to this machine's. At boot they may be a second apart, and a guest
    /// that goes from one to the other takes that for time it was suspended.
    fn set_clocks(&self) -> Result<()> {
        let jobs = self.hosts.iter().map(Host::start_setting_clock).collect::<Result<Vec<_>>>()?;
        for job in jobs {
            job.wait(CLOCK_TIMEOUT)?;
        }
        Ok(())
    }

    /// All hosts, in the order of their names.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts
            .iter()
            .find(|host| host.name() == name)
            .ok_or_else(|| LabError::Missing(format!("there is no host `{name}` in this lab")))
    }

    /// The network between the hosts, to shape, cut and count.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Starts to watch a guest from outside: a numbered UDP echo every `period`.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn watch(&self, guest_ip: Ipv4Addr, period: Duration) -> Result<Watch> {
        Watch::start(SocketAddrV4::new(guest_ip, WORKLOAD_PORT), period)
    }

    /// Copies the consoles, what QEMU said, and of each Dom0 that still answers /var/log (with what
    /// `xl` and the guests' consoles said), the store and the network's state to target/lab-logs under
    /// the time of day, and says where. A failed boot and a panic do that by themselves.
    pub fn keep_logs(&self) {
        for host in &self.hosts {
            // A Dom0 that fell over has only its console left.
            if let Ok(logs) = host.run_ok("tar -cz -C /var/log xen", LOG_TIMEOUT) {
                let _ = self.work.add(&format!("{}-xen-logs.tar.gz", host.name()), &logs.stdout);
            }
            if let Ok(state) = host.run(DOM0_STATE, LOG_TIMEOUT) {
                let _ = self.work.add(&format!("{}-state.txt", host.name()), &state.stdout);
            }
        }
        let _ = self.work.add("link-state.txt", self.link.state().as_bytes());
        match self.work.keep_logs() {
            Ok(folder) => eprintln!("lab: the logs are in {}", folder.display()),
            Err(error) => eprintln!("lab: the logs could not be kept: {error}"),
        }
    }
}

impl Drop for Lab {
    /// A test that fails takes the lab down with it, but not the logs.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_logs();
        }
    }
}

fn machine((spec, index): (&HostSpec, u8)) -> Machine {
    Machine {
        name: char::from(b'a' + index).to_string(),
        hypervisor: spec.hypervisor,
        link_ip: Ipv4Addr::new(10, 77, 0, 11 + index),
        memory_mib: spec.memory_mib,
        dom0_memory_mib: spec.dom0_memory_mib,
        cpus: spec.cpus,
        command_port: FIRST_COMMAND_PORT + u16::from(index),
        shell_port: FIRST_SHELL_PORT + u16::from(index),
    }
}
