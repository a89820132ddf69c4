//! Everything on a host that a leak would show in.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use lab::Host;
use serde::Serialize;

use crate::rig::ASK;

/// Figures of one host, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Census {
    /// Domains, Dom0 included.
    pub domains: u64,
    /// Nodes in xenstore.
    pub xenstore_nodes: u64,
    /// `MemFree` of Dom0, in KiB.
    pub dom0_free_kib: u64,
    /// `MemAvailable` of Dom0, in KiB.
    pub dom0_available_kib: u64,
    /// Memory Xen has left, in MiB.
    pub xen_free_mib: u64,
    /// Open file descriptors of xenstored.
    pub xenstored_fds: u64,
    /// Open file descriptors of xenconsoled.
    pub xenconsoled_fds: u64,
    /// Processes in Dom0, kernel threads left out.
    pub processes: u64,
}

/// Prints the figures in their order. Caches are dropped first, so that what is left of free
/// memory is what nobody holds; /run/lab is the command server's, busy at this moment.
const COUNT: &str = "sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1\n\
    xenstore-ls / | wc -l\n\
    sed -n 's/^MemFree: *\\([0-9]*\\).*/\\1/p' /proc/meminfo\n\
    sed -n 's/^MemAvailable: *\\([0-9]*\\).*/\\1/p' /proc/meminfo\n\
    xl info free_memory\n\
    ls /proc/$(pidof xenstored)/fd | wc -l\n\
    ls /proc/$(pidof xenconsoled)/fd | wc -l\n\
    n=0; for p in /proc/[0-9]*; do [ -e $p/exe ] && n=$((n + 1)); done; echo $n\n";

impl Census {
    /// Counts.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn take(host: &Host) -> Result<Self> {
        let domains = host.domains()?.len() as u64;
        let text = host.run_ok(COUNT, ASK)?.stdout_text();
        let numbers: Vec<u64> = text.lines().map_while(|line| line.trim().parse().ok()).collect();
        let [nodes, free, available, xen_free, xenstored, xenconsoled, processes] = numbers[..]
        else {
            anyhow::bail!("host {}: the census printed: {text}", host.name())
        };
        Ok(Self {
            domains,
            xenstore_nodes: nodes,
            dom0_free_kib: free,
            dom0_available_kib: available,
            xen_free_mib: xen_free,
            xenstored_fds: xenstored,
            xenconsoled_fds: xenconsoled,
            processes,
        })
    }
}

/// Prints four parts with a line between them: processes that take part in migrations; what belongs
/// to a domain, with the domain's id at the end of the line; what belongs to none that is there;
/// Xen's dump of all domains.
const TRACE: &str = r#"
    for p in $(pidof xend-save-helper libxl-save-helper relay recorder xl xend); do
        echo "$p $(tr '\0' ' ' </proc/$p/cmdline)"
    done
    echo ==
    xenstore-list /local/domain | sed 's/^/xenstore nodes of domain /'
    xenstore-list /libxl 2>/dev/null | sed "s/^/libxl's xenstore nodes of domain /"
    for kind in $(xenstore-list /local/domain/0/backend 2>/dev/null); do
        xenstore-list "/local/domain/0/backend/$kind" | sed "s/^/a $kind back end of domain /"
    done
    ls /var/lib/xen | sed -n 's/^userdata-[a-z]*\.\([0-9]*\)\..*/userdata of domain \1/p'
    ls /sys/class/net | sed -n 's/^vif\([0-9]*\)\..*/a network interface of domain \1/p'
    echo ==
    vms=$(for id in $(xenstore-list /local/domain); do
        xenstore-read "/local/domain/$id/vm" 2>/dev/null
    done)
    for uuid in $(xenstore-list /vm 2>/dev/null); do
        case "$vms" in *$uuid*) ;; *) echo "xenstore nodes in /vm/$uuid" ;; esac
    done
    # What became of a guest stays for a while, for a source that missed it and asks.
    grep -LE '"state": *"(running|declined)"' /var/lib/xend/migrations/*.json 2>/dev/null |
        sed 's/^/the journal /'
    echo ==
    xl dmesg -c >/dev/null; xl debug-keys q; sleep 0.1; xl dmesg
"#;

/// What migrations might leave on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// Process id and command line of everything that takes part in a migration.
    pub processes: Vec<String>,
    /// What belongs to a domain, in words, with the domain's id.
    pub belongings: Vec<(String, u16)>,
    /// What belongs to no domain that is there, in words.
    pub orphans: Vec<String>,
    /// Ids of the domains Xen has.
    pub xen_ids: BTreeSet<u16>,
    /// Of these, the ones whose memory writes Xen tracks at this moment.
    pub tracked_ids: BTreeSet<u16>,
}

impl Traces {
    /// Looks for them.
    ///
    /// # Errors
    /// When the host does not answer, or Xen's dump does not have Dom0.
    pub fn look(host: &Host) -> Result<Self> {
        let text = host.run_ok(TRACE, ASK)?.stdout_text();
        let mut parts = text.splitn(4, "==\n");
        let mut part = || parts.next().context("a part is missing");
        let processes = part()?.lines().map(|line| line.trim().to_owned()).collect();
        let belonging = |line: &str| {
            let id = line.rsplit(' ').next()?.parse().ok()?;
            Some((line.to_owned(), id))
        };
        let belongings = part()?.lines().filter_map(belonging).collect();
        let orphans = part()?.lines().map(str::to_owned).collect();
        let dump = part()?;
        let (xen_ids, tracked_ids) = read_dump(dump);
        ensure!(xen_ids.contains(&0), "host {}: Xen's dump is not whole: {dump}", host.name());
        Ok(Self { processes, belongings, orphans, xen_ids, tracked_ids })
    }
}

/// The domains a dump is about, and those of them under log-dirty.
fn read_dump(dump: &str) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let (mut seen, mut tracked) = (BTreeSet::new(), BTreeSet::new());
    let mut current: Option<u16> = None;
    for line in dump.lines() {
        if let Some((_, rest)) = line.split_once("General information for domain ") {
            current = rest.trim().trim_end_matches(':').parse().ok();
            seen.extend(current);
        } else if line.contains("paging assistance:") && line.contains("log_dirty") {
            tracked.extend(current);
        }
    }
    (seen, tracked)
}

#[cfg(test)]
mod tests {
    use super::read_dump;

    #[test]
    fn log_dirty_is_found_with_its_domain() {
        let dump = "(XEN) General information for domain 0:\n(XEN)     refcnt=3\n\
                    (XEN) General information for domain 12:\n\
                    (XEN)     paging assistance: shadow log_dirty \n\
                    (XEN) General information for domain 13:\n\
                    (XEN)     paging assistance: hap refcounts translate external \n";
        let (seen, tracked) = read_dump(dump);
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 12, 13]);
        assert_eq!(tracked.into_iter().collect::<Vec<_>>(), [12]);
    }
}
