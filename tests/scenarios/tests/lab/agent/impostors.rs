//! Guests that write what they like into their agent's nodes, or nothing: the move takes no longer than
//! the host's deadlines, and ends well.
//!
//! Dom0 writes the nodes in the guest's place, which is all the same to who reads them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Guest, GuestKind, GuestSpec, Host};
use scenarios::comparison::newest_report;
use scenarios::rig::ASK;
use scenarios::runner::Scenario;
use scenarios::toolstack::Toolstack;
use scenarios::traveller::small;
use scenarios::voyage::{Environment, Pairing, set_out};

use super::{MIGRATION_TIMEOUT, home, node, prepare_ms};
use crate::toolstack::require_settled;
use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(300);

pub(super) const SCENARIOS: &[Scenario<World>] = &[
    Scenario { name: "agent::that_is_absent", deadline: DEADLINE, run: |w| meet(w, ABSENT) },
    Scenario {
        name: "agent::of_another_version",
        deadline: DEADLINE,
        run: |w| meet(w, OTHER_VERSIONS),
    },
    Scenario {
        name: "agent::that_writes_nonsense",
        deadline: DEADLINE,
        run: |w| meet(w, NONSENSE),
    },
    Scenario { name: "agent::that_lies", deadline: DEADLINE, run: |w| meet(w, LIARS) },
];

/// Somebody who is no agent.
struct Impostor {
    name: &'static str,
    /// What is in the guest's nodes before the move: paths below the agent's folder, and for a shell
    /// what they hold.
    nodes: &'static [(&'static str, &'static str)],
    /// What is answered to each command all the time, for a shell that has its number in `$2`.
    answer: Option<&'static str>,
    /// What xend says of it, if anything.
    said: Option<&'static str>,
    /// The longest time that may be spent on it before the move, in ms.
    at_most_ms: f64,
}

/// xenstore's and the shells' share, on emulated hosts.
const OVERHEAD_MS: f64 = 2000.0;
/// A command is to be seen within this.
const SEEN_MS: f64 = 1000.0;
/// How long an agent may take to prepare.
const LIMIT_MS: f64 = 10_000.0;

const ABSENT: &[Impostor] =
    &[Impostor { name: "nobody", nodes: &[], answer: None, said: None, at_most_ms: 0.0 }];

const OTHER_VERSIONS: &[Impostor] = &[Impostor {
    name: "another version",
    nodes: &[("versions", "7 9"), ("program", "xend-agent 9"), ("state", "idle")],
    answer: None,
    said: Some("other versions"),
    at_most_ms: OVERHEAD_MS,
}];

const NONSENSE: &[Impostor] = &[
    Impostor {
        name: "nonsense in place of versions",
        nodes: &[("versions", "$(printf '\\001\\377%0600d' 1)"), ("answer", "?")],
        answer: None,
        said: None,
        at_most_ms: 0.0,
    },
    Impostor {
        name: "nonsense in place of an answer",
        nodes: &[("versions", "1 1"), ("state", "$(printf '%0600d' 1)")],
        answer: Some("$(printf '\\377done %0600d' 1)"),
        said: Some("does not answer"),
        at_most_ms: SEEN_MS + OVERHEAD_MS,
    },
];

const LIARS: &[Impostor] = &[
    Impostor {
        name: "answers to other commands",
        nodes: &[("versions", "1 1")],
        answer: Some("$(($2 + 1)) done"),
        said: Some("does not answer"),
        at_most_ms: SEEN_MS + OVERHEAD_MS,
    },
    Impostor {
        name: "has seen it, and is never done",
        nodes: &[("versions", "1 65535")],
        answer: Some("$2 seen"),
        said: Some("was not through in time"),
        at_most_ms: LIMIT_MS + OVERHEAD_MS,
    },
    Impostor {
        name: "is done with whatever it is told, and has given back more than there is",
        nodes: &[("versions", "1 1"), ("state", "pre-copy")],
        answer: Some(
            "$2 done freed_kib=18446744073709551615 hooks_failed=4294967295 soft_dirty=yes \
             held=4294967295",
        ),
        said: Some("has prepared"),
        at_most_ms: LIMIT_MS + OVERHEAD_MS,
    },
];

fn meet(world: &mut World, impostors: &[Impostor]) -> Result<()> {
    let spec =
        GuestSpec { memory_mib: small(GuestKind::Pv).memory_mib + 8, ..small(GuestKind::Pv) };
    for impostor in impostors {
        let (guest, _) = world.guest_by(Toolstack::Xend, &spec)?;
        impostor.travel(world, &guest).context(impostor.name)?;
    }
    Ok(())
}

impl Impostor {
    fn travel(&self, world: &mut World, guest: &Guest) -> Result<()> {
        let rig = world.rig();
        let from = scenarios::traveller::find(rig, guest)?;
        let (host, to) = (rig.host(from), from.other());
        let home = home(host, guest)?;
        for (path, value) in self.nodes {
            let command = format!("xenstore-write {home}/data/xend-agent/{path} \"{value}\"");
            host.run_ok(&command, ASK)?;
        }
        let responder = self.answer.map(|answer| answers(host, &home, answer)).transpose()?;
        let flight = set_out(rig, guest, from, Pairing::XEND_TCP, &Environment::default())?;
        let account = flight.finish(MIGRATION_TIMEOUT);
        if let Some(pid) = responder {
            // What it has answered since the guest left. Where xend has left something there is more.
            let clear = format!("xenstore-exists {home}/name || xenstore-rm {home} || true");
            host.run_ok(&format!("kill {pid}; sleep 0.5; {clear}"), ASK)?;
        }
        let account = account?;
        account.require_success()?;
        let said = account.sender.stderr_text();
        let time = prepare_ms(&newest_report(host)?);
        println!("    {}: {:.0} ms", self.name, time.unwrap_or_default());
        match self.said {
            Some(word) => ensure!(said.contains(word), "xend does not say `{word}`: {said}"),
            None => ensure!(!said.contains("agent"), "xend speaks of an agent: {said}"),
        }
        ensure!(time.is_some() == self.said.is_some(), "time for it: {time:?} ms");
        ensure!(time.unwrap_or_default() <= self.at_most_ms, "it took {time:?} ms");
        let left = node(rig.host(to), guest, "control/xend-agent/command");
        ensure!(left.is_err(), "a command has travelled along: {left:?}");
        require_settled(world, guest, to, Toolstack::Xend)
    }
}

/// Somebody who answers `answer` to all that the guest's agent is told. Its process.
fn answers(host: &Host, home: &str, answer: &str) -> Result<u32> {
    let script = format!(
        "while sleep 0.05; do set -- $(xenstore-read {home}/control/xend-agent/command) 1 1; \
         xenstore-write {home}/data/xend-agent/answer \"{answer}\"; done"
    );
    let command = format!("({script}) >/dev/null 2>&1 & echo $!");
    let pid = host.run_ok(&command, ASK)?.stdout_text();
    pid.trim().parse().with_context(|| format!("the process is {pid}"))
}
