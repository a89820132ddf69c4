//! `xend dirty-rate`: how a guest writes, and what its migration would take.

mod json;
mod plot;
mod svg;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod trace;
mod wishes;
mod words;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use self::target::Target;
use self::wishes::Wishes;
use super::args::Args;
use super::failure::Failure;
use super::interruption::Interruption;
use super::{domains, output, reports};
use crate::error_line::error_line;
use crate::migration::Tracking;
use crate::migration::dirty_curve::DirtyCurve;
use crate::migration::policy::adaptive::{PAGE_BYTES, Settings};
use crate::migration::policy::prediction::{Journey, Prediction, fixed_point_pages, predict};
use crate::migration::policy::{Adaptive, CpuShare};
use crate::migration::rate::Rate;
use crate::toolstack::Host;
use crate::toolstack::probe::{Sight, look};

/// What is left of a link's rate for the stream, below frames of 1500 bytes and TCP.
const PAYLOAD: f64 = 0.94;

/// What is told, in whatever form.
struct Account<'a> {
    name: &'a str,
    domid: u16,
    share: CpuShare,
    sight: &'a Sight,
    /// Pages that travel.
    pages: u64,
    downtime: Duration,
    /// What a stop takes besides sending memory; by digest, to read it, too.
    fixed_stop: Duration,
    predictions: Vec<Predicted>,
}

/// What is foretold for a link.
struct Predicted {
    link_mbit: u64,
    prediction: Prediction,
    /// What the downtime would come to with ever more rounds that put nothing off, or with these if that
    /// is less.
    least_downtime: Duration,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut options = args.options("", wishes::LONG);
    let mut wishes = Wishes::default();
    while let Some(given) = options.next()? {
        wishes.take(&given)?;
    }
    let operands = options.operands(1)?;
    dirty_rate(operands[0], &wishes)
}

fn dirty_rate(domain: &str, wishes: &Wishes) -> Result<ExitCode, Failure> {
    let host = Host::open()?;
    let number = domains::find(&host, domain)?;
    let domid = domains::domid(number);
    let name = domains::shown_name(&host, number)?;
    // Nobody is to measure for an hour to find that there is no such folder.
    let svg_file = Target::open(wishes.svg.as_deref())?;
    let trace_file = Target::open(wishes.trace.as_deref())?;
    let total_pages = host.xen.domain_info(domid)?.total_pages;
    let interruption = Interruption::await_signals()?;
    let sight = look(&host, domid, &wishes.options, wishes.share, &interruption.cancel);
    // From here on Ctrl-C ends the program, as ever.
    interruption.end();
    let sight =
        sight.map_err(|error| Failure::line(format_args!("{name}: {}", error_line(&error))))?;
    if sight.probe.windows == 0 {
        return Err(Failure::line(format_args!("{name}: interrupted before anything was seen")));
    }
    let pages = sight.census.map_or(total_pages, |census| census.nonzero_pages());
    let settings = Settings { downtime_target: wishes.downtime, ..Settings::default() };
    let settings = reports::with_stop_cost(settings, None);
    let account = account(&name, domid.0, &sight, (pages, settings), wishes);
    if let Some(target) = svg_file {
        target.fill(|mut file| file.write_all(svg::draw(&account).as_bytes()))?;
    }
    if let (Some(target), Some(trace)) = (trace_file, &sight.probe.trace) {
        target.fill(|file| trace::keep(&account, trace, file))?;
        if trace.is_cut_off {
            let path = target.path();
            log::warn!("{path} has room for the first {} windows only", trace.windows.len());
        }
    }
    output::print(if wishes.json {
        format!("{}\n", serde_json::to_string_pretty(&json::document(&account))?)
    } else {
        table::text(&account, plot::Terminal::of_stdout())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn account<'a>(
    name: &'a str,
    domid: u16,
    sight: &'a Sight,
    (pages, settings): (u64, Settings),
    wishes: &Wishes,
) -> Account<'a> {
    let (share, downtime) = (wishes.share, settings.downtime_target);
    // By digest each round reads all memory, and the last pass does once more.
    let scan = match (sight.probe.tracking, sight.census) {
        (Tracking::Digest, Some(census)) => Some(census.duration),
        _ => None,
    };
    let puts_off = sight.probe.tracking == Tracking::LogDirty;
    let settings = Settings { puts_off, ..settings };
    let curve = &sight.probe.curve;
    let predicted = |&link_mbit| {
        let link = payload(link_mbit);
        let journey = Journey { scan, ..Journey::new(pages, link, &settings) };
        let prediction = predict(&Adaptive::new(settings), curve, &journey);
        let least_downtime = least_downtime(curve, &journey).min(prediction.downtime);
        Predicted { link_mbit, prediction, least_downtime }
    };
    let predictions = wishes.links_mbit.iter().map(predicted).collect();
    let fixed_stop = settings.fixed_stop + scan.unwrap_or_default();
    Account { name, domid, share, sight, pages, downtime, fixed_stop, predictions }
}

/// What a link carries of the stream.
fn payload(link_mbit: u64) -> Rate {
    let bytes = Rate::mbit_per_s(link_mbit).as_bytes_per_s() as f64;
    Rate::bytes_per_s((bytes * PAYLOAD) as u64)
}

/// How long a stop takes after so many rounds that no further one would leave less, if each of them
/// sends all that is unsent.
fn least_downtime(curve: &DirtyCurve, journey: &Journey) -> Duration {
    let scan = journey.scan.unwrap_or_default();
    let left = fixed_point_pages(curve, journey.link).max(curve.pages_in(scan / 2));
    let left = left.min(journey.memory_pages as f64) as u64;
    journey.fixed_stop + scan + journey.link.time_for(left * PAGE_BYTES)
}
