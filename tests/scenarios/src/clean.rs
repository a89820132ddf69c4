//! What must not be left behind, and how to get rid of it.

use std::time::{Duration, Instant};

use anyhow::Result;
use lab::{Host, Link};

use crate::census::Traces;
use crate::rig::{ASK, Rig};
use crate::toolstack::JOURNALS;

/// Backends and xenstored take a moment after a domain has gone.
const SETTLE: Duration = Duration::from_secs(10);
const DESTROY_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything that is on the hosts and should not be, with the named guests allowed. Waits a
/// little for what is just going away.
///
/// # Errors
/// When a host does not answer.
pub fn leftovers(rig: &Rig, allowed: &[&str]) -> Result<Vec<String>> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let mut found = Vec::new();
        for host in rig.hosts() {
            found.extend(leftovers_on(host, allowed)?);
        }
        if found.is_empty() || Instant::now() >= deadline {
            return Ok(found);
        }
    }
}

fn leftovers_on(host: &Host, allowed: &[&str]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut note = |what: String| found.push(format!("host {}: {what}", host.name()));
    let domains = host.domains()?;
    let guests: Vec<_> = domains.iter().filter(|domain| domain.id != 0).collect();
    for domain in &guests {
        if !allowed.contains(&domain.name.as_str()) {
            note(format!("domain {} `{}` {}", domain.id, domain.name, domain.state));
        }
    }
    let Traces { processes, belongings, orphans, xen_ids, tracked_ids } = Traces::look(host)?;
    // One stays with each guest, to see to its reboot; `xl`'s does not after a failed migration.
    let (monitors, others): (Vec<_>, Vec<_>) =
        processes.into_iter().partition(|line| is_monitor(line));
    for process in others {
        note(format!("process {process}"));
    }
    // A guest that saw a request to suspend, and was slower than a recovery, has one more for an hour.
    let monitors: Vec<_> = monitors.into_iter().filter(|line| !waits_for_late(line)).collect();
    if monitors.len() > guests.len() {
        note(format!("{} monitors for {} guests: {monitors:?}", monitors.len(), guests.len()));
    }
    for (what, _) in belongings.iter().filter(|(_, id)| !xen_ids.contains(id)) {
        note(format!("{what}, which is gone"));
    }
    for what in orphans {
        note(what);
    }
    for id in tracked_ids {
        note(format!("domain {id} has log-dirty on"));
    }
    Ok(found)
}

/// `xend monitor DOMID`, or any `xl`, which keeps the command line it was started with.
fn is_monitor(process: &str) -> bool {
    let mut words = process.split_whitespace().skip(1);
    let name = words.next().unwrap_or_default();
    name.ends_with("xl") || (name.ends_with("xend") && words.next() == Some("monitor"))
}

/// `xend monitor --late DOMID`.
fn waits_for_late(process: &str) -> bool {
    is_monitor(process) && process.split_whitespace().any(|word| word == "--late")
}

/// Makes the link whole and unshaped.
///
/// # Errors
/// When this machine does not do it.
pub fn restore_link(rig: &Rig) -> Result<()> {
    let link: &Link = rig.lab().link();
    link.heal()?;
    Ok(link.shape(None)?)
}

/// Makes the hosts as they should be: every process of a migration and every domain but the
/// allowed ones gone, and the files of scenarios with them.
///
/// # Errors
/// When a host does not answer.
pub fn restore(rig: &Rig, allowed: &[&str]) -> Result<()> {
    for host in rig.hosts() {
        // The monitor of a guest that may stay has nothing to tell it from others: the domains of
        // the others are destroyed, and theirs ends by itself.
        for process in Traces::look(host)?.processes.iter().filter(|process| !is_monitor(process)) {
            let pid = process.split_whitespace().next().unwrap_or_default();
            host.run(&format!("kill -9 {pid}"), ASK)?;
        }
        for domain in host.domains()?.iter().filter(|domain| domain.id != 0) {
            if !allowed.contains(&domain.name.as_str()) {
                host.run(&format!("xl destroy {}", domain.id), DESTROY_TIMEOUT)?;
            }
        }
        host.run(&format!("rm -rf /tmp/* /dev/shm/* {JOURNALS}/*"), ASK)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{is_monitor, waits_for_late};

    #[test]
    fn a_monitor_is_told_from_what_should_have_ended() {
        for process in
            ["12 xl create /root/a.cfg", "12 /usr/sbin/xend monitor 5", "12 xl monitor 5"]
        {
            assert!(is_monitor(process), "{process}");
        }
        for process in ["12 xend migrate-receive", "12 relay connect a:1", "12", "12 xend"] {
            assert!(!is_monitor(process), "{process}");
        }
        assert!(waits_for_late("12 /usr/sbin/xend monitor --late 5"));
        assert!(!waits_for_late("12 /usr/sbin/xend monitor 5"));
    }
}
