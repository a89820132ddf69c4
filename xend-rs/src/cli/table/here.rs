//! The commands of this program.
//!
//! Names, operands and options are `xl`'s, in the order of `xl help` and in its words: scripts and
//! fingers know them. What `xl` does not have comes last.

use super::super::{
    affinity, agent, config_update, console, create, destroy, devices, dirty_rate, dmesg, info,
    list, memory, migrate, migrate_receive, monitor, names, poke, power, receive, recover, restore,
    save, sched, stream, top, uptime, vcpus,
};
use super::{Command, Run};

/// Every command that is carried out here.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        run: Run::Here(create::run),
        can_dry_run: true,
        modifies: true,
        summary: "Create a domain from config file <filename>",
        usage: "<ConfigFile> [options] [vars]",
        options: Some(
            "\
-c                      Connect to the console after the domain is created.\n\
-d                      Enable debug messages.\n\
-e                      Do not wait in the background for the death of the domain.\n\
-F                      Run in foreground until death of the domain.\n\
-f FILE, --defconfig=FILE\n\
\x20                    Use the given configuration file.\n\
-h                      Print this help.\n\
-n, --dryrun            Dry run - prints the resulting configuration\n\
\x20                        (deprecated in favour of global -N option).\n\
-p                      Leave the domain paused after it is created.\n\
-q, --quiet             Quiet.\n\
-V, --vncviewer         Connect to the VNC display after the domain is created.\n\
-A, --vncviewer-autopass\n\
\x20                       Pass VNC password to viewer via stdin.\n\
--ignore-global-affinity-masks Ignore global masks in xl.conf.",
        ),
    },
    Command {
        name: "config-update",
        run: Run::Here(config_update::run),
        can_dry_run: true,
        modifies: true,
        summary: "\
Update a running domain's saved configuration, used when rebuilding the domain after reboot.\n\
WARNING: xl now has better capability to manage domain configuration, avoid using this command when possible",
        usage: "<Domain> <ConfigFile> [options] [vars]",
        options: Some(
            "\
-h                      Print this help.\n\
-f FILE, --defconfig=FILE\n\
\x20                    Use the given configuration file.\n\
-d                      Enable debug messages.\n\
",
        ),
    },
    Command {
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
    },
    Command {
        name: "destroy",
        run: Run::Here(destroy::run),
        can_dry_run: false,
        modifies: true,
        summary: "Terminate a domain immediately",
        usage: "\
[options] <Domain>\n\
",
        options: Some(
            "\
-f                      Permit destroying domain 0, which will only succeed\n\
\x20                       when run from disaggregated toolstack domain with a\n\
\x20                       hardware domain distinct from domain 0.",
        ),
    },
    Command {
        name: "shutdown",
        run: Run::Here(power::shutdown),
        can_dry_run: false,
        modifies: true,
        summary: "Issue a shutdown signal to a domain",
        usage: "[options] <-a|Domain>",
        options: Some(
            "\
-a, --all               Shutdown all guest domains.\n\
-h                      Print this help.\n\
-F                      Fallback to ACPI power event for HVM guests with\n\
\x20                       no PV drivers.\n\
-w, --wait              Wait for guest(s) to shutdown.\n\
",
        ),
    },
    Command {
        name: "reboot",
        run: Run::Here(power::reboot),
        can_dry_run: false,
        modifies: true,
        summary: "Issue a reboot signal to a domain",
        usage: "[options] <-a|Domain>",
        options: Some(
            "\
-a, --all               Shutdown all guest domains.\n\
-h                      Print this help.\n\
-F                      Fallback to ACPI reset event for HVM guests with\n\
\x20                       no PV drivers.\n\
-w, --wait              Wait for guest(s) to reboot.\n\
",
        ),
    },
    Command {
        name: "pause",
        run: Run::Here(power::pause),
        can_dry_run: false,
        modifies: true,
        summary: "Pause execution of a domain",
        usage: "<Domain>",
        options: None,
    },
    Command {
        name: "unpause",
        run: Run::Here(power::unpause),
        can_dry_run: false,
        modifies: true,
        summary: "Unpause a paused domain",
        usage: "<Domain>",
        options: None,
    },
    Command {
        name: "console",
        run: Run::Here(console::run),
        can_dry_run: false,
        modifies: false,
        summary: "Attach to domain's console",
        usage: "\
[options] <Domain>\n\
-t <type>       console type, pv , serial or vuart\n\
-n <number>     console number",
        options: None,
    },
    Command {
        name: "save",
        run: Run::Here(save::run),
        can_dry_run: false,
        modifies: true,
        summary: "Save a domain state to restore later",
        usage: "[options] <Domain> <CheckpointFile> [<ConfigFile>]",
        options: Some(
            "\
-h  Print this help.\n\
-c  Leave domain running after creating the snapshot.\n\
-p  Leave domain paused after creating the snapshot.\n\
-D  Store the domain id in the configuration.",
        ),
    },
    Command {
        name: "migrate",
        run: Run::Here(migrate::run),
        can_dry_run: true,
        modifies: true,
        summary: "Migrate a domain to another host",
        usage: "[options] <Domain> <host>",
        options: Some(
            "\
-h              Print this help.\n\
-C <config>     Send <config> instead of config file from creation.\n\
-s <sshcommand> Use <sshcommand> instead of ssh.  String will be passed\n\
\x20               to sh. If empty, run <host> instead of ssh <host> xl\n\
\x20               migrate-receive [-d -e]\n\
-e              Do not wait in the background (on <host>) for the death\n\
\x20               of the domain.\n\
--debug         Print huge (!) amount of debug during the migration process.\n\
-p              Do not unpause domain after migrating it.\n\
-D              Preserve the domain id\n\
--dry-run       Only ask whether it could go, and why not.\n\
--plain-tcp     Allow <host> to be tcp://HOST[:PORT], where `xend receive` listens:\n\
\x20               memory travels unencrypted.\n\
--tracking <t>  How to learn what it writes meanwhile: auto (by Xen's log, or by digest\n\
\x20               where Xen has none), log-dirty, digest, or none: suspend it first.\n\
--bandwidth-min <m>\n\
\x20               Send the first round at m Mbit/s, and each further one 50 Mbit/s faster\n\
\x20               than the guest wrote in the one before.\n\
--bandwidth-max <m>\n\
\x20               Never send more than m Mbit/s.\n\
--downtime <ms> Stop the guest once it would stand still for no more than that (300).\n\
--timeout <s>   Copy the running guest for no longer than that, and then\n\
--on-timeout <what>\n\
\x20               cancel (unless told otherwise), stun it until it can be stopped in time,\n\
\x20               or stop it, however long it stands still.\n\
--stun          Slow the guest down where it writes faster than its memory can be sent.\n\
--stun-floor <p>\n\
\x20               But leave its vCPUs p percent at least (10).\n\
--peer-timeout <s>\n\
\x20               Give up a peer that is silent, or does not get on, for so long (30).\n\
--json          Print a report of what was done, as JSON.\n\
--report <file> Write it to a file.\n\
--cancel        With <Domain> alone: end the migration of it that is under way.",
        ),
    },
    Command {
        name: "restore",
        run: Run::Here(restore::run),
        can_dry_run: false,
        modifies: true,
        summary: "Restore a domain from a saved state",
        usage: "[options] [<ConfigFile>] <CheckpointFile>",
        options: Some(
            "\
-h                       Print this help.\n\
-p                       Do not unpause domain after restoring it.\n\
-e                       Do not wait in the background for the death of the domain.\n\
-d                       Enable debug messages.\n\
-V, --vncviewer          Connect to the VNC display after the domain is created.\n\
-A, --vncviewer-autopass Pass VNC password to viewer via stdin.",
        ),
    },
    Command {
        name: "migrate-receive",
        run: Run::Here(migrate_receive::run),
        can_dry_run: false,
        modifies: true,
        summary: "Restore a domain from a saved state",
        usage: "- for internal use only",
        options: None,
    },
    Command {
        name: "mem-max",
        run: Run::Here(memory::max),
        can_dry_run: false,
        modifies: true,
        summary: "Set the maximum amount reservation for a domain",
        usage: "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
        options: None,
    },
    Command {
        name: "mem-set",
        run: Run::Here(memory::set),
        can_dry_run: false,
        modifies: true,
        summary: "Set the current memory usage for a domain",
        usage: "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
        options: None,
    },
    Command {
        name: "vcpu-list",
        run: Run::Here(vcpus::list),
        can_dry_run: false,
        modifies: false,
        summary: "List the VCPUs for all/some domains",
        usage: "[Domain, ...]",
        options: None,
    },
    Command {
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
    },
    Command {
        name: "vcpu-set",
        run: Run::Here(vcpus::set),
        can_dry_run: false,
        modifies: true,
        summary: "Set the number of active VCPUs allowed for the domain",
        usage: "[option] <Domain> <vCPUs>",
        options: Some("-i, --ignore-host  Don't limit the vCPU based on the host CPU count"),
    },
    Command {
        name: "vm-list",
        run: Run::Here(list::vm_list),
        can_dry_run: false,
        modifies: false,
        summary: "List guest domains, excluding dom0, stubdoms, etc.",
        usage: "",
        options: None,
    },
    Command {
        name: "info",
        run: Run::Here(info::run),
        can_dry_run: false,
        modifies: false,
        summary: "Get information about Xen host",
        usage: "-n, --numa         List host NUMA topology information",
        options: None,
    },
    Command {
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
    },
    Command {
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
    },
    Command {
        name: "domid",
        run: Run::Here(names::domid),
        can_dry_run: false,
        modifies: false,
        summary: "Convert a domain name to domain id",
        usage: "<DomainName>",
        options: None,
    },
    Command {
        name: "domname",
        run: Run::Here(names::domname),
        can_dry_run: false,
        modifies: false,
        summary: "Convert a domain id to domain name",
        usage: "<DomainId>",
        options: None,
    },
    Command {
        name: "rename",
        run: Run::Here(names::rename),
        can_dry_run: false,
        modifies: true,
        summary: "Rename a domain",
        usage: "<Domain> <NewDomainName>",
        options: None,
    },
    Command {
        name: "trigger",
        run: Run::Here(poke::trigger),
        can_dry_run: false,
        modifies: true,
        summary: "Send a trigger to a domain",
        usage: "<Domain> <nmi|reset|init|power|sleep|s3resume> [<VCPU>]",
        options: None,
    },
    Command {
        name: "sysrq",
        run: Run::Here(poke::sysrq),
        can_dry_run: false,
        modifies: true,
        summary: "Send a sysrq to a domain",
        usage: "<Domain> <letter>",
        options: None,
    },
    Command {
        name: "dmesg",
        run: Run::Here(dmesg::run),
        can_dry_run: false,
        modifies: false,
        summary: "Read and/or clear dmesg buffer",
        usage: "[-c]",
        options: Some("  -c                        Clear dmesg buffer as well as printing it"),
    },
    Command {
        name: "top",
        run: Run::Here(top::run),
        can_dry_run: false,
        modifies: false,
        summary: "Monitor a host and the domains in real time",
        usage: "",
        options: None,
    },
    Command {
        name: "network-list",
        run: Run::Here(devices::networks),
        can_dry_run: false,
        modifies: false,
        summary: "List virtual network interfaces for a domain",
        usage: "<Domain(s)>",
        options: None,
    },
    Command {
        name: "block-list",
        run: Run::Here(devices::disks),
        can_dry_run: false,
        modifies: false,
        summary: "List virtual block devices for a domain",
        usage: "<Domain(s)>",
        options: None,
    },
    Command {
        name: "uptime",
        run: Run::Here(uptime::run),
        can_dry_run: false,
        modifies: false,
        summary: "Print uptime for all/some domains",
        usage: "[-s] [Domain]",
        options: None,
    },
    Command {
        name: "claims",
        run: Run::Here(list::claims),
        can_dry_run: false,
        modifies: false,
        summary: "List outstanding claim information about all domains",
        usage: "",
        options: Some(""),
    },
    Command {
        name: "stream",
        run: Run::Here(stream::run),
        can_dry_run: false,
        modifies: false,
        summary: "Look at saved guests and captured migrations",
        usage: "inspect [options] <File>",
        options: Some("See: xend stream inspect --help"),
    },
    Command {
        name: "receive",
        run: Run::Here(receive::run),
        can_dry_run: false,
        modifies: true,
        summary: "Listen for guests that come over TCP",
        usage: "--plain-tcp [options]",
        options: Some(
            "\
--plain-tcp            Yes, without encryption, from anybody who can reach the port.\n\
--listen ADDR[:PORT]   Where to listen; otherwise at all IPv4 addresses, port 8002.\n\
-e, -p                 As for migrate.",
        ),
    },
    Command {
        name: "dirty-rate",
        run: Run::Here(dirty_rate::run),
        can_dry_run: false,
        modifies: false,
        summary: "Look at how a domain writes its memory, and predict its migration",
        usage: "[options] <Domain>",
        options: Some(
            "\
--seconds N             Look for N seconds (5).\n\
--window MS             In windows of MS milliseconds (50).\n\
--link MBIT             Predict for a link of MBIT Mbit/s (100, 1000 and 10000).\n\
--downtime MS           With a downtime of MS milliseconds allowed (300).\n\
--cpu-share PERCENT     Leave its vCPUs with PERCENT of a processor meanwhile (100).\n\
--tracking HOW          auto, log-dirty or digest (auto).\n\
--json                  Print it as JSON.\n\
--svg FILE              Draw the curve into FILE.\n\
--trace FILE            Write the pages of each window into FILE.",
        ),
    },
    Command {
        name: "recover",
        run: Run::Here(recover::run),
        can_dry_run: true,
        modifies: true,
        summary: "After a crash: finish or undo migrations that were under way",
        usage: "[options]",
        options: Some(
            "\
-n, --dry-run          Only say what is known.\n\
--json                 Say what was found and done as JSON; not with -n.\n\
--keep DOMAIN          It does not run at its destination: resume it here.\n\
--give-up DOMAIN       It runs at its destination: destroy it here.\n\
--clean                Destroy paused domains that are left of arrivals nobody knows of.",
        ),
    },
    Command {
        name: "agent",
        run: Run::Here(agent::run),
        can_dry_run: false,
        modifies: false,
        summary: "Tell whether a guest has an agent that helps to move it",
        usage: "[options] <Domain>",
        options: Some(
            "\
--rehearse SECONDS     Have it prepare, hold processes for so long, and release them.\n\
--rate KIB             What its processes may write in a second meanwhile; otherwise 51200.\n\
--keep-cache           Do not have it drop page cache.",
        ),
    },
    Command {
        name: "monitor",
        run: Run::Hidden(monitor::run),
        can_dry_run: false,
        modifies: true,
        summary: "Look after a domain until its death",
        usage: "<DomainId> - for internal use only",
        options: None,
    },
];
