//! Saving a domain, moving it, and what goes with that.

use super::{Command, Run};
use crate::cli::{
    agent, dirty_rate, migrate, migrate_receive, receive, recover, restore, save, stream,
};

pub(super) const SAVE: Command = Command {
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
};

pub(super) const MIGRATE: Command = Command {
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
--no-agent      Do not look for its agent, and tell it nothing.\n\
--peer-timeout <s>\n\
\x20               Give up a peer that is silent, or does not get on, for so long (30).\n\
--json          Print a report of what was done, as JSON.\n\
--report <file> Write it to a file.\n\
--cancel        With <Domain> alone: end the migration of it that is under way.",
    ),
};

pub(super) const RESTORE: Command = Command {
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
};

pub(super) const MIGRATE_RECEIVE: Command = Command {
    name: "migrate-receive",
    run: Run::Here(migrate_receive::run),
    can_dry_run: false,
    modifies: true,
    summary: "Restore a domain from a saved state",
    usage: "- for internal use only",
    options: None,
};

pub(super) const STREAM: Command = Command {
    name: "stream",
    run: Run::Here(stream::run),
    can_dry_run: false,
    modifies: false,
    summary: "Look at saved guests and captured migrations",
    usage: "inspect [options] <File>",
    options: Some("See: xend stream inspect --help"),
};

pub(super) const RECEIVE: Command = Command {
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
};

pub(super) const DIRTY_RATE: Command = Command {
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
};

pub(super) const RECOVER: Command = Command {
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
};

pub(super) const AGENT: Command = Command {
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
};
