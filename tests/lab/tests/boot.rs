//! The lab tested on itself. Boots two hosts, needs root and some 3 GiB of memory:
//! `make lab-test`, or `cargo test -p lab --features boot`

#![forbid(unsafe_code)]

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{
    Guest, GuestKind, GuestSpec, Host, HostSpec, Hypervisor, Isolation, Lab, LabError,
    MigrateOptions, WorkloadSpec, images,
};

const SHORT: Duration = Duration::from_secs(20);

/// One test, because one boot serves all of it and two labs at once starve each other.
#[test]
fn the_lab_does_what_it_promises() {
    let images = images::ensure().expect("images");
    let isolation = Isolation::enter().expect("isolation");
    let specs = [HostSpec::new(Hypervisor::Shadow), HostSpec::new(Hypervisor::NoShadow)];
    let lab = Lab::up(isolation, &images, &specs).expect("two hosts");
    let (a, b) = (lab.host("a").expect("a"), lab.host("b").expect("b"));

    the_hypervisors_are_the_two_kinds(a, b);
    commands_are_exact(a);
    a_late_command_is_killed_with_its_children(a);
    files_go_both_ways(a);
    let guest = a.create_guest(&pv_guest()).expect("a guest");
    the_hosts_facts_are_plausible(a, b);
    the_link_can_be_cut_and_healed(&lab, &guest);
    a_shaped_link_is_that_slow(&lab);
    a_failed_migration_is_a_report(&lab, &guest);
    assert_eq!(guest.verify(SHORT * 3).expect("a pass").pages_wrong, 0);
    the_disk_is_the_same_on_both_hosts(b, &guest);
    devices_that_are_not_there_are_refused(a);
    a_guest_obeys_reboot_and_shutdown(b, &guest);
}

fn pv_guest() -> GuestSpec {
    GuestSpec {
        name: "tested".to_owned(),
        kind: GuestKind::Pv,
        memory_mib: 128,
        workload: WorkloadSpec { memory_mib: 24, hot_mib: 4, writes_per_s: 100 },
        ip: Ipv4Addr::new(10, 77, 0, 101),
        disk: true,
        processes: Vec::new(),
        cache_mib: 0,
        agent: false,
    }
}

fn the_hypervisors_are_the_two_kinds(a: &Host, b: &Host) {
    let capabilities = |host: &Host| host.run_ok("xl info virt_caps", SHORT).expect("xl info");
    assert!(capabilities(a).stdout_text().contains("shadow"));
    assert!(!capabilities(b).stdout_text().contains("shadow"));
}

fn commands_are_exact(host: &Host) {
    let output = host.run(r"printf 'a\0b\377'; printf 'two\nlines' >&2; exit 7", SHORT);
    let output = output.expect("a command");
    assert_eq!(output.status, 7);
    assert_eq!(output.stdout, b"a\0b\xff");
    assert_eq!(output.stderr, b"two\nlines");
    let error = host.run_ok("echo why >&2; false", SHORT).expect_err("status 1");
    assert!(matches!(error, LabError::Command { status: 1, ref stderr, .. } if stderr == "why"));
    // Nothing is lost in many at once.
    let jobs: Vec<_> = (0..8)
        .map(|n| host.spawn(&format!("sleep 1; head -c 100000 /dev/zero; exit {n}")).expect("job"))
        .collect();
    for (n, job) in jobs.into_iter().enumerate() {
        let output = job.wait(SHORT).expect("an end");
        assert_eq!((output.status, output.stdout.len()), (i32::try_from(n).unwrap(), 100_000));
    }
}

fn a_late_command_is_killed_with_its_children(host: &Host) {
    let started = Instant::now();
    let error = host.run("sleep 4321 & sleep 4321", Duration::from_secs(1)).expect_err("late");
    assert!(matches!(error, LabError::Deadline { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
    let left = host.run("ps | grep '[s]leep 4321'", SHORT).expect("ps");
    assert_eq!(left.stdout_text().lines().count(), 0, "{}", left.stdout_text());
}

fn files_go_both_ways(host: &Host) {
    let content: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let folder = std::env::temp_dir().join(format!("lab-test-{}", std::process::id()));
    fs::write(&folder, &content).expect("a file here");
    host.put(&folder, "/root/deep/file", 0o751).expect("a file there");
    fs::remove_file(&folder).expect("removed");
    assert_eq!(host.get("/root/deep/file").expect("back"), content);
    let mode = host.run_ok("stat -c %a /root/deep/file", SHORT).expect("stat").stdout_text();
    assert_eq!(mode.trim(), "751");
    assert!(host.get("/root/none").is_err());
    assert!(host.put(Path::new("/none"), "/root/none", 0o644).is_err());
}

fn the_hosts_facts_are_plausible(a: &Host, b: &Host) {
    let domains = a.domains().expect("domains");
    assert_eq!(domains.len(), 2);
    assert_eq!((domains[1].name.as_str(), domains[1].memory_mib), ("tested", 128));
    assert!(a.xenstore_nodes().expect("nodes") > b.xenstore_nodes().expect("nodes") + 20);
    let before = a.dom0_cpu_seconds().expect("seconds");
    a.run_ok("n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done", SHORT * 3).expect("a loop");
    assert!(a.dom0_cpu_seconds().expect("seconds") > before + 0.2);
    assert!(a.dom0_free_kib().expect("free") > 100_000);
    assert!(b.xen_free_mib().expect("free") > a.xen_free_mib().expect("free") + 100);
}

fn the_link_can_be_cut_and_healed(lab: &Lab, guest: &Guest) {
    let ping = |answer: bool| {
        let host = lab.host("a").expect("a");
        let output = host.run("ping -c 1 -W 1 10.77.0.12", SHORT).expect("ping");
        assert_eq!(output.status == 0, answer, "{}", output.stdout_text());
    };
    ping(true);
    lab.link().cut().expect("cut");
    ping(false);
    let watch = lab.watch(guest.ip(), Duration::from_millis(20)).expect("a watch");
    std::thread::sleep(Duration::from_secs(1));
    let report = watch.finish();
    assert!(report.longest_gap_ms < 500.0 && report.lost < report.sent / 4, "{report:?}");
    lab.link().heal().expect("heal");
    ping(true);
}

fn a_shaped_link_is_that_slow(lab: &Lab) {
    let (a, b) = (lab.host("a").expect("a"), lab.host("b").expect("b"));
    lab.link().shape(Some(16)).expect("shaped");
    let receiver = b.spawn("socat -u TCP-LISTEN:9000 STDOUT | wc -c").expect("a receiver");
    b.wait_for_listener(9000, SHORT).expect("it listens");
    let before = lab.link().counters("a").expect("counters");
    let started = Instant::now();
    a.run_ok("head -c 6000000 /dev/zero | socat -u STDIN TCP:10.77.0.12:9000", SHORT)
        .expect("sent");
    let received = receiver.wait(SHORT).expect("received").stdout_text();
    let seconds = started.elapsed().as_secs_f64();
    let sent = lab.link().counters("a").expect("counters").since(before).sent_bytes;
    lab.link().shape(None).expect("unshaped");
    assert_eq!(received.trim(), "6000000");
    assert!((6_000_000..7_000_000).contains(&sent), "{sent} bytes counted");
    // 16 Mbit/s are 2 MB/s: 3 s, and any amount more while the machine is busy.
    assert!(seconds > 2.4, "took {seconds} s");
}

/// Without shadow paging on the source stock `xl` cannot track a PV guest's writes: a migration
/// from `b` fails, and from `a` to `b` it works. Both ways round the guest lives.
fn a_failed_migration_is_a_report(lab: &Lab, guest: &Guest) {
    let helper = std::env::temp_dir().join(format!("lab-helper-{}", std::process::id()));
    let script = "#!/bin/sh\necho $MARK >/run/helper-ran\n\
                  exec /usr/lib/xen-4.17/bin/libxl-save-helper \"$@\"\n";
    fs::write(&helper, script).expect("a helper");
    let options = MigrateOptions {
        source_helper: Some(helper.clone()),
        dest_helper: Some(helper.clone()),
        environment: vec!["MARK=told".to_owned()],
        ..MigrateOptions::default()
    };
    let there = lab.migrate("a", "b", guest, &options).expect("a report");
    fs::remove_file(&helper).expect("removed");
    assert!(there.succeeded(), "{there:?}");
    for host in lab.hosts() {
        assert_eq!(host.get("/run/helper-ran").expect("it ran"), b"told\n");
    }
    let options = MigrateOptions::default();
    assert!(there.wire_bytes > 30_000_000 && there.client.longest_gap_ms > 100.0, "{there:?}");
    let back = lab.migrate("b", "a", guest, &options).expect("a report");
    assert!(!back.succeeded());
    let said = back.sender.expect("it ended").stderr_text();
    assert!(said.contains("Failed to enable logdirty"), "{said}");
    assert!(guest.answers(SHORT).expect("a socket"));
}

/// The guest began on the other host: what it wrote there is what it reads here.
fn the_disk_is_the_same_on_both_hosts(host: &Host, guest: &Guest) {
    let stats = |name: &str| guest.stats().expect("stats")[name].as_u64().expect("a number");
    let before = stats("disk_reads");
    std::thread::sleep(Duration::from_secs(2));
    assert!(stats("disk_reads") > before + 5 && stats("disk_writes") > before);
    assert_eq!((stats("disk_wrong"), stats("disk_errors")), (0, 0));
    let backend = host.run_ok("xl block-list tested", SHORT).expect("a list").stdout_text();
    assert!(backend.contains("/vbd/"), "{backend}");
}

/// The hotplug scripts say what is missing, and `xl` passes it on and leaves no domain.
fn devices_that_are_not_there_are_refused(host: &Host) {
    let config = |more: &str| {
        format!(
            "name = \"refused\"\ntype = \"pv\"\nmemory = 80\nkernel = \"/lab/guest/vmlinux\"\n{more}\n"
        )
    };
    for (more, complaint) in [
        ("vif = [ 'bridge=nobr0' ]", "Could not find bridge device nobr0"),
        ("disk = [ 'vdev=xvda,script=block,target=/dev/none' ]", "/dev/none does not exist"),
        ("disk = [ 'vdev=xvda,script=block,target=/dev/null' ]", "not a block device"),
    ] {
        host.put_bytes(config(more).as_bytes(), "/root/refused.cfg", 0o644).expect("a file");
        let output = host.run("xl create -p /root/refused.cfg", SHORT).expect("xl");
        let said = output.stderr_text();
        assert!(output.status != 0 && said.contains(complaint), "{more}: {said}");
    }
    // A file comes through a loop device, which goes with the domain.
    let file = config("disk = [ 'vdev=xvda,script=block,target=/root/file.img' ]");
    host.put_bytes(file.as_bytes(), "/root/refused.cfg", 0o644).expect("a file");
    host.run_ok("truncate -s 1M /root/file.img && xl create -p /root/refused.cfg", SHORT)
        .expect("made");
    let loops = || host.run_ok("losetup -a", SHORT).expect("loops").stdout_text();
    assert!(loops().contains("/root/file.img"), "{}", loops());
    host.run_ok("xl destroy refused", SHORT).expect("destroyed");
    assert_eq!(loops(), "");
    assert_eq!(host.domains().expect("domains").len(), 1);
}

fn a_guest_obeys_reboot_and_shutdown(host: &Host, guest: &Guest) {
    let id = || host.domains().expect("domains").get(1).map(|domain| domain.id);
    let before = id();
    host.run_ok("xl reboot -w tested", SHORT * 3).expect("rebooted");
    assert!(guest.answers(SHORT * 6).expect("a socket"), "it does not come up again");
    assert!(id() > before, "it is the same domain");
    host.run_ok("xl shutdown -w tested", SHORT * 3).expect("shut down");
    // `xl` destroys what has shut down a moment later.
    let deadline = Instant::now() + SHORT;
    while id().is_some() {
        assert!(Instant::now() < deadline, "it is still there");
    }
}
