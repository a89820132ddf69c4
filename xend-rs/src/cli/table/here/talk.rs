//! Speaking to a guest: by its console, and by what it takes for keys and interrupts.

use super::{Command, Run};
use crate::cli::{console, poke};

pub(super) const CONSOLE: Command = Command {
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
};

pub(super) const TRIGGER: Command = Command {
    name: "trigger",
    run: Run::Here(poke::trigger),
    can_dry_run: false,
    modifies: true,
    summary: "Send a trigger to a domain",
    usage: "<Domain> <nmi|reset|init|power|sleep|s3resume> [<VCPU>]",
    options: None,
};

pub(super) const SYSRQ: Command = Command {
    name: "sysrq",
    run: Run::Here(poke::sysrq),
    can_dry_run: false,
    modifies: true,
    summary: "Send a sysrq to a domain",
    usage: "<Domain> <letter>",
    options: None,
};
