//! The keys of a libxl-json document in libxl's order, and what each may hold.
//!
//! From Xen 4.17's `libxl_types.idl`. A document that comes in is checked against it, because
//! libxl would refuse it otherwise; one that we make is put into its order. Keys that are not here
//! are left alone: another version of Xen may know them.

use serde_json::Value;

use super::ConfigError;
use super::tree::Object;
use super::types::TscMode;
use crate::toolstack::xlcfg::shorten;

/// What a key may hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A string, or null for none.
    Text,
    /// One of these strings.
    Word(&'static [&'static str]),
    /// `"True"`, `"False"` or `"<default>"`.
    Defbool,
    Bool,
    /// A number that fits into so many bits, with a sign or without.
    Signed(u32),
    Unsigned(u32),
    Uuid,
    Mac,
    /// A bitmap: the numbers of its bits.
    Bits,
    Texts,
    /// An object with keys of the user's.
    Table,
    Struct(&'static [Field]),
    List(&'static Shape),
}

/// A key and what it may hold.
pub(super) type Field = (&'static str, Shape);

use Shape::{
    Bits, Bool, Defbool, List, Mac, Signed, Struct, Table, Text, Texts, Unsigned, Uuid, Word,
};

/// The whole document.
pub(super) const DOCUMENT: &[Field] = &[
    ("c_info", Struct(CREATE_INFO)),
    ("b_info", Struct(BUILD_INFO)),
    ("disks", List(&Struct(DISK))),
    ("nics", List(&Struct(NIC))),
    ("pcidevs", List(&Table)),
    ("rdms", List(&Table)),
    ("dtdevs", List(&Table)),
    ("vfbs", List(&Table)),
    ("vkbs", List(&Table)),
    ("vtpms", List(&Table)),
    ("p9s", List(&Table)),
    ("pvcallsifs", List(&Table)),
    ("vdispls", List(&Table)),
    ("vsnds", List(&Table)),
    ("channels", List(&Table)),
    ("usbctrls", List(&Table)),
    ("usbdevs", List(&Table)),
    ("on_poweroff", ACTION),
    ("on_reboot", ACTION),
    ("on_watchdog", ACTION),
    ("on_crash", ACTION),
    ("on_soft_reset", ACTION),
];

const ACTION: Shape = Word(&[
    "destroy",
    "restart",
    "restart_rename",
    "preserve",
    "coredump_destroy",
    "coredump_restart",
    "soft_reset",
]);

pub(super) const CREATE_INFO: &[Field] = &[
    ("type", Word(&["hvm", "pv", "pvh"])),
    ("hap", Defbool),
    ("oos", Defbool),
    ("ssidref", Unsigned(32)),
    ("ssid_label", Text),
    ("name", Text),
    ("domid", Unsigned(32)),
    ("uuid", Uuid),
    ("xsdata", Table),
    ("platformdata", Table),
    ("poolid", Unsigned(32)),
    ("pool_name", Text),
    ("run_hotplug_scripts", Defbool),
    ("driver_domain", Defbool),
    ("passthrough", Text),
    ("xend_suspend_evtchn_compat", Defbool),
];

pub(super) const BUILD_INFO: &[Field] = &[
    ("max_vcpus", Signed(32)),
    ("avail_vcpus", Bits),
    ("cpumap", Bits),
    ("nodemap", Bits),
    ("vcpu_hard_affinity", List(&Bits)),
    ("vcpu_soft_affinity", List(&Bits)),
    ("numa_placement", Defbool),
    ("tsc_mode", Word(&TscMode::WORDS)),
    ("max_memkb", Unsigned(64)),
    ("target_memkb", Unsigned(64)),
    ("video_memkb", Unsigned(64)),
    ("shadow_memkb", Unsigned(64)),
    ("iommu_memkb", Unsigned(64)),
    ("rtc_timeoffset", Unsigned(32)),
    ("exec_ssidref", Unsigned(32)),
    ("exec_ssid_label", Text),
    ("localtime", Defbool),
    ("disable_migrate", Defbool),
    ("cpuid", List(&Table)),
    ("blkdev_start", Text),
    ("vnuma_nodes", List(&Table)),
    ("max_grant_frames", Unsigned(32)),
    ("max_maptrack_frames", Unsigned(32)),
    ("max_grant_version", Signed(32)),
    ("device_model_version", Text),
    ("device_model_stubdomain", Defbool),
    ("stubdomain_memkb", Unsigned(64)),
    ("stubdomain_kernel", Text),
    ("stubdomain_cmdline", Text),
    ("stubdomain_ramdisk", Text),
    ("device_model", Text),
    ("device_model_ssidref", Unsigned(32)),
    ("device_model_ssid_label", Text),
    ("device_model_user", Text),
    ("extra", Texts),
    ("extra_pv", Texts),
    ("extra_hvm", Texts),
    ("sched_params", Struct(SCHED_PARAMS)),
    ("ioports", List(&Table)),
    ("irqs", List(&Unsigned(32))),
    ("iomem", List(&Table)),
    ("claim_mode", Defbool),
    ("event_channels", Unsigned(32)),
    ("kernel", Text),
    ("cmdline", Text),
    ("ramdisk", Text),
    ("device_tree", Text),
    ("acpi", Defbool),
    ("bootloader", Text),
    ("bootloader_args", Texts),
    ("timer_mode", Text),
    ("nested_hvm", Defbool),
    ("apic", Defbool),
    ("dm_restrict", Defbool),
    ("tee", Text),
    ("type.hvm", Table),
    ("type.pv", Struct(PV)),
    ("type.pvh", Struct(PVH)),
    ("type.invalid", Table),
    ("arch_arm", Table),
    ("arch_x86", Struct(ARCH_X86)),
    ("altp2m", Text),
    ("vmtrace_buf_kb", Signed(32)),
    ("vpmu", Defbool),
];

pub(super) const SCHED_PARAMS: &[Field] = &[
    ("sched", Text),
    ("weight", Signed(32)),
    ("cap", Signed(32)),
    ("period", Signed(32)),
    ("budget", Signed(32)),
    ("extratime", Signed(32)),
    ("slice", Signed(32)),
    ("latency", Signed(32)),
];

pub(super) const ARCH_X86: &[Field] = &[("msr_relaxed", Defbool)];

const PV: &[Field] = &[
    ("kernel", Text),
    ("slack_memkb", Unsigned(64)),
    ("bootloader", Text),
    ("bootloader_args", Texts),
    ("cmdline", Text),
    ("ramdisk", Text),
    ("e820_host", Defbool),
];

const PVH: &[Field] =
    &[("pvshim", Defbool), ("pvshim_path", Text), ("pvshim_cmdline", Text), ("pvshim_extra", Text)];

pub(super) const DISK: &[Field] = &[
    ("backend_domid", Unsigned(32)),
    ("backend_domname", Text),
    ("pdev_path", Text),
    ("vdev", Text),
    ("backend", Word(&["unknown", "phy", "tap", "qdisk", "standalone"])),
    ("format", Word(&["unknown", "qcow", "qcow2", "vhd", "raw", "empty", "qed"])),
    ("script", Text),
    ("removable", Signed(32)),
    ("readwrite", Signed(32)),
    ("is_cdrom", Signed(32)),
    ("direct_io_safe", Bool),
    ("discard_enable", Defbool),
    ("specification", Text),
    ("transport", Text),
    ("irq", Unsigned(32)),
    ("base", Unsigned(64)),
    ("colo_enable", Defbool),
    ("colo_restore_enable", Defbool),
    ("colo_host", Text),
    ("colo_port", Signed(32)),
    ("colo_export", Text),
    ("active_disk", Text),
    ("hidden_disk", Text),
    ("trusted", Defbool),
];

pub(super) const NIC: &[Field] = &[
    ("backend_domid", Unsigned(32)),
    ("backend_domname", Text),
    ("devid", Signed(32)),
    ("mtu", Signed(32)),
    ("model", Text),
    ("mac", Mac),
    ("ip", Text),
    ("bridge", Text),
    ("ifname", Text),
    ("script", Text),
    ("nictype", Word(&["unknown", "vif_ioemu", "vif"])),
    ("rate_bytes_per_interval", Unsigned(64)),
    ("rate_interval_usecs", Unsigned(32)),
    ("gatewaydev", Text),
    ("trusted", Defbool),
];

/// The same object with its keys, and those of the objects in it, in libxl's order. Unknown keys
/// go to the end.
pub(super) fn in_order(mut object: Object, fields: &[Field]) -> Object {
    let mut ordered = Object::new();
    for (key, shape) in fields {
        if let Some(value) = object.shift_remove(*key) {
            ordered.insert((*key).to_owned(), value_in_order(value, shape));
        }
    }
    ordered.extend(object);
    ordered
}

fn value_in_order(value: Value, shape: &Shape) -> Value {
    match (value, shape) {
        (Value::Object(object), Struct(fields)) => in_order(object, fields).into(),
        (Value::Array(items), List(shape)) => {
            items.into_iter().map(|item| value_in_order(item, shape)).collect()
        }
        (value, _) => value,
    }
}

/// Sets a key of `object`: where it is, or else where libxl would put it.
pub(super) fn insert(object: &mut Object, fields: &[Field], key: &str, value: Value) {
    if let Some(slot) = object.get_mut(key) {
        *slot = value;
        return;
    }
    let rank = |key: &str| fields.iter().position(|(known, _)| *known == key);
    let before = rank(key);
    let is_later = |other: &String| before.is_some() && rank(other) > before;
    let index = object.keys().position(is_later).unwrap_or(object.len());
    object.shift_insert(index, key.to_owned(), value);
}

/// Checks what `object` holds under the keys of `fields`.
pub(super) fn check(object: &Object, fields: &[Field]) -> Result<(), ConfigError> {
    object.values().try_for_each(check_numbers)?;
    check_struct(object, fields).map_err(|Wrong { mut keys, expected, found }| {
        keys.reverse();
        ConfigError::WrongType { path: keys.join("."), expected, found }
    })
}

/// All numbers of libxl are integers, and only integers come out as they went in.
fn check_numbers(value: &Value) -> Result<(), ConfigError> {
    match value {
        Value::Number(number) if number.is_f64() => {
            Err(ConfigError::NotInteger { number: number.to_string() })
        }
        Value::Array(items) => items.iter().try_for_each(check_numbers),
        Value::Object(object) => object.values().try_for_each(check_numbers),
        _ => Ok(()),
    }
}

/// A value that is not what it should be, and the keys that lead to it, innermost first.
struct Wrong {
    keys: Vec<String>,
    expected: &'static str,
    found: String,
}

fn check_struct(object: &Object, fields: &[Field]) -> Result<(), Wrong> {
    for (key, shape) in fields {
        if let Some(value) = object.get(*key) {
            check_value(value, shape).map_err(|mut wrong| {
                wrong.keys.push((*key).to_owned());
                wrong
            })?;
        }
    }
    Ok(())
}

fn check_value(value: &Value, shape: &Shape) -> Result<(), Wrong> {
    let (fits, expected) = match shape {
        Struct(fields) => match value.as_object() {
            Some(object) => return check_struct(object, fields),
            None => (false, "an object"),
        },
        List(shape) => match value.as_array() {
            Some(items) => return check_items(items, shape),
            None => (false, "a list"),
        },
        Bits => match value.as_array() {
            // No host has as many processors as 16 bits can count.
            Some(items) => return check_items(items, &Unsigned(16)),
            None => (false, "a list of numbers"),
        },
        Texts => match value.as_array() {
            Some(items) => return check_items(items, &Text),
            None => (false, "a list of strings"),
        },
        Table => (value.is_object(), "an object"),
        Text => (value.is_string() || value.is_null(), "a string"),
        Word(words) => {
            (value.as_str().is_some_and(|word| words.contains(&word)), "a word that libxl knows")
        }
        Defbool => (
            matches!(value.as_str(), Some("True" | "False" | "<default>")),
            "\"True\", \"False\" or \"<default>\"",
        ),
        Bool => (value.is_boolean(), "true or false"),
        Signed(bits) => (
            value.as_i64().is_some_and(|n| n >> (bits - 1) == 0 || n >> (bits - 1) == -1),
            "a number of this size",
        ),
        Unsigned(bits) => (
            value.as_u64().is_some_and(|n| n.checked_shr(*bits).unwrap_or(0) == 0),
            "a number of this size that is not negative",
        ),
        Uuid => {
            let uuid = value.as_str().map(str::parse::<super::Uuid>);
            (matches!(uuid, Some(Ok(_))), "a UUID")
        }
        Mac => {
            let mac = value.as_str().map(str::parse::<super::MacAddress>);
            (matches!(mac, Some(Ok(_))), "a MAC address")
        }
    };
    if fits { Ok(()) } else { Err(Wrong { keys: Vec::new(), expected, found: shown(value) }) }
}

fn check_items(items: &[Value], shape: &Shape) -> Result<(), Wrong> {
    for (index, item) in items.iter().enumerate() {
        check_value(item, shape).map_err(|mut wrong| {
            wrong.keys.push(index.to_string());
            wrong
        })?;
    }
    Ok(())
}

/// A value as an error message shows it: one line, not long.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => shorten(&other.to_string()),
    }
}
