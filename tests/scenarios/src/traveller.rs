//! The guest that travels, and what is asked of it after every journey.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lab::{Guest, GuestKind, GuestSpec, VerifyReport, WorkloadSpec};
use serde_json::Value;

use crate::rig::{Place, Rig};

/// For a pass over 40 MiB, which takes some 3 s, on a machine that is busy with other things.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(90);
/// The writer makes 200 writes a second; a guest that was just resumed may lag.
const WRITES_TIMEOUT: Duration = Duration::from_secs(20);

/// What a guest needs besides the memory that is verified, in MiB. Some five of them stay free: where
/// Linux has less, its network card gets no buffers, and the guest runs on and answers nobody.
pub const SYSTEM_MIB: u32 = 90;
/// What Linux 6.1 loses of its memory at each resume, whoever migrates it, in MiB.
pub const LOST_PER_RESUME_MIB: u32 = 1;

/// What a guest in unrest needs besides: for its balloon, which moves by 4 MiB, and for processes that come
/// and go.
pub const UNREST_MIB: u32 = 12;

/// The guest of the demonstration and of the migration tests: 40 MiB of verified memory, of which
/// 4 MiB are written all the time.
#[must_use]
pub fn usual(kind: GuestKind) -> GuestSpec {
    GuestSpec {
        name: "traveller".to_owned(),
        kind,
        memory_mib: match kind {
            GuestKind::Pv => 128,
            // The same workload needs that much more without paravirtualised memory.
            GuestKind::Pvh => 192,
        },
        workload: WorkloadSpec { memory_mib: 40, hot_mib: 4, writes_per_s: 200 },
        ip: Ipv4Addr::new(10, 77, 0, 101),
        disk: false,
        processes: Vec::new(),
        cache_mib: 0,
        agent: false,
    }
}

/// A PV guest for so many migrations, with this workload and no memory to spare.
#[must_use]
pub fn working(workload: WorkloadSpec, resumes: u32) -> GuestSpec {
    let memory_mib = workload.memory_mib + SYSTEM_MIB + resumes * LOST_PER_RESUME_MIB;
    GuestSpec { memory_mib, workload, ..usual(GuestKind::Pv) }
}

/// A guest whose memory is quick to save and to send, for the many ways to fail.
#[must_use]
pub fn small(kind: GuestKind) -> GuestSpec {
    GuestSpec {
        name: "small".to_owned(),
        memory_mib: match kind {
            GuestKind::Pv => 108,
            GuestKind::Pvh => 160,
        },
        workload: WorkloadSpec { memory_mib: 8, hot_mib: 2, writes_per_s: 200 },
        ip: Ipv4Addr::new(10, 77, 0, 102),
        ..usual(kind)
    }
}

/// A guest that has a disk and is quick to send, with room for many migrations: Linux 6.1 loses
/// memory at each.
#[must_use]
pub fn equipped(kind: GuestKind) -> GuestSpec {
    let small = small(kind);
    GuestSpec {
        name: "equipped".to_owned(),
        memory_mib: small.memory_mib + 16,
        ip: Ipv4Addr::new(10, 77, 0, 103),
        disk: true,
        ..small
    }
}

/// Checks that the guest runs: it answers, it writes, and every page holds what it last wrote. If
/// it has a disk, that is in use, and every block it reads holds what it last wrote.
///
/// # Errors
/// When any of that is not so.
pub fn require_intact(guest: &Guest) -> Result<VerifyReport> {
    let before = guest.stats()?;
    let report = guest.verify(VERIFY_TIMEOUT)?;
    ensure!(report.pages_verified > 0, "no page was verified: {}", report.answer);
    let since_start = report.answer["wrong_since_start"].as_u64();
    ensure!(
        report.pages_wrong == 0 && since_start == Some(0),
        "wrong pages in guest {}: {}",
        guest.name(),
        report.answer
    );
    let deadline = Instant::now() + WRITES_TIMEOUT;
    let grown = |after: &Value, name: &str| after[name].as_u64() > before[name].as_u64();
    loop {
        let after = guest.stats()?;
        let has_disk = !after["disk_reads"].is_null();
        if has_disk {
            let good = ["disk_wrong", "disk_errors"].iter().all(|name| after[name] == 0);
            ensure!(good, "guest {}'s disk: {after}", guest.name());
        }
        let writes_memory = grown(&after, "writes") || before["hot_pages"] == 0;
        if writes_memory && (!has_disk || grown(&after, "disk_reads")) {
            return Ok(report);
        }
        ensure!(
            Instant::now() < deadline,
            "guest {} does not work any more: {after}",
            guest.name()
        );
    }
}

/// Where the one domain of this guest is.
///
/// # Errors
/// When there is none, more than one, or it stands still.
pub fn find(rig: &Rig, guest: &Guest) -> Result<Place> {
    let mut found = Vec::new();
    for place in [Place::A, Place::B] {
        for domain in rig.host(place).domains()? {
            if domain.name == guest.name() {
                found.push((place, domain.state));
            }
        }
    }
    match found.as_slice() {
        // Paused, shut down or crashed, by xl's letters.
        [(place, state)] if state.contains(['p', 's', 'c', 'd']) => {
            bail!("guest {} stands still on host {}: {state}", guest.name(), place.name())
        }
        [(place, _)] => Ok(*place),
        [] => bail!("guest {} is on neither host", guest.name()),
        _ => bail!("guest {} is there more than once: {found:?}", guest.name()),
    }
}
