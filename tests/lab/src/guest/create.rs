//! Making a guest, and waiting until the workload in it answers.

use std::time::{Duration, Instant};

use super::{ANSWER_TIMEOUT, Guest, GuestSpec};
use crate::error::{LabError, Result};
use crate::host::Host;

const CREATE_TIMEOUT: Duration = Duration::from_secs(120);
const BOOT_TIMEOUT: Duration = Duration::from_secs(180);
/// How often the console of a guest that does not answer yet is looked at.
const CONSOLE_PERIOD: Duration = Duration::from_secs(5);

impl Host {
    /// Makes a guest with stock `xl create` and waits until its workload answers.
    ///
    /// # Errors
    /// What `xl` said, or why the workload does not answer with the end of the guest's console;
    /// [`LabError::Emulator`] when the check of the emulator fails in the guest.
    pub fn create_guest(&self, spec: &GuestSpec) -> Result<Guest> {
        self.create_guest_with("xl", spec)
    }

    /// As [`create_guest`](Self::create_guest), with the `create` of another program.
    ///
    /// # Errors
    /// The same.
    pub fn create_guest_with(&self, program: &str, spec: &GuestSpec) -> Result<Guest> {
        spec.check()?;
        let config = format!("/root/{}.cfg", spec.name);
        self.put_bytes(spec.xl_config().as_bytes(), &config, 0o644)?;
        self.run_ok(&format!("{program} create {config}"), CREATE_TIMEOUT)?;
        let guest = Guest { name: spec.name.clone(), ip: spec.ip };
        self.wait_for_workload(&guest)?;
        Ok(guest)
    }

    /// What a guest's console has said on this host.
    ///
    /// # Errors
    /// When there has been no such guest here.
    pub fn guest_console(&self, guest: &Guest) -> Result<String> {
        let content = self.get(&format!("/var/log/xen/guest-{}.log", guest.name))?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    fn wait_for_workload(&self, guest: &Guest) -> Result<()> {
        let deadline = Instant::now() + BOOT_TIMEOUT;
        let mut look = Instant::now() + CONSOLE_PERIOD;
        loop {
            if guest.answers(ANSWER_TIMEOUT)? {
                return Ok(());
            }
            let now = Instant::now();
            if now >= look || now >= deadline {
                let console = self.guest_console(guest).unwrap_or_default();
                if console.contains("LAB-FAILED the emulator") {
                    return Err(LabError::Emulator {
                        host: self.name().to_owned(),
                        detail: format!("in guest {}: {}", guest.name, tail(&console)),
                    });
                }
                if console.contains("LAB-FAILED") || now >= deadline {
                    let reason =
                        format!("does not answer; its console ends with:\n{}", tail(&console));
                    return Err(LabError::Guest { guest: guest.name.clone(), reason });
                }
                look = now + CONSOLE_PERIOD;
            }
        }
    }
}

fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
