//! What there is on this host: domains, their names and devices, and the host itself.

use super::{Command, Run};
use crate::cli::{devices, dmesg, info, list, names, top, uptime};

pub(super) const LIST: Command = Command {
    name: "list",
    run: Run::Here(list::run),
    can_dry_run: false,
    modifies: false,
    summary: "List information about all/some domains",
    usage: "\
[options] [Domain]\n\
",
    options: Some(
        "\
-l, --long              Output all VM details\n\
-v, --verbose           Prints out UUIDs and security context\n\
-Z, --context           Prints out security context\n\
-c, --cpupool           Prints the cpupool the domain is in\n\
-n, --numa              Prints out NUMA node affinity",
    ),
};

pub(super) const VM_LIST: Command = Command {
    name: "vm-list",
    run: Run::Here(list::vm_list),
    can_dry_run: false,
    modifies: false,
    summary: "List guest domains, excluding dom0, stubdoms, etc.",
    usage: "",
    options: None,
};

pub(super) const INFO: Command = Command {
    name: "info",
    run: Run::Here(info::run),
    can_dry_run: false,
    modifies: false,
    summary: "Get information about Xen host",
    usage: "-n, --numa         List host NUMA topology information",
    options: None,
};

pub(super) const DOMID: Command = Command {
    name: "domid",
    run: Run::Here(names::domid),
    can_dry_run: false,
    modifies: false,
    summary: "Convert a domain name to domain id",
    usage: "<DomainName>",
    options: None,
};

pub(super) const DOMNAME: Command = Command {
    name: "domname",
    run: Run::Here(names::domname),
    can_dry_run: false,
    modifies: false,
    summary: "Convert a domain id to domain name",
    usage: "<DomainId>",
    options: None,
};

pub(super) const DMESG: Command = Command {
    name: "dmesg",
    run: Run::Here(dmesg::run),
    can_dry_run: false,
    modifies: false,
    summary: "Read and/or clear dmesg buffer",
    usage: "[-c]",
    options: Some("  -c                        Clear dmesg buffer as well as printing it"),
};

pub(super) const TOP: Command = Command {
    name: "top",
    run: Run::Here(top::run),
    can_dry_run: false,
    modifies: false,
    summary: "Monitor a host and the domains in real time",
    usage: "",
    options: None,
};

pub(super) const NETWORK_LIST: Command = Command {
    name: "network-list",
    run: Run::Here(devices::networks),
    can_dry_run: false,
    modifies: false,
    summary: "List virtual network interfaces for a domain",
    usage: "<Domain(s)>",
    options: None,
};

pub(super) const BLOCK_LIST: Command = Command {
    name: "block-list",
    run: Run::Here(devices::disks),
    can_dry_run: false,
    modifies: false,
    summary: "List virtual block devices for a domain",
    usage: "<Domain(s)>",
    options: None,
};

pub(super) const UPTIME: Command = Command {
    name: "uptime",
    run: Run::Here(uptime::run),
    can_dry_run: false,
    modifies: false,
    summary: "Print uptime for all/some domains",
    usage: "[-s] [Domain]",
    options: None,
};

pub(super) const CLAIMS: Command = Command {
    name: "claims",
    run: Run::Here(list::claims),
    can_dry_run: false,
    modifies: false,
    summary: "List outstanding claim information about all domains",
    usage: "",
    options: Some(""),
};
