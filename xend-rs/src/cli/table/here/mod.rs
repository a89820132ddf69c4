//! The commands of this program.
//!
//! Names, operands and options are `xl`'s, in its words: scripts and fingers know them. Each file has
//! those about one thing; their order, which is that of `xl help`, is here.

mod life;
mod look;
mod migration;
mod resources;
mod talk;

use super::{Command, Run};

/// Every command that is carried out here. What `xl` does not have comes last.
pub(super) const COMMANDS: &[Command] = &[
    life::CREATE,
    life::CONFIG_UPDATE,
    look::LIST,
    life::DESTROY,
    life::SHUTDOWN,
    life::REBOOT,
    life::PAUSE,
    life::UNPAUSE,
    talk::CONSOLE,
    migration::SAVE,
    migration::MIGRATE,
    migration::RESTORE,
    migration::MIGRATE_RECEIVE,
    resources::MEM_MAX,
    resources::MEM_SET,
    resources::VCPU_LIST,
    resources::VCPU_PIN,
    resources::VCPU_SET,
    look::VM_LIST,
    look::INFO,
    resources::SCHED_CREDIT,
    resources::SCHED_CREDIT2,
    look::DOMID,
    look::DOMNAME,
    life::RENAME,
    talk::TRIGGER,
    talk::SYSRQ,
    look::DMESG,
    look::TOP,
    look::NETWORK_LIST,
    look::BLOCK_LIST,
    look::UPTIME,
    look::CLAIMS,
    migration::STREAM,
    migration::RECEIVE,
    migration::DIRTY_RATE,
    migration::RECOVER,
    migration::AGENT,
    life::MONITOR,
];
