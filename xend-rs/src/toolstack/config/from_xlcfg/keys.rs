//! The keys of an xl.cfg, by what becomes of them here.

use super::super::GuestKind;

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It goes into the document, or steers what goes there.
    Read,
    /// It goes into the document, for stock xl alone.
    Kept,
    /// Only HVM guests have it.
    Hvm,
    /// Nobody reads it, for this reason.
    NoEffect(&'static str),
    /// xend has nothing that could do it.
    Unsupported(&'static str),
}

/// What becomes of `key` in a guest of this kind; `None` for a key that xl does not know either.
pub(super) fn usage(key: &str, kind: GuestKind) -> Option<Use> {
    let of = |keys: &[&str]| keys.contains(&key);
    let found = if of(READ) {
        Use::Read
    } else if of(KEPT) {
        Use::Kept
    } else if of(PVH) {
        if kind == GuestKind::Pvh { Use::Read } else { Use::NoEffect("it is for PVH guests") }
    } else if of(HVM) || of(DISPLAY) {
        Use::Hvm
    } else if let Some((_, reason)) = NO_EFFECT.iter().find(|(known, _)| *known == key) {
        Use::NoEffect(reason)
    } else {
        let (_, what) = UNSUPPORTED.iter().find(|(known, _)| *known == key)?;
        Use::Unsupported(what)
    };
    Some(match found {
        // A PV guest with vnc=1 has a virtual frame buffer.
        Use::Hvm if key == "vnc" && kind == GuestKind::Pv => Use::Unsupported("frame buffer"),
        Use::Unsupported(_) if key == "pvshim" && kind != GuestKind::Pvh => {
            Use::NoEffect("it is for PVH guests")
        }
        Use::Kept if key == "e820_host" && kind != GuestKind::Pv => {
            Use::NoEffect("it is for PV guests")
        }
        other => other,
    })
}

const READ: &[&str] = &[
    "acpi",
    "bootloader",
    "bootloader_args",
    "builder",
    "cap",
    "cmdline",
    "cpu_weight",
    "cpus",
    "cpus_soft",
    "disk",
    "driver_domain",
    "extra",
    "firmware",
    "hap",
    "kernel",
    "max_event_channels",
    "max_grant_frames",
    "max_grant_version",
    "max_maptrack_frames",
    "maxmem",
    "maxvcpus",
    "memory",
    "msr_relaxed",
    "name",
    "nomigrate",
    "on_crash",
    "on_poweroff",
    "on_reboot",
    "on_soft_reset",
    "on_watchdog",
    "passthrough",
    "pool",
    "ramdisk",
    "root",
    "rtc_timeoffset",
    "shadow_memory",
    "tsc_mode",
    "type",
    "uuid",
    "vcpus",
    "videoram",
    "vif",
];

/// What stock xl acts on when it manages the guest, or once did, but xend does not.
const KEPT: &[&str] = &[
    "device_model_args",
    "device_model_args_hvm",
    "device_model_args_pv",
    "device_model_override",
    "device_model_stubdomain_override",
    "device_model_user",
    "device_model_version",
    "dm_restrict",
    "e820_host",
    "extratime",
    "latency",
    "localtime",
    "oos",
    "period",
    "slice",
    "stubdomain_cmdline",
    "stubdomain_kernel",
    "stubdomain_memory",
    "stubdomain_ramdisk",
    "timer_mode",
    "xend_suspend_evtchn_compat",
];

const PVH: &[&str] = &["pvshim_cmdline", "pvshim_extra", "pvshim_path"];

const HVM: &[&str] = &[
    "acpi_firmware",
    "acpi_laptop_slate",
    "acpi_s3",
    "acpi_s4",
    "altp2mhvm",
    "apic",
    "bios",
    "bios_path_override",
    "boot",
    "firmware_override",
    "gfx_passthru",
    "hdtype",
    "hpet",
    "keymap",
    "mca_caps",
    "mmio_hole",
    "ms_vm_genid",
    "nographic",
    "nx",
    "pae",
    "rdm",
    "rdm_mem_boundary",
    "serial",
    "smbios_firmware",
    "soundhw",
    "spice",
    "spice_clipboard_sharing",
    "spice_image_compression",
    "spice_streaming_video",
    "spiceagent_mouse",
    "spicedisable_ticketing",
    "spicehost",
    "spicepasswd",
    "spiceport",
    "spicetls_port",
    "spiceusbredirection",
    "spicevdagent",
    "stdvga",
    "usb",
    "usbdevice",
    "usbversion",
    "vendor_device",
    "vga",
    "viridian",
    "vkb_device",
    "vpt_align",
    "xen_platform_pci",
];

const DISPLAY: &[&str] = &[
    "display",
    "opengl",
    "sdl",
    "vnc",
    "vncdisplay",
    "vnclisten",
    "vncpasswd",
    "vncunused",
    "xauthority",
];

const NO_EFFECT: &[(&str, &str)] = &[
    ("device_model", "device_model_override is what names a device model"),
    ("pci_msitranslate", "there is no PCI passthrough"),
    ("pci_permissive", "there is no PCI passthrough"),
    ("pci_power_mgmt", "there is no PCI passthrough"),
    ("pci_seize", "there is no PCI passthrough"),
    ("vif2", "netchannel2 is no longer supported"),
    ("vncviewer", "xl create -V opens a viewer"),
];

const UNSUPPORTED: &[(&str, &str)] = &[
    ("altp2m", "alternate p2m"),
    ("channel", "channels"),
    ("cpuid", "CPUID policies"),
    ("device_model_stubdomain_seclabel", "XSM labels"),
    ("device_tree", "device trees"),
    ("dtdev", "device tree passthrough"),
    ("gic_version", "ARM guests"),
    ("init_seclabel", "XSM labels"),
    ("iomem", "I/O memory of the host"),
    ("ioports", "I/O ports of the host"),
    ("irqs", "interrupts of the host"),
    ("nestedhvm", "nested virtualisation"),
    ("p9", "9pfs shares"),
    ("pci", "PCI passthrough"),
    ("pvcalls", "PV calls"),
    ("pvshim", "the PV shim"),
    ("seclabel", "XSM labels"),
    ("tee", "ARM guests"),
    ("usbctrl", "USB controllers"),
    ("usbdev", "USB devices"),
    ("vdispl", "virtual displays"),
    ("vfb", "virtual frame buffers"),
    ("vkb", "virtual keyboards"),
    ("vmtrace_buf_kb", "processor traces"),
    ("vnuma", "virtual NUMA nodes"),
    ("vpmu", "virtual performance counters"),
    ("vsnd", "virtual sound cards"),
    ("vtpm", "virtual TPMs"),
    ("vuart", "ARM guests"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_in_two_tables() {
        let first = |table: &'static [(&str, &str)]| table.iter().map(|(key, _)| *key);
        let all: Vec<&str> = [READ, KEPT, PVH, HVM, DISPLAY]
            .concat()
            .into_iter()
            .chain(first(NO_EFFECT))
            .chain(first(UNSUPPORTED))
            .collect();
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
