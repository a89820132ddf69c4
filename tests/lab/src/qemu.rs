//! One emulated machine.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::error::{LabError, Result};
use crate::images::{Hypervisor, Images};
use crate::net;

/// The processor, less what this emulation gets wrong:
/// * SMAP: a false fault on a return to user mode kills the Dom0.
/// * RDTSCP: a wrong instruction length when Xen intercepts it kills PVH guests.
/// * XSAVE with AVX: SIMD registers change across Xen's context switches.
const CPU: &str = "max,-smap,-rdtscp,-xsave,-avx,-avx2";

/// What one host is to be.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) hypervisor: Hypervisor,
    pub(crate) link_ip: Ipv4Addr,
    pub(crate) memory_mib: u32,
    pub(crate) dom0_memory_mib: u32,
    pub(crate) cpus: u32,
    /// Ports in the lab's namespace for the command server and for shells.
    pub(crate) command_port: u16,
    pub(crate) shell_port: u16,
}

/// The disk that every host sees as /dev/vda: one file, as from a storage network.
///
/// QEMU keeps nothing of a raw file to itself: what one machine has written is in this machine's
/// page cache, where the others read it. "unsafe" ignores flushes, of which only a crash of this
/// machine would make anything.
const SHARED_DISK: &str = "if=none,id=shared,format=raw,cache=unsafe,file.locking=off";

/// A running QEMU. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Qemu {
    child: Child,
    console: PathBuf,
}

impl Qemu {
    /// Starts a machine with its console logged to a file in `folder`.
    ///
    /// The process is tied to the thread that calls this: call it from one that lives as long as
    /// the lab.
    pub(crate) fn start(
        machine: &Machine,
        images: &Images,
        disk: &Path,
        folder: &Path,
    ) -> Result<Self> {
        let console = folder.join(format!("{}-console.log", machine.name));
        let said = folder.join(format!("{}-qemu.log", machine.name));
        let log = fs::File::create(&said).map_err(LabError::file("create", &said))?;
        let child = Command::new("setpriv")
            // The kernel kills QEMU when the lab is gone, however it went.
            .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
            .args(arguments(machine, images, disk, &console))
            // Ctrl-C is for the lab, which ends its machines itself.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|source| LabError::Spawn { program: "setpriv".to_owned(), source })?;
        Ok(Self { child, console })
    }

    /// All the console has said.
    pub(crate) fn console(&self) -> String {
        fs::read(&self.console)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Whether the machine is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn arguments(machine: &Machine, images: &Images, disk: &Path, console: &Path) -> Vec<String> {
    let Machine { name, .. } = machine;
    let [_, _, _, last] = machine.link_ip.octets();
    let link_mac = format!("52:54:00:77:00:{last:02x}");
    let xen = format!(
        "console=com1 com1=115200,8n1 dom0_mem={0}M,max:{0}M loglvl=warning guest_loglvl=warning \
         spec-ctrl=no xpti=no",
        machine.dom0_memory_mib
    );
    // No comma in here: the multiboot loader splits at commas.
    let linux = format!(
        "{} console=hvc0 quiet mitigations=off lab.name={name} lab.ip={} lab.mac={link_mac}",
        images.dom0_kernel().display(),
        machine.link_ip
    );
    let forwards = format!(
        "hostfwd=tcp:127.0.0.1:{}-:5000,hostfwd=tcp:127.0.0.1:{}-:5001",
        machine.command_port, machine.shell_port
    );
    let text = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let mut arguments = text(&["-name", name, "-machine", "q35", "-accel", "tcg", "-cpu", CPU]);
    arguments.extend(text(&["-display", "none", "-nodefaults", "-no-reboot"]));
    arguments.extend(["-smp".to_owned(), machine.cpus.to_string()]);
    arguments.extend(["-m".to_owned(), machine.memory_mib.to_string()]);
    arguments.extend(["-serial".to_owned(), format!("file:{}", console.display())]);
    arguments.extend(["-kernel".to_owned(), path(&images.hypervisor(machine.hypervisor))]);
    arguments.extend(["-append".to_owned(), xen]);
    arguments.extend(["-initrd".to_owned(), format!("{linux},{}", path(&images.dom0_initramfs()))]);
    arguments.extend([
        "-netdev".to_owned(),
        format!("tap,id=link,ifname={},script=no,downscript=no", net::tap_name(name)),
        "-device".to_owned(),
        format!("virtio-net-pci,netdev=link,mac={link_mac},romfile="),
        "-netdev".to_owned(),
        format!("user,id=command,restrict=on,{forwards}"),
        "-device".to_owned(),
        format!("virtio-net-pci,netdev=command,mac=52:54:00:77:01:{last:02x},romfile="),
        "-drive".to_owned(),
        format!("{SHARED_DISK},file={}", disk.display()),
        "-device".to_owned(),
        "virtio-blk-pci,drive=shared,share-rw=on".to_owned(),
    ]);
    arguments
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
