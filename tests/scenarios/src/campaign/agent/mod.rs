//! What an agent in the guest is worth: with a process that writes faster than the link carries, and
//! with a guest full of clean page cache.

mod cache;
mod lookout;
mod rogue;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use lab::{Guest, GuestSpec, Host};

use super::{require_nothing_left, with_shadow};
use crate::rig::{ASK, Place, Rig};

const AGENT_TIMEOUT: Duration = Duration::from_secs(30);
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(300);

/// One of the two things that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The process that writes too fast.
    Rogue,
    /// The page cache.
    Cache,
}

/// Boots two hosts with shadow paging, and migrates a guest `times` times with an agent in it and as
/// often without, a new one each time.
///
/// # Errors
/// When a migration fails, a page is wrong or something is left behind. That a bound is missed is told,
/// and no error: it is a measurement.
pub fn run(times: u32, downtime_ms: u32, only: Option<Part>) -> Result<()> {
    with_shadow(|rig| {
        if only != Some(Part::Cache) {
            rogue::compare(rig, times, downtime_ms)?;
        }
        if only != Some(Part::Rogue) {
            cache::compare(rig, times)?;
        }
        Ok(())
    })
}

/// Makes a guest on host A and waits for its agent, if it is to have one.
fn make(rig: &Rig, spec: &GuestSpec) -> Result<Guest> {
    let host = rig.host(Place::A);
    let guest = host.create_guest(spec)?;
    if spec.agent {
        await_agent(host, &guest)?;
    }
    Ok(guest)
}

fn await_agent(host: &Host, guest: &Guest) -> Result<()> {
    let deadline = Instant::now() + AGENT_TIMEOUT;
    loop {
        let output = host.run(&format!("xend agent {}", guest.name()), ASK)?;
        if output.status == 0 && output.stdout_text().contains("state:    idle") {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no agent: {}", output.stdout_text());
    }
}

/// Ends a guest that has arrived on host B; nothing of it may be left.
fn end(rig: &Rig, guest: &Guest) -> Result<()> {
    rig.lab().link().shape(None)?;
    require_nothing_left(rig, guest)?;
    rig.host(Place::B).run_ok(&format!("xl destroy {}", guest.name()), ASK)?;
    Ok(())
}

/// `all`, with another one first each time.
fn in_turn<T: Copy>(all: &[T], turn: u32) -> Vec<T> {
    let mut order = all.to_vec();
    order.rotate_left(turn as usize % all.len());
    order
}

#[cfg(test)]
mod tests {
    use super::in_turn;

    #[test]
    fn each_is_first_in_its_turn() {
        assert_eq!(in_turn(&[1, 2, 3], 0), [1, 2, 3]);
        assert_eq!(in_turn(&[1, 2, 3], 2), [3, 1, 2]);
        assert_eq!(in_turn(&[1, 2], 3), [2, 1]);
    }
}
