//! The workload as a client sees it: over UDP, while it writes, and with its memory damaged from
//! outside.

use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PAGE_BYTES: usize = 4096;

struct Guest {
    child: Child,
    socket: UdpSocket,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

impl Guest {
    fn start(memory_mib: usize, hot_mib: usize, writes_per_s: usize) -> Self {
        Self::start_with(memory_mib, hot_mib, writes_per_s, &[])
    }

    fn start_with(memory_mib: usize, hot_mib: usize, writes_per_s: usize, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_guest-workload"))
            .args(["--memory-mib", &memory_mib.to_string(), "--hot-mib", &hot_mib.to_string()])
            .args(["--writes-per-s", &writes_per_s.to_string(), "--port", "0"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("guest-workload");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        let port = line.split(['t', ':']).filter_map(|part| part.trim().parse::<u16>().ok()).next();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.connect(("127.0.0.1", port.expect("a port"))).expect("connect");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
        Self { child, socket }
    }

    fn ask(&self, request: &str) -> String {
        self.socket.send(request.as_bytes()).expect("send");
        self.answer()
    }

    fn answer(&self) -> String {
        let mut buffer = [0; 65536];
        let length = self.socket.recv(&mut buffer).expect("an answer");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }

    fn ask_json(&self, request: &str) -> Value {
        serde_json::from_str(&self.ask(request)).expect("JSON")
    }

    /// The program's memory, and the address of its page `index` in it.
    fn find_page(&self, index: u64) -> (File, u64) {
        let proc = format!("/proc/{}", self.child.id());
        let memory =
            File::options().read(true).write(true).open(format!("{proc}/mem")).expect("memory");
        let maps = std::fs::read_to_string(format!("{proc}/maps")).expect("maps");
        let mut found = Vec::new();
        for line in maps.lines().filter(|line| line.contains(" rw-p ") && !line.contains('/')) {
            let (start, end) =
                line.split(' ').next().and_then(|range| range.split_once('-')).expect("range");
            let parse = |hex| u64::from_str_radix(hex, 16).expect("address");
            for address in (parse(start)..parse(end)).step_by(PAGE_BYTES) {
                let mut page = [0; PAGE_BYTES];
                if memory.read_exact_at(&mut page, address).is_err() {
                    continue;
                }
                let word =
                    |n: usize| u64::from_le_bytes(page[n * 8..][..8].try_into().expect("word"));
                // A page under test has no zero in body and checksum; nothing else looks so.
                if word(1) == index && (2..512).all(|n| word(n) != 0) {
                    found.push(address);
                }
            }
        }
        // The copy that pages are compared with may hold the same page at this moment.
        assert!((1..=2).contains(&found.len()), "page {index}: {found:x?}");
        (memory, found.pop().expect("found"))
    }
}

#[test]
fn the_memory_is_right_under_writes_and_the_rate_is_kept() {
    let guest = Guest::start(16, 2, 500);
    thread::sleep(Duration::from_millis(2500));
    let stats = guest.ask_json("stats");
    assert_eq!((&stats["pages_total"], &stats["hot_pages"]), (&4096.into(), &512.into()));
    let rate = stats["writes_per_s"].as_u64().expect("a rate");
    assert!((250..=510).contains(&rate), "{stats}");
    assert!(stats["verified"].as_u64() > stats["writes"].as_u64(), "{stats}");
    assert!(stats["mem_free_kib"].is_u64() && stats["uptime_s"].is_u64());
    let result = guest.ask_json("verify one");
    assert_eq!((&result["pages_verified"], &result["pages_wrong"]), (&4096.into(), &0.into()));
    assert_eq!(guest.ask_json("verify one"), result, "the same request has the same answer");
    assert_eq!(guest.ask_json("stats")["wrong"], 0);
}

#[test]
fn the_writer_changes_its_ways_on_request() {
    let guest = Guest::start(4, 1, 100);
    assert!(guest.ask("writes 10").contains("error"));
    assert!(guest.ask("writes 10 1025").contains("error"));
    assert!(guest.ask("writes 10 0").contains("error"));
    assert_eq!(guest.ask("writes 0 0"), "ok");
    let before = guest.ask_json("stats")["writes"].clone();
    assert_eq!(guest.ask_json("stats")["writes"], before);
    assert_eq!(guest.ask("writes 5000 1024"), "ok");
    thread::sleep(Duration::from_millis(300));
    let stats = guest.ask_json("stats");
    assert_eq!(stats["hot_pages"], 1024);
    assert!(stats["writes"].as_u64() > before.as_u64().map(|writes| writes + 500), "{stats}");
}

#[test]
fn churn_begins_and_ends_on_request() {
    let guest = Guest::start(4, 1, 50);
    let done = || {
        let stats = guest.ask_json("stats");
        ["processes", "threads"].map(|what| stats["churn"][what].as_u64().expect("a count"))
    };
    assert_eq!(done(), [0, 0]);
    assert!(guest.ask("churn 101").contains("error"));
    assert_eq!(guest.ask("churn 50"), "ok");
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(guest.ask("churn 0"), "ok");
    thread::sleep(Duration::from_millis(500));
    let churned = done();
    assert!(churned.iter().all(|&count| count > 3), "{churned:?}");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(done(), churned);
    assert_eq!(guest.ask_json("verify all")["pages_wrong"], 0);
}

#[test]
fn damage_from_outside_is_reported_with_its_place() {
    let guest = Guest::start(4, 0, 0);
    let (memory, address) = guest.find_page(700);
    let mut byte = [0];
    memory.read_exact_at(&mut byte, address + 1234).expect("read");
    memory.write_all_at(&[byte[0] ^ 0x20], address + 1234).expect("write");
    let result = guest.ask_json("verify damaged");
    assert_eq!(result["pages_wrong"], 1, "{result}");
    assert_eq!(result["wrong"][0]["page"], 700);
    assert_eq!(result["wrong"][0]["byte_offset"], 1234);
    let stats = guest.ask_json("stats");
    assert_eq!((&stats["wrong"], &stats["first_wrong"][0]["page"]), (&1.into(), &700.into()));
    memory.write_all_at(&byte, address + 1234).expect("write");
    assert_eq!(guest.ask_json("verify healed")["pages_wrong"], 0);
}

#[test]
fn a_stale_hot_page_is_found_though_the_writer_goes_on() {
    // One MiB, all of it hot: the writer meets the page as soon as the sweep does.
    let guest = Guest::start(1, 1, 300);
    let (memory, address) = guest.find_page(9);
    let mut stale = [0; PAGE_BYTES];
    memory.read_exact_at(&mut stale, address).expect("read");
    let begun = Instant::now();
    let mut now = stale;
    while now == stale {
        assert!(begun.elapsed() < Duration::from_secs(20), "the page is never rewritten");
        memory.read_exact_at(&mut now, address).expect("read");
    }
    memory.write_all_at(&stale, address).expect("write");
    guest.ask_json("verify stale");
    let stats = guest.ask_json("stats");
    assert_eq!(stats["wrong"], 1, "{stats}");
    assert_eq!(stats["first_wrong"][0]["page"], 9);
    let seq = |name: &str| stats["first_wrong"][0][name].as_u64().expect("a number");
    assert!(seq("expected_seq") > seq("actual_seq"));
}

#[test]
fn echo_is_answered_while_a_long_verify_runs() {
    let guest = Guest::start(256, 1, 100);
    guest.socket.send(b"verify long").expect("send");
    let mut echoes = 0;
    loop {
        let begun = Instant::now();
        guest.socket.send(format!("echo {echoes}").as_bytes()).expect("send");
        let answer = guest.answer();
        if answer != format!("echo {echoes}") {
            let result: Value = serde_json::from_str(&answer).expect("JSON");
            assert_eq!((&result["id"], &result["pages_verified"]), (&"long".into(), &65536.into()));
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        echoes += 1;
    }
    assert!(echoes > 10, "{echoes}");
}

#[test]
fn a_stop_shows_as_a_gap_until_it_is_reset() {
    let guest = Guest::start(1, 0, 0);
    assert_eq!(guest.ask("reset"), "ok");
    let signal = |name: &str| {
        let status =
            Command::new("sh").args(["-c", &format!("kill -{name} {}", guest.child.id())]).status();
        assert!(status.expect("kill").success());
    };
    signal("STOP");
    thread::sleep(Duration::from_millis(400));
    signal("CONT");
    let stats = guest.ask_json("stats");
    for clock in ["longest_gap_ms", "longest_gap_boottime_ms", "longest_gap_realtime_ms"] {
        assert!(stats[clock].as_u64().expect("ms") >= 395, "{stats}");
    }
    assert_eq!(guest.ask("reset"), "ok");
    let stats = guest.ask_json("stats");
    assert!(stats["longest_gap_ms"].as_u64().expect("ms") < 395, "{stats}");
    assert!(stats["since_start"]["longest_gap_ms"].as_u64().expect("ms") >= 395, "{stats}");
}

#[test]
fn a_disk_is_written_and_what_another_writes_there_is_found() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path");
    let guest = Guest::start_with(1, 0, 0, &["--disk", path, "--disk-per-s", "200"]);
    thread::sleep(Duration::from_millis(500));
    let stats = guest.ask_json("stats");
    let number = |stats: &Value, name: &str| stats[name].as_u64().expect("a number");
    assert!(number(&stats, "disk_writes") > 128 && number(&stats, "disk_reads") > 10, "{stats}");
    assert_eq!((number(&stats, "disk_wrong"), number(&stats, "disk_errors")), (0, 0), "{stats}");
    assert!(number(&stats, "disk_last_ok_age_ms") < 400, "{stats}");
    let begun = Instant::now();
    while number(&guest.ask_json("stats"), "disk_wrong") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the fault is not found");
        file.as_file().write_all_at(&vec![7; 128 * PAGE_BYTES], 0).expect("overwritten");
        thread::sleep(Duration::from_millis(50));
    }
    let stats = guest.ask_json("stats");
    assert!(stats["disk_faults"][0].as_str().expect("a text").contains("differs"), "{stats}");
}

#[test]
fn requests_that_make_no_sense_get_an_error() {
    let guest = Guest::start(1, 0, 0);
    for request in ["dance", "verifyx", "", &format!("verify {}", "x".repeat(65))] {
        assert!(guest.ask_json(request)["error"].is_string(), "{request}");
    }
}
