//! What a domain is given of memory and processors.

use super::{Command, Run};
use crate::cli::{affinity, memory, sched, vcpus};

pub(super) const MEM_MAX: Command = Command {
    name: "mem-max",
    run: Run::Here(memory::max),
    can_dry_run: false,
    modifies: true,
    summary: "Set the maximum amount reservation for a domain",
    usage: "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
    options: None,
};

pub(super) const MEM_SET: Command = Command {
    name: "mem-set",
    run: Run::Here(memory::set),
    can_dry_run: false,
    modifies: true,
    summary: "Set the current memory usage for a domain",
    usage: "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
    options: None,
};

pub(super) const VCPU_LIST: Command = Command {
    name: "vcpu-list",
    run: Run::Here(vcpus::list),
    can_dry_run: false,
    modifies: false,
    summary: "List the VCPUs for all/some domains",
    usage: "[Domain, ...]",
    options: None,
};

pub(super) const VCPU_PIN: Command = Command {
    name: "vcpu-pin",
    run: Run::Here(affinity::run),
    can_dry_run: true,
    modifies: true,
    summary: "Set which CPUs a VCPU can use",
    usage: "\
[option] <Domain> <VCPU|all> <Hard affinity|-|all> <Soft affinity|-|all>",
    options: Some(
        "\
-f, --force        undo an override pinning done by the kernel\n\
--ignore-global-affinity-masks Ignore global masks in xl.conf",
    ),
};

pub(super) const VCPU_SET: Command = Command {
    name: "vcpu-set",
    run: Run::Here(vcpus::set),
    can_dry_run: false,
    modifies: true,
    summary: "Set the number of active VCPUs allowed for the domain",
    usage: "[option] <Domain> <vCPUs>",
    options: Some("-i, --ignore-host  Don't limit the vCPU based on the host CPU count"),
};

pub(super) const SCHED_CREDIT: Command = Command {
    name: "sched-credit",
    run: Run::Here(sched::credit),
    can_dry_run: false,
    modifies: true,
    summary: "Get/set credit scheduler parameters",
    usage: "\
[-d <Domain> [-w[=WEIGHT]|-c[=CAP]]] [-s [-t TSLICE] [-r RATELIMIT]] [-p CPUPOOL]",
    options: Some(
        "\
-d DOMAIN, --domain=DOMAIN        Domain to modify\n\
-w WEIGHT, --weight=WEIGHT        Weight (int)\n\
-c CAP, --cap=CAP                 Cap (int)\n\
-s         --schedparam           Query / modify scheduler parameters\n\
-t TSLICE, --tslice_ms=TSLICE     Set the timeslice, in milliseconds\n\
-r RLIMIT, --ratelimit_us=RLIMIT  Set the scheduling rate limit, in microseconds\n\
-m DLY, --migration_delay_us=DLY  Set the migration delay, in microseconds\n\
-p CPUPOOL, --cpupool=CPUPOOL     Restrict output to CPUPOOL",
    ),
};

pub(super) const SCHED_CREDIT2: Command = Command {
    name: "sched-credit2",
    run: Run::Here(sched::credit2),
    can_dry_run: false,
    modifies: true,
    summary: "Get/set credit2 scheduler parameters",
    usage: "[-d <Domain> [-w[=WEIGHT]]] [-p CPUPOOL]",
    options: Some(
        "\
-d DOMAIN, --domain=DOMAIN     Domain to modify\n\
-w WEIGHT, --weight=WEIGHT     Weight (int)\n\
-c CAP,    --cap=CAP           Cap (int)\n\
-s         --schedparam        Query / modify scheduler parameters\n\
-r RLIMIT, --ratelimit_us=RLIMIT Set the scheduling rate limit, in microseconds\n\
-p CPUPOOL, --cpupool=CPUPOOL  Restrict output to CPUPOOL",
    ),
};
