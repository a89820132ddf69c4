//! A guest uses little of its memory, and what it does not use stays where it is.

use anyhow::{Context, Result, ensure};
use lab::GuestKind;
use scenarios::rig::ASK;
use scenarios::runner::Scenario;
use scenarios::traveller::equipped;
use scenarios::voyage::{Environment, Pairing, set_out};
use serde_json::Value;

use super::{DEADLINE, MIGRATION_TIMEOUT, require_settled, theme};
use crate::world::World;

macro_rules! zero_pages {
    ($prefix:literal, $kind:ident) => {
        theme!($prefix, $kind, DEADLINE, {
            "zero_pages_do_not_travel_between_xends" => |world, kind| {
                migrate(world, kind, Pairing::XEND_TCP).context("by TCP")?;
                migrate(world, kind, Pairing::XEND_PIPE).context("by a pipe")
            },
        })
    };
}

pub(super) const PV: &[Scenario<World>] = zero_pages!("pv::toolstack", Pv);
pub(super) const PVH: &[Scenario<World>] = zero_pages!("pvh::toolstack", Pvh);

/// Where the report of a migration is written to.
const REPORT: &str = "/root/report.json";

/// Whether the guest is whole and has no wrong page, [`require_settled`] finds out.
fn migrate(world: &mut World, kind: GuestKind, pairing: Pairing) -> Result<()> {
    const PAGE_BYTES: u64 = 4096;
    let (guest, from) = world.guest(&equipped(kind))?;
    let environment = Environment::with_options(&format!("--report {REPORT}"));
    let flight = set_out(world.rig(), &guest, from, pairing, &environment)?;
    let account = flight.finish(MIGRATION_TIMEOUT)?;
    account.require_success()?;
    require_settled(world, &guest, from.other(), pairing.receiver)?;
    let host = world.rig().host(from);
    let report: Value = serde_json::from_slice(&host.get(REPORT)?)?;
    host.run_ok(&format!("rm {REPORT}"), ASK)?;

    let number = |value: &Value| value.as_u64().context("a number in the report");
    let passes = report["passes"].as_array().context("the passes in the report")?;
    let mut data_bytes = 0;
    for pass in passes {
        data_bytes += number(&pass["data_pages"])? * PAGE_BYTES;
    }
    let (zero_pages, empty_pages) =
        (number(&passes[0]["zero_pages"])?, number(&passes[0]["empty_pages"])?);
    let (sent_bytes, memory_mib) = (number(&report["sent_bytes"])?, equipped(kind).memory_mib);
    println!(
        "    {memory_mib} MiB: {zero_pages} pages of zeroes, {} MiB of others, {:.4} of which was \
         sent; {} MiB on the wire",
        data_bytes >> 20,
        sent_bytes as f64 / data_bytes as f64,
        account.wire_bytes >> 20,
    );
    ensure!(zero_pages > 0, "no page of zeroes was told: {report}");
    ensure!(empty_pages == 0, "{empty_pages} holes were told one by one");
    ensure!(
        sent_bytes as f64 <= data_bytes as f64 * 1.05,
        "{sent_bytes} bytes were sent for {data_bytes} that are not zero"
    );
    Ok(())
}
