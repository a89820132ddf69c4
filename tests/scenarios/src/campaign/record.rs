//! What a real guest writes, window by window, for the policies to be played over: traces for
//! tests/replay.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{
    Guest, GuestKind, GuestSpec, HostSpec, Hypervisor, ProcessRole, ProcessSpec, WorkloadSpec,
};
use serde_json::{Value, json};

use super::run_on;
use crate::machine::Circumstances;
use crate::programs::workspace;
use crate::rig::{ASK, Ground, Place, Rig};
use crate::traveller::{SYSTEM_MIB, UNREST_MIB, require_intact, small};

/// Where they go, from the workspace.
const FOLDER: &str = "tests/replay/traces";
/// In Dom0.
const TRACE: &str = "/root/trace.jsonl";
/// Until a guest does what it was just told, and nothing else any more.
const SETTLE: Duration = Duration::from_secs(5);
/// What a look takes besides the time that it lasts.
const LOOK_GRACE: Duration = Duration::from_secs(60);
/// A trace with fewer windows, for each second, is of a guest or a host that was stuck.
const LEAST_WINDOWS_PER_S: u64 = 5;
const MEMORY_MIB: u32 = 64;
/// Where the processes of the second guest answer.
const FIRST_PORT: u16 = 7101;

/// What a guest does while it is looked at.
struct Work {
    /// The trace's file, without its ending.
    file: &'static str,
    /// The trace's name.
    name: &'static str,
    /// By what tests/replay counts and judges it: those that write to all of a set alike are `even`.
    family: &'static str,
    /// Pages that the workload writes in a second.
    writes_per_s: u32,
    /// From so many MiB.
    hot_mib: u32,
    /// Unrest, so often a second.
    churn_per_s: u32,
}

const IDLE: Work = Work {
    file: "idle",
    name: "a guest that does nothing",
    family: "idle",
    writes_per_s: 0,
    hot_mib: 0,
    churn_per_s: 0,
};

/// Of the guest with a workload of [`MEMORY_MIB`].
const WORKS: &[Work] = &[
    IDLE,
    Work {
        file: "even-200-of-4-mib",
        name: "200 pages/s of 4 MiB",
        family: "even",
        writes_per_s: 200,
        hot_mib: 4,
        ..IDLE
    },
    Work {
        file: "even-976-of-64-mib",
        name: "976 pages/s of 64 MiB",
        family: "even",
        writes_per_s: 976,
        hot_mib: MEMORY_MIB,
        ..IDLE
    },
    Work {
        file: "even-3000-of-8-mib",
        name: "3000 pages/s of 8 MiB",
        family: "even",
        writes_per_s: 3000,
        hot_mib: 8,
        ..IDLE
    },
    Work {
        file: "unrest",
        name: "200 pages/s of 4 MiB, and processes, threads and a balloon in unrest",
        family: "recorded",
        writes_per_s: 200,
        hot_mib: 4,
        churn_per_s: 5,
    },
];

/// Of the guest with [`PROCESSES`].
const WITH_PROCESSES: Work = Work {
    file: "processes",
    name: "processes that write 400 pages/s of 16 MiB and 100 pages/s of 4 MiB, in order",
    family: "recorded",
    ..IDLE
};

/// Their memory in MiB, and the pages that they write in a second.
const PROCESSES: [(u32, u32); 2] = [(16, 400), (4, 100)];

/// Boots one host with shadow paging, and looks at guests that do one thing after the other, at each
/// for so many seconds. What lies in tests/replay/traces of the same name is replaced.
///
/// # Errors
/// When a guest cannot be looked at, or has a wrong page afterwards.
pub fn run(seconds: u32) -> Result<()> {
    let rig = Ground::prepare()?.boot_alone(HostSpec::new(Hypervisor::Shadow))?;
    run_on(&rig, |rig| record_all(rig, seconds))
}

fn record_all(rig: &Rig, seconds: u32) -> Result<()> {
    let host = rig.host(Place::A);
    let circumstances = Circumstances::now(host)?;
    for (spec, works) in [(busy(), WORKS), (with_processes(), &[WITH_PROCESSES])] {
        let guest = host.create_guest(&spec)?;
        for work in works {
            let trace = record(rig, &guest, work, seconds)
                .and_then(|trace| named(&trace, work, &spec, &circumstances))
                .with_context(|| work.name)?;
            keep(&workspace().join(FOLDER), work, &trace)?;
        }
        require_intact(&guest)?;
        host.run_ok(&format!("xl destroy {}", guest.name()), ASK)?;
    }
    println!("\n`cargo test -p replay --test recorded` judges them");
    Ok(())
}

fn busy() -> GuestSpec {
    GuestSpec {
        name: "recorded".to_owned(),
        memory_mib: MEMORY_MIB + SYSTEM_MIB + UNREST_MIB,
        workload: WorkloadSpec { memory_mib: MEMORY_MIB, hot_mib: 0, writes_per_s: 0 },
        ip: Ipv4Addr::new(10, 77, 0, 107),
        ..small(GuestKind::Pv)
    }
}

fn with_processes() -> GuestSpec {
    let process = |((memory_mib, pages_per_s), port)| ProcessSpec {
        role: ProcessRole::Writer,
        memory_mib,
        pages_per_s,
        port,
    };
    let usual = small(GuestKind::Pv);
    let workload = WorkloadSpec { hot_mib: 0, writes_per_s: 0, ..usual.workload };
    let of_processes: u32 = PROCESSES.iter().map(|(mib, _)| mib).sum();
    GuestSpec {
        name: "processes".to_owned(),
        memory_mib: workload.memory_mib + of_processes + SYSTEM_MIB + UNREST_MIB,
        workload,
        ip: Ipv4Addr::new(10, 77, 0, 108),
        processes: PROCESSES.into_iter().zip(FIRST_PORT..).map(process).collect(),
        ..usual
    }
}

/// Has the guest do this, looks at it, and gives the trace.
fn record(rig: &Rig, guest: &Guest, work: &Work, seconds: u32) -> Result<String> {
    guest.set_writes(work.writes_per_s, work.hot_mib)?;
    guest.churn(work.churn_per_s)?;
    thread::sleep(SETTLE);
    let host = rig.host(Place::A);
    let command =
        format!("xend dirty-rate --json --seconds {seconds} --trace {TRACE} {}", guest.name());
    let timeout = Duration::from_secs(seconds.into()) + LOOK_GRACE;
    let told = host.run_ok(&command, timeout)?.stdout_text();
    guest.churn(0)?;
    let told: Value =
        serde_json::from_str(&told).with_context(|| format!("xend dirty-rate: {told}"))?;
    ensure!(told["tracking"] == "log-dirty" && told["cut_short"] == false, "{told}");
    let windows = told["windows"].as_u64().context("no windows")?;
    ensure!(windows >= LEAST_WINDOWS_PER_S * u64::from(seconds), "{windows} windows only: {told}");
    let trace = String::from_utf8(host.get(TRACE)?)?;
    // The first line says what it is.
    let kept = trace.lines().count().saturating_sub(1) as u64;
    ensure!(kept == windows, "{kept} of {windows} windows are in the trace");
    println!(
        "{}: {windows} windows of {:.1} ms, {} pages written, {:.0} pages/s",
        work.name,
        told["window_ms"].as_f64().unwrap_or_default(),
        told["written_pages"],
        told["pages_per_s"].as_f64().unwrap_or_default(),
    );
    Ok(trace)
}

/// The trace with its name and family in its first line, and where it comes from.
fn named(
    trace: &str,
    work: &Work,
    spec: &GuestSpec,
    circumstances: &Circumstances,
) -> Result<String> {
    let (header, windows) = trace.split_once('\n').context("a trace of one line")?;
    let mut header: Value =
        serde_json::from_str(header).with_context(|| format!("no header: {header}"))?;
    let fields = header.as_object_mut().context("a header that is no object")?;
    fields.insert("name".to_owned(), json!(work.name));
    fields.insert("family".to_owned(), json!(work.family));
    fields.insert("guest".to_owned(), json!(format!("PV, {} MiB", spec.memory_mib)));
    fields.insert("circumstances".to_owned(), json!(circumstances));
    Ok(format!("{header}\n{windows}"))
}

fn keep(folder: &Path, work: &Work, trace: &str) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("{}.jsonl", work.file));
    fs::write(&path, trace).with_context(|| format!("cannot write {}", path.display()))?;
    println!("  kept in {}, {} KiB", path.display(), trace.len() / 1024);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_says_who_wrote_it_and_keeps_its_windows() {
        let circumstances = Circumstances::of_a_test();
        let trace = "{\"format\":\"f\",\"version\":2,\"name\":\"processes\",\"family\":\"recorded\",\
                     \"pages\":9}\n[50000,1,2]\n[50001]\n";
        let named = named(trace, &WORKS[1], &busy(), &circumstances).unwrap();
        let (header, windows) = named.split_once('\n').unwrap();
        assert_eq!(windows, "[50000,1,2]\n[50001]\n");
        let header: Value = serde_json::from_str(header).unwrap();
        assert_eq!((&header["family"], &header["pages"]), (&json!("even"), &json!(9)));
        assert_eq!(header["name"], WORKS[1].name);
        assert_eq!(header["circumstances"]["commit"], "0123");
        let one_line = super::named("{}", &IDLE, &busy(), &circumstances);
        assert!(one_line.is_err());
    }

    #[test]
    fn each_work_has_a_file_of_its_own_and_fits_into_its_guest() {
        let works: Vec<&Work> = WORKS.iter().chain([&WITH_PROCESSES]).collect();
        let files: std::collections::BTreeSet<_> = works.iter().map(|work| work.file).collect();
        assert_eq!(files.len(), works.len());
        assert!(WORKS.iter().all(|work| work.hot_mib <= busy().workload.memory_mib));
        let ports: Vec<u16> = with_processes().processes.iter().map(|it| it.port).collect();
        assert_eq!(ports, [7101, 7102]);
    }
}
