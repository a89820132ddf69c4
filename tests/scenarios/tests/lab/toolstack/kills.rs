//! One side dies (SIGKILL) at a step of the conversation, and `xend recover` settles it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::{GuestKind, Host};
use scenarios::flight::{Flight, PORT};
use scenarios::rig::{ASK, Place};
use scenarios::runner::Scenario;
use scenarios::toolstack::{Toolstack, listens, recover};
use scenarios::traveller::{equipped, find};
use scenarios::voyage::{Environment, Pairing, Side, server, set_out};

use super::{MIGRATION_TIMEOUT, require_settled};
use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(300);
/// For a step to be reached: most of a migration may lie before it.
const STEP_TIMEOUT: Duration = Duration::from_secs(90);

macro_rules! kills {
    ($prefix:literal, $kind:ident, [$($side:ident $step:literal),* $(,)?]) => {
        &[$(Scenario {
            name: concat!($prefix, "::kill::", stringify!($side), "::", $step),
            deadline: DEADLINE,
            run: |world| killed_at(world, GuestKind::$kind, Side::$side, $step),
        }),*]
    };
}

/// Every step of both sides, in the order in which they come.
pub(super) const PV: &[Scenario<World>] = kills!("pv", Pv, [
    Sender "connected",
    Sender "offered",
    Receiver "accepted",
    Receiver "receiving",
    Receiver "prepared",
    Sender "sending",
    Sender "suspending",
    Sender "suspended",
    Sender "sent",
    Receiver "received",
    Receiver "ready",
    Sender "given",
    Sender "handed-over",
    Receiver "owned",
    Receiver "running",
    Sender "confirmed",
]);

/// The ones around the handover, where the guest's kind makes a difference.
pub(super) const PVH: &[Scenario<World>] = kills!("pvh", Pvh, [
    Sender "suspended",
    Receiver "ready",
    Sender "given",
    Receiver "owned",
]);

fn killed_at(world: &mut World, kind: GuestKind, side: Side, step: &str) -> Result<()> {
    // Made by xend, so that its monitor is xend's wherever it ends.
    let (guest, from) = world.guest_by(Toolstack::Xend, &equipped(kind))?;
    let rig = world.rig();
    let environment = Environment::stopping(side, step);
    let flight = set_out(rig, &guest, from, Pairing::XEND_TCP, &environment)?;
    let place = match side {
        Side::Sender => from,
        Side::Receiver => from.other(),
    };
    kill_stopped(rig.host(place), &flight).with_context(|| format!("at {step}"))?;
    // Whichever side still lives has to come to an end by itself.
    let account = flight.finish(MIGRATION_TIMEOUT)?;
    let said = recover_both(world, from).with_context(|| account.said())?;
    let now = find(world.rig(), &guest).with_context(|| format!("recover said: {said}"))?;
    require_settled(world, &guest, now, Toolstack::Xend)
        .with_context(|| format!("{}; recover said: {said}", account.said()))
}

/// Waits for a `xend` that has stopped itself, and kills it.
fn kill_stopped(host: &Host, flight: &Flight<'_>) -> Result<()> {
    let deadline = Instant::now() + STEP_TIMEOUT;
    let command = "for p in $(pidof xend); do \
                   grep -q '^State:.T' /proc/$p/status && kill -KILL $p && echo $p; done; true";
    while host.run_ok(command, ASK)?.stdout.is_empty() {
        ensure!(Instant::now() < deadline, "no xend has stopped after {:?}", flight.elapsed());
    }
    Ok(())
}

/// `xend recover` on both hosts, with a server on the destination for the source to ask.
fn recover_both(world: &World, from: Place) -> Result<String> {
    let (source, dest) = (world.rig().host(from), world.rig().host(from.other()));
    let listening = dest.spawn(&server(&format!("{}:{PORT}", dest.ip()), ""))?;
    let deadline = Instant::now() + ASK;
    while !listens(dest, PORT)? {
        if Instant::now() >= deadline {
            bail!("`xend receive` does not listen: {}", listening.kill()?.stderr_text());
        }
    }
    let said = recover(source).and_then(|said| Ok(said + &recover(dest)?));
    listening.kill()?;
    said
}
