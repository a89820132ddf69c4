//! What must not be left behind, and how to get rid of it.

use std::time::{Duration, Instant};

use anyhow::Result;
use lab::{Host, Link};

use crate::census::Traces;
use crate::rig::{ASK, Rig};

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
    let Traces { processes, xenstore_ids, xen_ids, tracked_ids } = Traces::look(host)?;
    // One `xl` stays with each guest, to see to its reboot; after a failed migration it does not.
    let (monitors, others): (Vec<_>, Vec<_>) = processes.into_iter().partition(|line| is_xl(line));
    for process in others {
        note(format!("process {process}"));
    }
    if monitors.len() > guests.len() {
        note(format!("{} `xl` for {} guests: {monitors:?}", monitors.len(), guests.len()));
    }
    for id in xenstore_ids.difference(&xen_ids) {
        note(format!("xenstore nodes of domain {id}, which is gone"));
    }
    for id in tracked_ids {
        note(format!("domain {id} has log-dirty on"));
    }
    Ok(found)
}

fn is_xl(process: &str) -> bool {
    process.split_whitespace().nth(1).is_some_and(|name| name.ends_with("xl"))
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
        // The `xl` of a guest that may stay has nothing to tell it from others: the domains of
        // the others are destroyed, and theirs ends by itself.
        for process in Traces::look(host)?.processes.iter().filter(|process| !is_xl(process)) {
            let pid = process.split_whitespace().next().unwrap_or_default();
            host.run(&format!("kill -9 {pid}"), ASK)?;
        }
        for domain in host.domains()?.iter().filter(|domain| domain.id != 0) {
            if !allowed.contains(&domain.name.as_str()) {
                host.run(&format!("xl destroy {}", domain.id), DESTROY_TIMEOUT)?;
            }
        }
        host.run("rm -rf /tmp/* /dev/shm/*", ASK)?;
    }
    Ok(())
}
