//! What keeps a guest on its host, and what keeps xend from having it at all.

use super::DomainConfig;
use super::tree::{self, Object};
use super::types::GuestKind;

/// Lists of the document whose devices have state outside of the guest that nothing carries over.
const IMMOVABLE_DEVICES: [(&str, &str); 9] = [
    ("pcidevs", "PCI passthrough"),
    ("dtdevs", "device tree passthrough"),
    ("vtpms", "virtual TPM"),
    ("p9s", "9pfs share"),
    ("pvcallsifs", "PV calls"),
    ("vdispls", "virtual display"),
    ("vsnds", "virtual sound card"),
    ("usbctrls", "USB controller"),
    ("usbdevs", "USB device"),
];

/// Lists of the document that move with a stock xl, but which xend has nothing to serve with.
const UNSERVED_DEVICES: [(&str, &str); 4] = [
    ("rdms", "reserved device memory"),
    ("vfbs", "virtual frame buffer"),
    ("vkbs", "virtual keyboard"),
    ("channels", "channel"),
];

/// Lists of `b_info` that give the guest a piece of the host.
const HOST_RESOURCES: [(&str, &str); 4] = [
    ("vnuma_nodes", "virtual NUMA nodes"),
    ("ioports", "I/O ports of the host"),
    ("irqs", "interrupts of the host"),
    ("iomem", "I/O memory of the host"),
];

impl DomainConfig {
    /// The features of this guest that cannot be migrated, in words; empty if there are none.
    pub fn immovable(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.is_migration_forbidden() {
            found.push("nomigrate is set".to_owned());
        }
        found.append(&mut self.bound_to_host());
        found
    }

    /// The features of this guest for which xend has nothing, in words: it can neither create such
    /// a guest nor receive it. A bootloader is none of them.
    pub fn unsupported(&self) -> Vec<String> {
        let mut found = self.bound_to_host();
        let build_info = self.build_info();
        found.extend(counted(&self.document, &UNSERVED_DEVICES));
        found.extend(counted(build_info, &[("cpuid", "CPUID policy")]));
        if tree::defbool(build_info, "vpmu") == Some(true) {
            found.push("virtual performance counters".to_owned());
        }
        if tree::u64(build_info, "vmtrace_buf_kb").is_some_and(|size| size != 0) {
            found.push("processor traces".to_owned());
        }
        let is_labelled = |map, key| tree::text(map, key).is_some_and(|label| !label.is_empty());
        if is_labelled(self.create_info(), "ssid_label")
            || is_labelled(build_info, "exec_ssid_label")
        {
            found.push("XSM label".to_owned());
        }
        if is_labelled(build_info, "device_tree") {
            found.push("device tree".to_owned());
        }
        found
    }

    fn bound_to_host(&self) -> Vec<String> {
        let build_info = self.build_info();
        let mut found = counted(&self.document, &IMMOVABLE_DEVICES);
        found.extend(counted(build_info, &HOST_RESOURCES));
        if tree::defbool(build_info, "nested_hvm") == Some(true) {
            found.push("nested virtualisation".to_owned());
        }
        let altp2m = tree::text(build_info, "altp2m").is_some_and(|mode| mode != "disabled");
        if altp2m || tree::defbool(self.kind_info(), "altp2m") == Some(true) {
            found.push("alternate p2m".to_owned());
        }
        if self.kind() == GuestKind::Pvh && tree::defbool(self.kind_info(), "pvshim") == Some(true)
        {
            found.push("PV shim".to_owned());
        }
        found
    }
}

fn counted(map: &Object, lists: &[(&str, &str)]) -> Vec<String> {
    let count = |key| tree::items(map, key).len();
    let present = lists.iter().filter(|(key, _)| count(key) > 0);
    present.map(|(key, words)| format!("{words} ({})", count(key))).collect()
}
