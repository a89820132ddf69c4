//! Peers that do not keep to the conversation, on either side of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{GuestKind, Host};
use scenarios::flight::PORT;
use scenarios::rig::ASK;
use scenarios::runner::Scenario;
use scenarios::savefile::{FILE, Head};
use scenarios::traveller::equipped;
use scenarios::voyage::server;

use super::{DEADLINE, domains, try_all};
use crate::world::World;

pub(super) const SCENARIOS: &[Scenario<World>] = &[
    Scenario { name: "hostile::sender", deadline: DEADLINE, run: senders },
    Scenario { name: "hostile::receiver", deadline: DEADLINE, run: receivers },
];

/// No hostile peer may hold a side up for longer than a silent one.
const PATIENCE: Duration = Duration::from_secs(60);
const HEAD_BYTES: usize = 65536;

/// What a hostile sender sends: a shell command that writes it, given where the layers of a sound
/// stream, [`FILE`], begin.
struct Stream {
    name: &'static str,
    command: fn(&Head) -> String,
}

/// A sound stream up to some byte.
fn cut(at: u64) -> String {
    format!("head -c {at} {FILE}")
}

/// A sound stream with other bytes, in printf's notation, in the place of some, and what follows.
fn patched(at: u64, bytes: &str, length: u64) -> String {
    format!("{{ head -c {at} {FILE}; printf '{bytes}'; tail -c +{} {FILE}; }}", at + length + 1)
}

const STREAMS: &[Stream] = &[
    Stream { name: "nothing", command: |_| "true".to_owned() },
    Stream { name: "noise", command: |_| "head -c 300000 /dev/urandom".to_owned() },
    Stream { name: "zeroes", command: |_| "head -c 300000 /dev/zero".to_owned() },
    Stream { name: "half a header", command: |_| cut(20) },
    Stream { name: "half a configuration", command: |head| cut(head.config_at + 100) },
    Stream { name: "no libxl stream", command: |head| cut(head.libxl_at) },
    Stream { name: "half a libxl header", command: |head| cut(head.libxl_at + 9) },
    Stream { name: "half an image header", command: |head| cut(head.image_at + 13) },
    Stream { name: "an image cut in its pages", command: |head| cut(head.image_at + 3_000_000) },
    // The last word of xl's header.
    Stream { name: "4 GiB of configuration", command: |_| patched(44, "\\377\\377\\377\\377", 4) },
    Stream {
        name: "a configuration that is none",
        command: |head| patched(head.config_at, "{ \"c_info\": 5 }", 15),
    },
    Stream {
        name: "4 GiB in one record",
        // The length in the first record's header.
        command: |head| patched(head.image_at + 40 + 4, "\\360\\377\\377\\377", 4),
    },
];

fn senders(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&equipped(GuestKind::Pv))?;
    let host = world.rig().host(place);
    // Saved for good: with the name taken, no stream would be read for long.
    host.run_ok(&format!("xend save {} {FILE}", guest.name()), ASK * 4)?;
    let head = host.run_ok(&format!("head -c {HEAD_BYTES} {FILE}"), ASK)?.stdout;
    let head = Head::of(&head).context("what `xend save` wrote")?;
    let address = format!("{}:{PORT}", host.ip());
    let listening = host.spawn(&server(&address, ""))?;
    host.wait_for_listener(PORT, ASK)?;
    let tried = try_all(
        STREAMS,
        |stream| stream.name,
        |stream| {
            let source = (stream.command)(&head);
            let pipe =
                host.run(&format!("{source} | xend migrate-receive >/dev/null"), PATIENCE)?;
            ensure!(
                (1..=100).contains(&pipe.status) && !pipe.stderr.is_empty(),
                "through a pipe: status {}, it said: {}",
                pipe.status,
                pipe.stderr_text()
            );
            // The server has to stay, whatever becomes of its child.
            host.run(
                &format!("{source} | timeout 20 socat -t 5 - TCP:{address} >/dev/null"),
                PATIENCE,
            )?;
            require_no_domain(host)
        },
    );
    host.wait_for_listener(PORT, ASK).context("`xend receive` is gone")?;
    listening.kill()?;
    host.run_ok(&format!("xend restore {FILE} && rm {FILE}"), ASK * 4)?;
    tried?;
    world.require_undisturbed(&guest, place)
}

/// What is being taken down counts as there, for a moment.
fn require_no_domain(host: &Host) -> Result<()> {
    let mut now = domains(host)?;
    for _ in 0..20 {
        if now.is_empty() {
            return Ok(());
        }
        now = domains(host)?;
    }
    anyhow::bail!("left behind: {now:?}")
}

/// What xl's receiver says first.
const BANNER: &str = "printf 'xl migration receiver ready, send binary domain data.\\n'";

/// What a hostile receiver does: a shell command.
const RECEIVERS: &[(&str, &str)] = &[
    ("is not there", "exit 7"),
    ("says nothing and ends", "true"),
    ("talks nonsense", "echo hello; cat >/dev/null"),
    ("sends noise", "head -c 5000 /dev/urandom; cat >/dev/null"),
    ("half a banner", "printf 'xl migration rece'"),
    ("ends after the banner", BANNER),
    ("takes a little", "BANNER; head -c 20000000 >/dev/null"),
    ("sends noise after the banner", "BANNER; head -c 100000 /dev/urandom; cat >/dev/null"),
    (
        "a frame of 4 GiB",
        "BANNER; printf 'xend\\377\\377\\377\\377\\377\\377\\377\\377'; cat >/dev/null",
    ),
];

fn receivers(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&equipped(GuestKind::Pv))?;
    let host = world.rig().host(place);
    try_all(
        RECEIVERS,
        |(name, _)| name,
        |(_, receiver)| {
            let script = format!("#!/bin/sh\n{}\n", receiver.replace("BANNER", BANNER));
            host.put_bytes(script.as_bytes(), "/root/receiver", 0o755)?;
            let command = format!("xend migrate -s '' {} /root/receiver", guest.name());
            let output = host.run(&command, PATIENCE)?;
            ensure!(
                (1..=100).contains(&output.status) && !output.stderr.is_empty(),
                "status {}, it said: {}",
                output.status,
                output.stderr_text()
            );
            world.require_undisturbed(&guest, place).with_context(|| output.stderr_text())
        },
    )
}
