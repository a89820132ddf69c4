//! What cannot be done is refused in one line, before a guest is touched.

use anyhow::{Context, Result, ensure};
use lab::{Background, GuestKind, Host};
use scenarios::flight::PORT;
use scenarios::rig::{ASK, Place};
use scenarios::runner::Scenario;
use scenarios::toolstack::listens;
use scenarios::traveller::equipped;
use scenarios::voyage::server;

use super::{DEADLINE, domains, require_refusal, try_all};
use crate::world::World;

pub(super) const SCENARIOS: &[Scenario<World>] = &[
    Scenario { name: "refused::create", deadline: DEADLINE, run: creations },
    Scenario { name: "refused::migrate", deadline: DEADLINE, run: migrations },
    Scenario { name: "refused::tcp_unless_asked_for", deadline: DEADLINE, run: plain_tcp },
];

const CONFIG: &str = "/root/refused.cfg";
/// A guest that is never started.
const SOUND: &str =
    "name = \"refused\"\ntype = \"pv\"\nmemory = 80\nkernel = \"/lab/guest/vmlinux\"\n";

/// A configuration that no guest can be made from.
struct Creation {
    name: &'static str,
    /// What is said in it after what is right; the last word counts.
    more: &'static str,
    words: &'static [&'static str],
}

const CREATIONS: &[Creation] = &[
    // The sound part has four lines.
    Creation { name: "syntax", more: "vcpus = = 1", words: &["5", "9"] },
    Creation { name: "unfinished list", more: "vif = [ 'bridge=xenbr0'", words: &["refused.cfg"] },
    Creation { name: "no number", more: "memory = \"much\"", words: &["memory"] },
    Creation { name: "no kernel", more: "kernel = \"/none/vmlinux\"", words: &["/none/vmlinux"] },
    Creation { name: "no ramdisk", more: "ramdisk = \"/none/initrd\"", words: &["/none/initrd"] },
    Creation { name: "not a kernel", more: "kernel = \"/etc/passwd\"", words: &["/etc/passwd"] },
    Creation { name: "no bridge", more: "vif = [ 'bridge=nobr0' ]", words: &["nobr0"] },
    Creation { name: "no disk", more: "disk = [ 'phy:/dev/none,xvda,w' ]", words: &["/dev/none"] },
    Creation { name: "too little memory", more: "memory = 100000", words: &["memory"] },
    Creation { name: "name taken", more: "name = \"equipped\"", words: &["equipped", "taken"] },
];

fn creations(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&equipped(GuestKind::Pv))?;
    let host = world.rig().host(place);
    let before = domains(host)?;
    try_all(
        CREATIONS,
        |case| case.name,
        |case| {
            host.put_bytes(format!("{SOUND}{}\n", case.more).as_bytes(), CONFIG, 0o644)?;
            let output = host.run(&format!("xend create {CONFIG}"), ASK)?;
            let refused = require_refusal(&output, case.words);
            let now = domains(host)?;
            for (id, _) in now.iter().filter(|domain| !before.contains(domain)) {
                host.run(&format!("xl destroy {id}"), ASK)?;
            }
            ensure!(now == before, "the domains were {before:?} and are {now:?}");
            refused
        },
    )?;
    let output = host.run("xend create /root/none.cfg", ASK)?;
    require_refusal(&output, &["/root/none.cfg"])?;
    world.require_undisturbed(&guest, place)
}

/// Something that the destination does not have.
struct Obstacle {
    name: &'static str,
    /// What the guest is made with besides what is right.
    more: &'static str,
    /// Puts the obstacle there: on the source before the guest is made, and on the destination.
    source: &'static str,
    dest: &'static str,
    /// Takes it away again.
    source_undo: &'static str,
    dest_undo: &'static str,
    words: &'static [&'static str],
}

const PLAIN: Obstacle = Obstacle {
    name: "",
    more: "",
    source: "true",
    dest: "true",
    source_undo: "true",
    dest_undo: "true",
    words: &[],
};

const OBSTACLES: &[Obstacle] = &[
    Obstacle {
        name: "name taken",
        dest: "xl create -p /root/refused.cfg",
        dest_undo: "xl destroy refused",
        words: &["refused", "exists"],
        ..PLAIN
    },
    Obstacle {
        name: "no bridge",
        more: "vif = [ 'bridge=onlyhere' ]",
        source: "brctl addbr onlyhere",
        source_undo: "ip link set onlyhere down; brctl delbr onlyhere",
        words: &["onlyhere"],
        ..PLAIN
    },
    Obstacle {
        name: "no disk",
        more: "disk = [ 'phy:/dev/only-here,xvda,w' ]",
        source: "ln -sf /dev/vda /dev/only-here",
        source_undo: "rm /dev/only-here",
        words: &["/dev/only-here"],
        ..PLAIN
    },
    Obstacle {
        name: "too little memory",
        dest: "sed -e s/refused/ballast/ -e \"s/memory.*/memory = $(($(xl info free_memory) - 40))/\" \
               /root/refused.cfg >/root/ballast.cfg && xl create -p /root/ballast.cfg",
        dest_undo: "xl destroy ballast",
        words: &["memory"],
        ..PLAIN
    },
];

fn migrations(world: &mut World) -> Result<()> {
    // No guest is to be in the way of another's memory or disk.
    world.dismiss()?;
    let (source, dest) = (world.rig().host(Place::A), world.rig().host(Place::B));
    let listening = listen(dest)?;
    let tried = try_all(
        OBSTACLES,
        |obstacle| obstacle.name,
        |obstacle| {
            for host in [source, dest] {
                host.put_bytes(format!("{SOUND}{}\n", obstacle.more).as_bytes(), CONFIG, 0o644)?;
            }
            source.run_ok(obstacle.source, ASK)?;
            source.run_ok(&format!("xl create -p {CONFIG}"), ASK)?;
            dest.run_ok(obstacle.dest, ASK * 2)?;
            let outcome = refused_both_ways(source, dest, obstacle.words);
            source.run_ok("xl destroy refused", ASK)?;
            source.run_ok(obstacle.source_undo, ASK)?;
            dest.run_ok(obstacle.dest_undo, ASK)?;
            outcome
        },
    );
    listening.kill()?;
    tried
}

/// Whether it is only asked or really tried, the answer is the same and nothing changes.
fn refused_both_ways(source: &Host, dest: &Host, words: &[&str]) -> Result<()> {
    let (here, there) = (domains(source)?, domains(dest)?);
    for option in ["--dry-run", ""] {
        let address = format!("tcp://{}:{PORT}", dest.ip());
        let command = format!("xend migrate {option} --plain-tcp refused {address}");
        let output = source.run(&command, ASK * 2)?;
        require_refusal(&output, words).with_context(|| command.clone())?;
        ensure!(domains(source)? == here, "{command}: the source has {:?}", domains(source)?);
        ensure!(domains(dest)? == there, "{command}: the destination has {:?}", domains(dest)?);
    }
    Ok(())
}

fn listen(host: &Host) -> Result<Background> {
    let listening = host.spawn(&server(&format!("{}:{PORT}", host.ip()), ""))?;
    host.wait_for_listener(PORT, ASK)?;
    Ok(listening)
}

/// A guest's memory goes over the network unencrypted only where both sides were told so.
fn plain_tcp(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&equipped(GuestKind::Pv))?;
    let (source, dest) = (world.rig().host(place), world.rig().host(place.other()));
    let output = dest.run(&format!("xend receive --listen {}:{PORT}", dest.ip()), ASK)?;
    require_refusal(&output, &["--plain-tcp"])?;
    ensure!(!listens(dest, PORT)?, "it listens");
    let command = format!("xend migrate {} tcp://{}:{PORT}", guest.name(), dest.ip());
    require_refusal(&source.run(&command, ASK)?, &["--plain-tcp"])?;
    world.require_undisturbed(&guest, place)
}
