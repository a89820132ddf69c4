//! What keeps a guest on its host.

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
        let build_info = self.build_info();
        found.extend(counted(&self.document, &IMMOVABLE_DEVICES));
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
