//! From the start of a domain to its end.

use super::{Command, Run};
use crate::cli::{config_update, create, destroy, monitor, names, power};

pub(super) const CREATE: Command = Command {
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
};

pub(super) const CONFIG_UPDATE: Command = Command {
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
};

pub(super) const DESTROY: Command = Command {
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
};

pub(super) const SHUTDOWN: Command = Command {
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
};

pub(super) const REBOOT: Command = Command {
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
};

pub(super) const PAUSE: Command = Command {
    name: "pause",
    run: Run::Here(power::pause),
    can_dry_run: false,
    modifies: true,
    summary: "Pause execution of a domain",
    usage: "<Domain>",
    options: None,
};

pub(super) const UNPAUSE: Command = Command {
    name: "unpause",
    run: Run::Here(power::unpause),
    can_dry_run: false,
    modifies: true,
    summary: "Unpause a paused domain",
    usage: "<Domain>",
    options: None,
};

pub(super) const RENAME: Command = Command {
    name: "rename",
    run: Run::Here(names::rename),
    can_dry_run: false,
    modifies: true,
    summary: "Rename a domain",
    usage: "<Domain> <NewDomainName>",
    options: None,
};

pub(super) const MONITOR: Command = Command {
    name: "monitor",
    run: Run::Hidden(monitor::run),
    can_dry_run: false,
    modifies: true,
    summary: "Look after a domain until its death",
    usage: "<DomainId> - for internal use only",
    options: None,
};
