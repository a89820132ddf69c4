//! Campaigns: long runs that are started by hand and leave a result in docs/results.

pub mod agent;
mod bound;
pub mod busy;
pub mod digest;
pub mod empty;
mod figures;
pub mod memory;
pub mod pacing;
pub mod prediction;
pub mod record;
mod sheet;
pub mod stun;
pub mod to_and_fro;
pub mod trackers;

use anyhow::{Result, ensure};
use lab::{Guest, HostSpec, Hypervisor};

use crate::clean;
use crate::rig::{Ground, Rig};

/// Boots two hosts with shadow paging for a campaign, and keeps their logs if it fails.
fn with_shadow<T>(campaign: impl FnOnce(&Rig) -> Result<T>) -> Result<T> {
    on_hosts(HostSpec::new(Hypervisor::Shadow), campaign)
}

/// The same, with two hosts of another kind.
fn on_hosts<T>(spec: HostSpec, campaign: impl FnOnce(&Rig) -> Result<T>) -> Result<T> {
    run_on(&Ground::prepare()?.boot(spec)?, campaign)
}

fn run_on<T>(rig: &Rig, campaign: impl FnOnce(&Rig) -> Result<T>) -> Result<T> {
    lab::end_tidily_on_signals()?;
    campaign(rig).inspect_err(|_| rig.lab().keep_logs())
}

/// Nothing may be on the hosts but the guest.
fn require_nothing_left(rig: &Rig, guest: &Guest) -> Result<()> {
    let left = clean::leftovers(rig, &[guest.name()])?;
    ensure!(left.is_empty(), "left behind: {}", left.join("; "));
    Ok(())
}
