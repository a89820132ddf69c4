//! `xend dirty-rate` on guests that write in a known way, and what it leaves behind: nothing.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::{Background, Guest, GuestKind, GuestSpec, Host};
use scenarios::rig::ASK;
use scenarios::runner::Scenario;
use scenarios::toolstack::{Toolstack, recover};
use scenarios::traveller::small;
use serde_json::Value;

use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(240);
const PROBE_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// Pages that a guest's kernel and its workload's own account may be good for.
const SYSTEM_PAGES: f64 = 700.0;
const PAGES_PER_MIB: f64 = 256.0;
/// What an administrator gave the guest, and what is left of it meanwhile.
const CAP: u16 = 80;
const SHARE: u16 = 30;

pub(crate) const WITH_SHADOW: &[Scenario<World>] = &[
    Scenario {
        name: "probe::pv::sees_the_writer",
        deadline: DEADLINE,
        run: |world| sees_the_writer(world, GuestKind::Pv, "log-dirty"),
    },
    Scenario { name: "probe::pv::ended_early", deadline: DEADLINE, run: ended_early },
    Scenario { name: "probe::pv::one_at_a_time", deadline: DEADLINE, run: one_at_a_time },
    Scenario { name: "probe::pv::stunned_and_let_go", deadline: DEADLINE, run: stunned_and_let_go },
    Scenario { name: "probe::pv::killed_and_recovered", deadline: DEADLINE, run: killed },
];

pub(crate) const WITHOUT_SHADOW: &[Scenario<World>] = &[
    Scenario {
        name: "probe::pvh::sees_the_writer",
        deadline: DEADLINE,
        run: |world| sees_the_writer(world, GuestKind::Pvh, "log-dirty"),
    },
    Scenario {
        name: "probe::pv::sees_the_writer_by_digest",
        deadline: DEADLINE,
        run: |world| sees_the_writer(world, GuestKind::Pv, "digest"),
    },
];

fn look(host: &Host, guest: &Guest, options: &str) -> Result<Value> {
    let command = format!("xend dirty-rate {options} --json {}", guest.name());
    let told = host.run_ok(&command, PROBE_TIMEOUT)?.stdout_text();
    serde_json::from_str(&told).with_context(|| format!("`{command}` printed {told}"))
}

fn number(told: &Value, name: &str) -> Result<f64> {
    told[name].as_f64().with_context(|| format!("no number {name} in {told}"))
}

fn writes(guest: &Guest) -> Result<f64> {
    number(&guest.stats()?, "writes")
}

fn sees_the_writer(world: &mut World, kind: GuestKind, tracking: &str) -> Result<()> {
    let spec = small(kind);
    let (guest, place) = world.guest(&spec)?;
    let host = world.rig().host(place);
    let (before, began) = (writes(&guest)?, Instant::now());
    let told = look(host, &guest, "--seconds 8 --link 100 --svg /root/curve.svg")?;
    // On this machine it need not write as often as it should.
    let per_s = (writes(&guest)? - before) / began.elapsed().as_secs_f64();
    ensure!(told["tracking"] == tracking && told["cut_short"] == false, "{told}");
    require_writer(&told, &spec, per_s)?;
    require_memory(&told, &spec)?;
    let picture = String::from_utf8(host.get("/root/curve.svg")?)?;
    ensure!(picture.contains(guest.name()) && picture.ends_with("</svg>\n"), "{picture}");
    // Where the log was left on it would not look again.
    look(host, &guest, "--seconds 1")?;
    let text =
        host.run_ok(&format!("xend dirty-rate --seconds 3 {}", guest.name()), PROBE_TIMEOUT)?;
    println!("{}", text.stdout_text());
    world.require_undisturbed(&guest, place)
}

/// The writer writes to all of its hot pages alike.
fn require_writer(told: &Value, spec: &GuestSpec, per_s: f64) -> Result<()> {
    let hot = f64::from(spec.workload.hot_mib) * PAGES_PER_MIB;
    let written_in = |seconds: f64| hot * (1.0 - (-per_s * seconds / hot).exp());
    for point in told["curve"].as_array().context("a curve")? {
        let (seconds, pages) = (number(point, "window_ms")? / 1e3, number(point, "pages")?);
        let expected = written_in(seconds);
        ensure!(
            (expected * 0.7..=expected * 1.3 + SYSTEM_PAGES).contains(&pages),
            "{pages} pages in {seconds} s; the writer writes {expected} ({per_s}/s): {told}"
        );
    }
    println!("the writer wrote {per_s:.0} pages/s to {hot} pages: {told}");
    Ok(())
}

fn require_memory(told: &Value, spec: &GuestSpec) -> Result<()> {
    let populated = number(&told["memory"], "populated_pages")?;
    let zero = number(&told["memory"], "zero_pages")?;
    let all = f64::from(spec.memory_mib) * PAGES_PER_MIB;
    let workload = f64::from(spec.workload.memory_mib) * PAGES_PER_MIB;
    ensure!((all * 0.8..=all * 1.05).contains(&populated), "{populated} of {all} pages: {told}");
    ensure!(populated - zero > workload && zero > 0.0, "{told}");
    Ok(())
}

fn ended_early(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&small(GuestKind::Pv))?;
    let host = world.rig().host(place);
    let probe = probing(host, &guest, "--seconds 60 --json")?;
    thread::sleep(Duration::from_secs(3));
    host.run_ok(&format!("kill -INT {}", probe.pid()?), ASK)?;
    let output = probe.wait(ASK)?;
    let told: Value = serde_json::from_str(&output.stdout_text())
        .with_context(|| format!("it said {} {}", output.stdout_text(), output.stderr_text()))?;
    ensure!(told["cut_short"] == true && number(&told, "windows")? > 1.0, "{told}");
    look(host, &guest, "--seconds 1")?;
    world.require_undisturbed(&guest, place)
}

fn one_at_a_time(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&small(GuestKind::Pv))?;
    let host = world.rig().host(place);
    let probe = probing(host, &guest, "--seconds 60")?;
    let commands = [
        format!("xend dirty-rate {}", guest.name()),
        format!("xend migrate -s '' {} true", guest.name()),
        format!("xend migrate --cancel {}", guest.name()),
        format!("xend save {} /root/save", guest.name()),
    ];
    for command in commands {
        let output = host.run(&command, ASK)?;
        let said = output.stderr_text();
        let is_refused = output.status == 1 && said.contains("looked at by `xend dirty-rate`");
        ensure!(is_refused, "{}: {said}", output.status);
    }
    host.run_ok(&format!("kill -TERM {}", probe.pid()?), ASK)?;
    probe.wait(ASK)?;
    world.require_undisturbed(&guest, place)
}

fn stunned_and_let_go(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&small(GuestKind::Pv))?;
    let host = world.rig().host(place);
    set_cap(host, &guest, CAP)?;
    let full = number(&look(host, &guest, "--seconds 5")?, "pages_per_s")?;
    let probe = probing(host, &guest, &format!("--seconds 5 --json --cpu-share {SHARE}"))?;
    await_cap(host, &guest, SHARE)?;
    // Who asks xend for its configuration is told what the administrator wants.
    let config = Toolstack::Xend.config(host, &guest)?;
    let params = &config["config"]["b_info"]["sched_params"];
    ensure!(params["cap"] == CAP, "it is known with {params}");
    let told: Value = serde_json::from_str(&probe.wait(PROBE_TIMEOUT)?.stdout_text())?;
    println!("{full} pages/s at full speed, at {SHARE}%: {}", told["pages_per_s"]);
    ensure!(told["cpu_share_percent"] == SHARE, "{told}");
    ensure!(cap(host, &guest)? == CAP, "its cap is {}", cap(host, &guest)?);
    require_no_record(host)?;
    set_cap(host, &guest, 0)?;
    world.require_undisturbed(&guest, place)
}

fn killed(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&small(GuestKind::Pv))?;
    let host = world.rig().host(place);
    set_cap(host, &guest, CAP)?;
    let probe = probing(host, &guest, &format!("--seconds 60 --cpu-share {SHARE}"))?;
    await_cap(host, &guest, SHARE)?;
    thread::sleep(Duration::from_secs(1));
    // What lives is left alone.
    recover(host)?;
    ensure!(cap(host, &guest)? == SHARE, "a living process lost its stun");
    host.run_ok(&format!("kill -KILL {}", probe.pid()?), ASK)?;
    probe.wait(ASK)?;
    ensure!(cap(host, &guest)? == SHARE, "its cap is {}", cap(host, &guest)?);
    let said = recover(host)?;
    println!("{said}");
    ensure!(said.contains(&format!("its cap is {CAP} again")), "{said}");
    ensure!(cap(host, &guest)? == CAP, "its cap is {}", cap(host, &guest)?);
    require_no_record(host)?;
    let again = recover(host)?;
    ensure!(again.is_empty(), "again: {again}");
    look(host, &guest, "--seconds 1")?;
    set_cap(host, &guest, 0)?;
    world.require_undisturbed(&guest, place)
}

/// A probe that is under way: it has said so to whoever else wants the guest.
fn probing(host: &Host, guest: &Guest, options: &str) -> Result<Background> {
    let probe = host.spawn(&format!("exec xend dirty-rate {options} {}", guest.name()))?;
    let deadline = Instant::now() + ASK;
    let under_way = format!("test -e /run/xend/probe-$(xl domid {})", guest.name());
    while host.run(&under_way, ASK)?.status != 0 {
        if Instant::now() >= deadline {
            let output = probe.kill()?;
            bail!("it does not look: {}", output.stderr_text());
        }
        thread::sleep(POLL);
    }
    Ok(probe)
}

fn set_cap(host: &Host, guest: &Guest, cap: u16) -> Result<()> {
    host.run_ok(&format!("xl sched-credit2 -d {} -c {cap}", guest.name()), ASK)?;
    Ok(())
}

/// The guest's cap, as stock xl tells it.
fn cap(host: &Host, guest: &Guest) -> Result<u16> {
    let told = host.run_ok(&format!("xl sched-credit2 -d {}", guest.name()), ASK)?.stdout_text();
    let last = told.lines().last().and_then(|line| line.split_whitespace().last());
    last.and_then(|cap| cap.parse().ok()).with_context(|| format!("no cap in {told}"))
}

fn await_cap(host: &Host, guest: &Guest, wanted: u16) -> Result<()> {
    let deadline = Instant::now() + ASK;
    loop {
        let now = cap(host, guest)?;
        if now == wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "its cap is {now}, not {wanted}");
        thread::sleep(POLL);
    }
}

fn require_no_record(host: &Host) -> Result<()> {
    let left = host.run_ok("ls -A /var/lib/xend/stun", ASK)?.stdout_text();
    ensure!(left.is_empty(), "left behind: {left}");
    Ok(())
}
