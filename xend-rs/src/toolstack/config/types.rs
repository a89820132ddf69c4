//! The words a configuration is said in.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::str::FromStr;

use super::ConfigError;
use crate::toolstack::xlcfg::one_line;

/// How Xen runs the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestKind {
    /// Paravirtualised: the guest knows the machine's frames.
    Pv,
    /// Hardware-assisted, without a device model.
    Pvh,
    /// Hardware-assisted, with a device model.
    Hvm,
}

impl GuestKind {
    /// libxl's word for it, as in `c_info.type`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pv => "pv",
            Self::Pvh => "pvh",
            Self::Hvm => "hvm",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::Pv, Self::Pvh, Self::Hvm].into_iter().find(|kind| kind.word() == word)
    }
}

impl fmt::Display for GuestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pv => "PV",
            Self::Pvh => "PVH",
            Self::Hvm => "HVM",
        })
    }
}

/// The guest's identity, the same on every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// A new one (version 4, random).
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn random() -> Result<Self, ConfigError> {
        let mut bytes: [u8; 16] = random_bytes()?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = ConfigError;

    /// Reads the usual form, 36 characters with dashes, in either case.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::Uuid { text: one_line(text) };
        let dashes_sound = text.len() == 36
            && text.bytes().enumerate().all(|(i, b)| (b == b'-') == matches!(i, 8 | 13 | 18 | 23));
        let digits: Option<Vec<u32>> =
            text.chars().filter(|c| *c != '-').map(|c| c.to_digit(16)).collect();
        let digits = digits.filter(|_| dashes_sound).ok_or_else(bad)?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(pair[0] << 4 | pair[1]).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

/// The address of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// A new one among those that belong to Xen, 00:16:3e.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn random() -> Result<Self, ConfigError> {
        let [a, b, c] = random_bytes()?;
        Ok(Self([0x00, 0x16, 0x3e, a & 0x7f, b, c]))
    }
}

fn random_bytes<const N: usize>() -> Result<[u8; N], ConfigError> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| ConfigError::NoRandomness { reason: error.to_string() })?;
    Ok(bytes)
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = ConfigError;

    /// Reads six hexadecimal bytes with colons between them.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::Mac { text: one_line(text) };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| matches!(part.len(), 1 | 2)).ok_or_else(bad)?;
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}

/// Sizes of the guest's memory, in KiB, with libxl's defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What the guest may grow to (`maxmem=`).
    pub max_kib: u64,
    /// What it has at first, or is told to balloon to (`memory=`).
    pub target_kib: u64,
    /// What Xen keeps for shadow or hardware-assisted page tables.
    pub shadow_kib: u64,
    /// Video memory inside the target; none unless HVM.
    pub video_kib: u64,
}

/// What the guest boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Path of the kernel image in Dom0.
    pub kernel: Option<String>,
    /// Path of the initial RAM disk in Dom0.
    pub ramdisk: Option<String>,
    /// The kernel's command line, `root=` and `extra=` already folded in.
    pub cmdline: Option<String>,
    /// A program that fetches kernel and RAM disk from the guest's disk.
    pub bootloader: Option<Bootloader>,
}

/// A program that fetches kernel and RAM disk from the guest's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootloader {
    /// Path or name of the program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// What the toolstack does once the guest has shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Remove the domain.
    Destroy,
    /// Remove it and create it again.
    Restart,
    /// Keep the old domain under another name and create a new one.
    RenameRestart,
    /// Leave it as it is.
    Preserve,
    /// Write its memory to a file, then remove it.
    CoredumpDestroy,
    /// Write its memory to a file, then remove it and create it again.
    CoredumpRestart,
    /// Start the guest anew inside the same domain.
    SoftReset,
}

impl Action {
    const ALL: [Self; 7] = [
        Self::Destroy,
        Self::Restart,
        Self::RenameRestart,
        Self::Preserve,
        Self::CoredumpDestroy,
        Self::CoredumpRestart,
        Self::SoftReset,
    ];

    /// The word in an xl.cfg.
    pub fn xlcfg_word(self) -> &'static str {
        match self {
            Self::Destroy => "destroy",
            Self::Restart => "restart",
            Self::RenameRestart => "rename-restart",
            Self::Preserve => "preserve",
            Self::CoredumpDestroy => "coredump-destroy",
            Self::CoredumpRestart => "coredump-restart",
            Self::SoftReset => "soft-reset",
        }
    }

    /// libxl's word in the document, which is not always that of an xl.cfg.
    pub fn word(self) -> &'static str {
        match self {
            Self::RenameRestart => "restart_rename",
            Self::CoredumpDestroy => "coredump_destroy",
            Self::CoredumpRestart => "coredump_restart",
            Self::SoftReset => "soft_reset",
            other => other.xlcfg_word(),
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.word() == word)
    }

    /// The action that an xl.cfg calls by this word.
    pub fn from_xlcfg_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.xlcfg_word() == word)
    }
}

/// The action for each way a guest can go down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions {
    /// It powered off.
    pub poweroff: Action,
    /// It asked for a reboot.
    pub reboot: Action,
    /// Its watchdog fired.
    pub watchdog: Action,
    /// It crashed.
    pub crash: Action,
    /// It asked for a soft reset.
    pub soft_reset: Action,
}

/// How the guest's reads of the time stamp counter are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TscMode {
    /// Natively where that is safe, otherwise emulated.
    Default,
    /// Always emulated.
    AlwaysEmulate,
    /// Always natively.
    Native,
    /// Natively, with the guest told of changes. No longer in Xen.
    NativeParavirt,
}

impl TscMode {
    pub(super) const WORDS: [&'static str; 4] =
        ["default", "always_emulate", "native", "native_paravirt"];

    /// Xen's number for it.
    pub fn number(self) -> u32 {
        match self {
            Self::Default => 0,
            Self::AlwaysEmulate => 1,
            Self::Native => 2,
            Self::NativeParavirt => 3,
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        let modes = [Self::Default, Self::AlwaysEmulate, Self::Native, Self::NativeParavirt];
        modes.into_iter().zip(Self::WORDS).find(|(_, known)| *known == word).map(|(mode, _)| mode)
    }
}

/// Scheduler parameters that were asked for; what is `None` stays as the scheduler has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerParams {
    /// Share of the processors, relative to other guests.
    pub weight: Option<u32>,
    /// Ceiling in percent of one processor; 0 for none.
    pub cap: Option<u32>,
    /// Period of the real-time scheduler, in microseconds.
    pub period_us: Option<u32>,
    /// Budget within each period, in microseconds.
    pub budget_us: Option<u32>,
    /// Whether the real-time scheduler may give more than the budget.
    pub extratime: Option<u32>,
}

/// How much of a grant table the guest may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantLimits {
    /// Frames of the grant table; `None` leaves Xen's default.
    pub grant_frames: Option<u32>,
    /// Frames that track what others map; `None` leaves Xen's default.
    pub maptrack_frames: Option<u32>,
    /// Highest version of the interface; `None` leaves it to the host.
    pub version: Option<u32>,
}
