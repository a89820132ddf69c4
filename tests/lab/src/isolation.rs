//! A network of the lab's own, cut off from every other.

use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

use crate::error::{LabError, Result};
use crate::{program, require_program};

/// Proof that this process has a network namespace of its own. It, its children and all that the
/// lab sets up in it vanish together.
#[derive(Debug)]
pub struct Isolation {
    _private: (),
}

impl Isolation {
    /// Moves the calling thread, and every thread and process started from it later, into a new
    /// network namespace. Call it at the start of `main`, after
    /// [`images::ensure`](crate::images::ensure), before any thread is started.
    ///
    /// # Errors
    /// When not root, or when the kernel refuses.
    pub fn enter() -> Result<Self> {
        check_machine()?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| LabError::Network {
            operation: "create a network namespace".to_owned(),
            source: error.into(),
        })?;
        program::output("ip", &["link", "set", "lo", "up"])?;
        Ok(Self { _private: () })
    }
}

/// Looks for all that hosts need of this machine, and names the first thing that is missing.
/// Setups that build images first can say so before that takes its time.
///
/// # Errors
/// [`LabError::Missing`], with the way to get it.
pub fn check_machine() -> Result<()> {
    if !geteuid().is_root() {
        return Err(LabError::Missing(
            "the lab sets up a network of its own and needs root: run it with sudo".to_owned(),
        ));
    }
    for program in ["qemu-system-x86_64", "setpriv", "ip", "tc"] {
        require_program(program)?;
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err(LabError::Missing(
            "there is no /dev/net/tun on this machine: run `modprobe tun`".to_owned(),
        ));
    }
    Ok(())
}
