//! Typed views of the document, with libxl's defaults where it says nothing.

use serde_json::Value;

use super::devices::{Disk, DiskBackend, DiskFormat, Nic, NicRate, NicType};
use super::tree::{self, Object};
use super::types::{
    Action, Actions, Boot, Bootloader, GrantLimits, GuestKind, Memory, SchedulerParams, TscMode,
    Uuid,
};
use super::{ConfigError, DomainConfig, schema};
use crate::toolstack::xlcfg::one_line;

/// What libxl gives a guest whose configuration names no memory.
const DEFAULT_MEMORY_KIB: u64 = 32 * 1024;
/// What libxl allows a guest whose configuration names no number.
const DEFAULT_EVENT_CHANNELS: u32 = 1023;

impl DomainConfig {
    pub(super) fn create_info(&self) -> &Object {
        tree::object(&self.document, "c_info").unwrap_or(&EMPTY)
    }

    pub(super) fn build_info(&self) -> &Object {
        tree::object(&self.document, "b_info").unwrap_or(&EMPTY)
    }

    /// What only guests of this kind have: the `type.pv` of a PV guest.
    pub(super) fn kind_info(&self) -> &Object {
        let key = format!("type.{}", self.kind().word());
        tree::object(self.build_info(), &key).unwrap_or(&EMPTY)
    }

    /// How Xen runs the guest.
    pub fn kind(&self) -> GuestKind {
        let word = tree::text(self.create_info(), "type");
        word.and_then(|word| GuestKind::from_word(&word)).unwrap_or(GuestKind::Pv)
    }

    /// Its name, without a suffix that a migration adds.
    pub fn name(&self) -> &str {
        self.create_info().get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Its identity.
    pub fn uuid(&self) -> Uuid {
        let text = tree::text(self.create_info(), "uuid");
        text.and_then(|text| text.parse().ok()).unwrap_or(Uuid([0; 16]))
    }

    /// How many vCPUs it can have.
    pub fn max_vcpus(&self) -> u32 {
        tree::u32(self.build_info(), "max_vcpus").unwrap_or(0).max(1)
    }

    /// The vCPUs that are online when it starts, ascending.
    pub fn online_vcpus(&self) -> Vec<u32> {
        let online = self.build_info().get("avail_vcpus").map_or(Vec::new(), tree::bits);
        if online.is_empty() { vec![0] } else { online }
    }

    /// Sizes of its memory on a host with hardware-assisted paging, unless the document itself
    /// says otherwise.
    pub fn memory(&self) -> Memory {
        self.memory_on(true)
    }

    /// Sizes of its memory, where `host_has_hap` tells if the host has hardware-assisted paging:
    /// without it Xen needs more for page tables.
    pub fn memory_on(&self, host_has_hap: bool) -> Memory {
        let info = self.build_info();
        let max_kib = tree::u64(info, "max_memkb").unwrap_or(DEFAULT_MEMORY_KIB);
        Memory {
            max_kib,
            target_kib: tree::u64(info, "target_memkb").unwrap_or(max_kib),
            shadow_kib: tree::u64(info, "shadow_memkb")
                .unwrap_or_else(|| self.default_shadow_kib(max_kib, host_has_hap)),
            video_kib: tree::u64(info, "video_memkb").unwrap_or(match self.kind() {
                GuestKind::Pv | GuestKind::Pvh => 0,
                GuestKind::Hvm => 8 * 1024,
            }),
        }
    }

    /// libxl's rule: 1 MiB for each vCPU and, for each MiB of the guest, a page for its p2m (not
    /// for PV guests) and a page for shadows (not with hardware-assisted paging).
    fn default_shadow_kib(&self, max_kib: u64, host_has_hap: bool) -> u64 {
        let is_pv = self.kind() == GuestKind::Pv;
        let pages_per_mib = u64::from(!is_pv) + u64::from(is_pv || !self.hap(host_has_hap));
        4 * (256 * u64::from(self.max_vcpus()) + pages_per_mib * (max_kib / 1024))
    }

    /// Whether the guest is to have hardware-assisted paging on a host that has or lacks it.
    pub fn hap(&self, host_has_hap: bool) -> bool {
        tree::defbool(self.create_info(), "hap").unwrap_or(host_has_hap)
    }

    /// What it boots.
    pub fn boot(&self) -> Boot {
        // Before Xen 4.10 these were said for PV guests alone, and still may be.
        let (info, old) = (self.build_info(), self.kind_info());
        let text = |key| tree::text(info, key).or_else(|| tree::text(old, key));
        let arguments = if info.contains_key("bootloader_args") { info } else { old };
        Boot {
            kernel: text("kernel"),
            ramdisk: text("ramdisk").filter(|path| !path.is_empty()),
            cmdline: text("cmdline"),
            bootloader: text("bootloader").map(|program| Bootloader {
                program,
                arguments: tree::texts(arguments, "bootloader_args"),
            }),
        }
    }

    /// Its disks, in order.
    pub fn disks(&self) -> Vec<Disk> {
        tree::objects(&self.document, "disks").map(disk).collect()
    }

    /// Its network interfaces, in order.
    pub fn nics(&self) -> Vec<Nic> {
        tree::objects(&self.document, "nics").zip(0..).map(|(map, index)| nic(map, index)).collect()
    }

    /// What becomes of it once it has shut down.
    pub fn actions(&self) -> Actions {
        // In a document that says nothing libxl finds the first of its list.
        let action = |key| {
            let word = tree::text(&self.document, key);
            word.and_then(|word| Action::from_word(&word)).unwrap_or(Action::Destroy)
        };
        Actions {
            poweroff: action("on_poweroff"),
            reboot: action("on_reboot"),
            watchdog: action("on_watchdog"),
            crash: action("on_crash"),
            soft_reset: action("on_soft_reset"),
        }
    }

    /// How its reads of the time stamp counter are answered.
    pub fn tsc_mode(&self) -> TscMode {
        let word = tree::text(self.build_info(), "tsc_mode");
        word.and_then(|word| TscMode::from_word(&word)).unwrap_or(TscMode::Default)
    }

    /// What the scheduler is to be told.
    pub fn scheduler(&self) -> SchedulerParams {
        let Some(map) = tree::object(self.build_info(), "sched_params") else {
            return SchedulerParams::default();
        };
        SchedulerParams {
            weight: tree::u32(map, "weight"),
            cap: tree::u32(map, "cap"),
            period_us: tree::u32(map, "period"),
            budget_us: tree::u32(map, "budget"),
            extratime: tree::u32(map, "extratime"),
        }
    }

    /// The processors that each vCPU may run on, from vCPU 0; vCPUs beyond the end may run
    /// anywhere.
    pub fn hard_affinity(&self) -> Vec<Vec<u32>> {
        tree::items(self.build_info(), "vcpu_hard_affinity").iter().map(tree::bits).collect()
    }

    /// The processors that each vCPU should run on, from vCPU 0.
    pub fn soft_affinity(&self) -> Vec<Vec<u32>> {
        tree::items(self.build_info(), "vcpu_soft_affinity").iter().map(tree::bits).collect()
    }

    /// The CPU pool it belongs to; `None` for the first.
    pub fn pool(&self) -> Option<String> {
        tree::text(self.create_info(), "pool_name")
    }

    /// Whether its administrator forbade to migrate it.
    pub fn is_migration_forbidden(&self) -> bool {
        tree::defbool(self.build_info(), "disable_migrate").unwrap_or(false)
    }

    /// How much of a grant table it may have.
    pub fn grant_limits(&self) -> GrantLimits {
        let info = self.build_info();
        GrantLimits {
            grant_frames: tree::u32(info, "max_grant_frames"),
            maptrack_frames: tree::u32(info, "max_maptrack_frames"),
            version: tree::u32(info, "max_grant_version"),
        }
    }

    /// How many event channels it may have.
    pub fn max_event_channels(&self) -> u32 {
        let number = tree::u32(self.build_info(), "event_channels");
        number.filter(|number| *number != 0).unwrap_or(DEFAULT_EVENT_CHANNELS)
    }

    /// Whether hotplug scripts are to be run for its devices from here, not by udev.
    pub fn runs_hotplug_scripts(&self) -> bool {
        tree::defbool(self.create_info(), "run_hotplug_scripts").unwrap_or(true)
    }

    /// Whether its memory is claimed from Xen before it is built.
    pub fn claims_memory(&self) -> bool {
        tree::defbool(self.build_info(), "claim_mode").unwrap_or(false)
    }

    /// Whether accesses to unknown MSRs are let through.
    pub fn msr_relaxed(&self) -> bool {
        let arch = tree::object(self.build_info(), "arch_x86");
        arch.and_then(|arch| tree::defbool(arch, "msr_relaxed")).unwrap_or(false)
    }

    /// Seconds between its wall clock and UTC.
    pub fn rtc_time_offset_s(&self) -> i32 {
        // libxl keeps the bits in an unsigned integer.
        tree::u32(self.build_info(), "rtc_timeoffset").unwrap_or(0).cast_signed()
    }

    /// Whether its wall clock is to show local time.
    pub fn localtime(&self) -> bool {
        tree::defbool(self.build_info(), "localtime").unwrap_or(false)
    }

    /// What a PVH or HVM guest's virtual timers do about ticks that they missed, as Xen's
    /// `HVM_PARAM_TIMER_MODE`.
    pub fn timer_mode(&self) -> u64 {
        match tree::text(self.build_info(), "timer_mode").as_deref() {
            Some("delay_for_missed_ticks") => 0,
            Some("no_missed_ticks_pending") => 2,
            Some("one_missed_tick_pending") => 3,
            _ => 1,
        }
    }

    /// Whether shadow page tables may be out of step with the guest's own for a while.
    pub fn out_of_sync_shadows(&self) -> bool {
        tree::defbool(self.create_info(), "oos").unwrap_or(self.kind() != GuestKind::Pv)
    }

    /// Whether a PVH guest gets ACPI tables.
    pub fn acpi(&self) -> bool {
        tree::defbool(self.build_info(), "acpi").unwrap_or(true)
    }

    /// Whether a PVH guest gets local APICs.
    pub fn apic(&self) -> bool {
        tree::defbool(self.build_info(), "apic").unwrap_or(true)
    }

    /// Whether it may serve devices to other guests.
    pub fn is_driver_domain(&self) -> bool {
        tree::defbool(self.create_info(), "driver_domain").unwrap_or(false)
    }
}

impl DomainConfig {
    /// What every view relies on.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for path in ["c_info", "b_info"] {
            tree::object(&self.document, path).ok_or(ConfigError::Missing { path })?;
        }
        // A domain's name becomes part of file names, and one line of messages.
        if self.name().contains(|c: char| c == '/' || c.is_control()) {
            return Err(ConfigError::Name { name: one_line(self.name()) });
        }
        schema::check(&self.document, schema::DOCUMENT)
    }
}

static EMPTY: std::sync::LazyLock<Object> = std::sync::LazyLock::new(Object::new);

fn disk(map: &Object) -> Disk {
    Disk {
        vdev: tree::text(map, "vdev").unwrap_or_default(),
        target: tree::text(map, "pdev_path").filter(|path| !path.is_empty()),
        backend: match tree::text(map, "backend").as_deref() {
            Some("phy") => Some(DiskBackend::Phy),
            Some("tap") => Some(DiskBackend::Tap),
            Some("qdisk") => Some(DiskBackend::Qdisk),
            Some("standalone") => Some(DiskBackend::Standalone),
            _ => None,
        },
        format: match tree::text(map, "format").as_deref() {
            Some("qcow") => DiskFormat::Qcow,
            Some("qcow2") => DiskFormat::Qcow2,
            Some("vhd") => DiskFormat::Vhd,
            Some("qed") => DiskFormat::Qed,
            Some("empty") => DiskFormat::Empty,
            _ => DiskFormat::Raw,
        },
        backend_domid: tree::u32(map, "backend_domid").unwrap_or(0),
        backend_name: tree::text(map, "backend_domname"),
        script: tree::text(map, "script"),
        removable: tree::flag(map, "removable"),
        writable: tree::flag(map, "readwrite"),
        cdrom: tree::flag(map, "is_cdrom"),
        direct_io_safe: tree::flag(map, "direct_io_safe"),
        discard: tree::defbool(map, "discard_enable"),
        trusted: tree::defbool(map, "trusted"),
        virtio: tree::text(map, "specification").as_deref() == Some("virtio"),
    }
}

fn nic(map: &Object, index: u32) -> Nic {
    Nic {
        devid: tree::u32(map, "devid").unwrap_or(index),
        mac: tree::text(map, "mac").and_then(|text| text.parse().ok()),
        bridge: tree::text(map, "bridge"),
        ip: tree::text(map, "ip"),
        script: tree::text(map, "script"),
        ifname: tree::text(map, "ifname"),
        mtu_bytes: tree::u32(map, "mtu").filter(|mtu| *mtu != 0),
        model: tree::text(map, "model"),
        kind: match tree::text(map, "nictype").as_deref() {
            Some("vif") => Some(NicType::Vif),
            Some("vif_ioemu") => Some(NicType::VifIoemu),
            _ => None,
        },
        backend_domid: tree::u32(map, "backend_domid").unwrap_or(0),
        backend_name: tree::text(map, "backend_domname"),
        gatewaydev: tree::text(map, "gatewaydev"),
        rate: tree::u64(map, "rate_bytes_per_interval").filter(|bytes| *bytes != 0).map(|bytes| {
            NicRate {
                bytes_per_interval: bytes,
                interval_us: tree::u32(map, "rate_interval_usecs").unwrap_or(0),
            }
        }),
        trusted: tree::defbool(map, "trusted"),
    }
}
