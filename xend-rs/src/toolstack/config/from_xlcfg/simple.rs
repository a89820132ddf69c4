//! Settings that go into the document one by one, each under a name of its own.

use serde_json::Value;

use super::super::tree::Object;
use super::super::{ConfigError, GuestKind};
use super::{Maker, defbool, short};

/// The part of the document that a setting goes to.
#[derive(Clone, Copy)]
enum Part {
    Create,
    Build,
    /// Only in guests of this kind.
    Kind(GuestKind),
    X86,
    Sched,
}

const TEXTS: &[(&str, Part, &str)] = &[
    ("bootloader", Part::Build, "bootloader"),
    ("device_model_override", Part::Build, "device_model"),
    ("device_model_user", Part::Build, "device_model_user"),
    ("kernel", Part::Build, "kernel"),
    ("pool", Part::Create, "pool_name"),
    ("pvshim_cmdline", Part::Kind(GuestKind::Pvh), "pvshim_cmdline"),
    ("pvshim_extra", Part::Kind(GuestKind::Pvh), "pvshim_extra"),
    ("pvshim_path", Part::Kind(GuestKind::Pvh), "pvshim_path"),
    ("ramdisk", Part::Build, "ramdisk"),
    ("stubdomain_cmdline", Part::Build, "stubdomain_cmdline"),
    ("stubdomain_kernel", Part::Build, "stubdomain_kernel"),
    ("stubdomain_ramdisk", Part::Build, "stubdomain_ramdisk"),
];

const FLAGS: &[(&str, Part, &str)] = &[
    ("acpi", Part::Build, "acpi"),
    ("device_model_stubdomain_override", Part::Build, "device_model_stubdomain"),
    ("dm_restrict", Part::Build, "dm_restrict"),
    ("driver_domain", Part::Create, "driver_domain"),
    ("e820_host", Part::Kind(GuestKind::Pv), "e820_host"),
    ("hap", Part::Create, "hap"),
    ("localtime", Part::Build, "localtime"),
    ("msr_relaxed", Part::X86, "msr_relaxed"),
    ("nestedhvm", Part::Build, "nested_hvm"),
    ("nomigrate", Part::Build, "disable_migrate"),
    ("oos", Part::Create, "oos"),
    ("pvshim", Part::Kind(GuestKind::Pvh), "pvshim"),
    ("vpmu", Part::Build, "vpmu"),
    ("xend_suspend_evtchn_compat", Part::Create, "xend_suspend_evtchn_compat"),
];

const SCHEDULER: &[(&str, &str)] = &[
    ("cap", "cap"),
    ("cpu_weight", "weight"),
    ("extratime", "extratime"),
    ("latency", "latency"),
    ("period", "period"),
    ("slice", "slice"),
];

/// Sizes in MiB, which the document has in KiB.
const SIZES_MIB: &[(&str, &str)] = &[
    ("maxmem", "max_memkb"),
    ("memory", "target_memkb"),
    ("shadow_memory", "shadow_memkb"),
    ("stubdomain_memory", "stubdomain_memkb"),
    ("videoram", "video_memkb"),
];
/// More than any machine has, and far from what overflows as KiB.
const MAX_MIB: i64 = 1 << 32;

const PASSTHROUGH: [&str; 5] = ["default", "disabled", "enabled", "sync_pt", "share_pt"];

/// What a virtual timer does about ticks that it missed. The first is no choice.
pub(super) const TIMER_MODES: [&str; 5] = [
    "unknown",
    "delay_for_missed_ticks",
    "no_delay_for_missed_ticks",
    "no_missed_ticks_pending",
    "one_missed_tick_pending",
];

impl Maker<'_> {
    pub(super) fn simple_settings(&mut self) -> Result<(), ConfigError> {
        for (key, part, name) in TEXTS {
            if let Some(setting) = self.get(key) {
                self.put(*part, name, setting.text()?.into());
            }
        }
        for (key, part, name) in FLAGS {
            if let Some(setting) = self.get(key) {
                self.put(*part, name, defbool(setting.number()? != 0));
            }
        }
        for (key, name) in SCHEDULER {
            if let Some(setting) = self.get(key) {
                let number = setting.number_in(0..=i32::MAX.into())?;
                self.put(Part::Sched, name, number.into());
            }
        }
        for (key, name) in SIZES_MIB {
            if let Some(setting) = self.get(key) {
                let mib = setting.number_in(0..=MAX_MIB)?;
                self.put(Part::Build, name, (mib * 1024).into());
            }
        }
        self.limits()?;
        self.passthrough()
    }

    fn limits(&mut self) -> Result<(), ConfigError> {
        let defaults = &self.host.defaults;
        for (key, default) in [
            ("max_grant_frames", defaults.max_grant_frames),
            ("max_maptrack_frames", defaults.max_maptrack_frames),
            ("max_grant_version", defaults.max_grant_version),
        ] {
            let value = match self.get(key) {
                Some(setting) => Some(setting.number_in(0..=i32::MAX.into())?.into()),
                None => default.map(Value::from),
            };
            if let Some(value) = value {
                self.put(Part::Build, key, value);
            }
        }
        // libxl leaves out what is 0.
        if let Some(setting) = self.get("max_event_channels") {
            let number = setting.number_in(0..=u32::MAX.into())?;
            if number != 0 {
                self.put(Part::Build, "event_channels", number.into());
            }
        }
        if let Some(setting) = self.get("rtc_timeoffset") {
            let seconds = setting.number_in(i32::MIN.into()..=u32::MAX.into())?;
            // libxl keeps the lower 32 bits, of negative numbers too.
            let bits = seconds & i64::from(u32::MAX);
            if bits != 0 {
                self.put(Part::Build, "rtc_timeoffset", bits.into());
            }
        }
        Ok(())
    }

    fn passthrough(&mut self) -> Result<(), ConfigError> {
        let Some(setting) = self.get("passthrough") else { return Ok(()) };
        let text = setting.text()?;
        let words = PASSTHROUGH.iter().zip(0..);
        let Some((word, rank)) = words.clone().find(|(word, _)| word.eq_ignore_ascii_case(text))
        else {
            let message =
                format!("'passthrough' is '{}', not {}", short(text), PASSTHROUGH.join(", "));
            return Err(setting.wrong(message).into());
        };
        if rank > 1 && self.kind != GuestKind::Hvm {
            let message = "'passthrough' is not supported: xend has no PCI passthrough; \
                stock xl may have";
            return Err(setting.wrong(message).into());
        }
        if rank > 0 {
            self.put(Part::Create, "passthrough", (*word).into());
        }
        Ok(())
    }

    fn put(&mut self, part: Part, name: &str, value: Value) {
        let object: &mut Object = match part {
            Part::Create => &mut self.create_info,
            Part::Build => &mut self.build_info,
            Part::Kind(kind) if kind == self.kind => &mut self.kind_info,
            Part::Kind(_) => return,
            Part::X86 => &mut self.arch_x86,
            Part::Sched => &mut self.sched_params,
        };
        object.insert(name.to_owned(), value);
    }
}
