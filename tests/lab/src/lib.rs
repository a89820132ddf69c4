//! Real Xen hosts on one ordinary machine, for tests and demonstrations.
//!
//! The lab boots two or more hosts, each with Xen, a Dom0 and its tools, under QEMU without
//! hardware virtualisation, in a network of its own. Everything comes from Debian packages,
//! nothing is installed, and everything is gone when the process is.
//!
//! ```no_run
//! use lab::{HostSpec, Hypervisor, Isolation, Lab, images};
//! use std::time::Duration;
//!
//! fn main() -> lab::Result<()> {
//!     let images = images::ensure()?;        // needs the network, so it comes first
//!     let isolation = Isolation::enter()?;   // before any thread is started
//!     lab::end_tidily_on_signals()?;
//!     let lab = Lab::up(isolation, &images, &[HostSpec::new(Hypervisor::Shadow); 2])?;
//!     let info = lab.host("a")?.run_ok("xl info", Duration::from_secs(30))?;
//!     println!("{}", info.stdout_text());
//!     Ok(())
//! }
//! ```

#![forbid(unsafe_code)]

mod capture;
mod error;
mod exec;
mod guest;
mod host;
pub mod images;
mod isolation;
mod lab;
mod migrate;
mod net;
mod program;
mod qemu;
pub mod shell;
mod signals;
mod watch;
mod workdir;

pub use capture::{Capture, Sighting};
pub use error::{LabError, Result};
pub use exec::{Background, Output};
pub use guest::{
    Guest, GuestKind, GuestSpec, ProcessFigures, ProcessRole, ProcessSpec, SHARED_DISK,
    VerifyReport, WorkloadSpec,
};
pub use host::{Domain, Host};
pub use images::{Hypervisor, Images};
pub use isolation::{Isolation, check_machine};
pub use lab::{HostSpec, Lab};
pub use migrate::{MigrateOptions, MigrateReport};
pub use net::{Link, LinkCounters, OBSERVER_IP};
pub use signals::end_tidily_on_signals;
pub use watch::{Watch, WatchReport};

use std::env;

/// Says in one line which program is missing and which package has it.
pub(crate) fn require_program(name: &str) -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|folder| folder.join(name).is_file()) {
        return Ok(());
    }
    let package = match name {
        "qemu-system-x86_64" => "qemu-system-x86",
        "setpriv" => "util-linux",
        "ip" | "tc" => "iproute2",
        "xz" => "xz-utils",
        "strip" => "binutils",
        "apt-get" | "apt-cache" => "apt, so a Debian-like system is needed",
        "ldd" => "libc-bin",
        other => other,
    };
    Err(LabError::Missing(format!("the lab needs `{name}`, of the Debian package {package}")))
}
