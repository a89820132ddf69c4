//! `xend dirty-rate`: how a guest writes, and what its migration would take.

mod json;
mod plot;
mod svg;
mod table;
#[cfg(test)]
mod tests;
mod trace;
mod words;

use std::fmt::Display;
use std::fs;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use super::args::Args;
use super::failure::Failure;
use super::interruption::Interruption;
use super::options::Long;
use super::{domains, output, reports};
use crate::error_line::error_line;
use crate::migration::Tracking;
use crate::migration::dirty_curve::DirtyCurve;
use crate::migration::policy::adaptive::{PAGE_BYTES, Settings};
use crate::migration::policy::prediction::{Journey, Prediction, fixed_point_pages, predict};
use crate::migration::policy::{Adaptive, CpuShare};
use crate::migration::probe::ProbeOptions;
use crate::migration::rate::Rate;
use crate::toolstack::Host;
use crate::toolstack::probe::{Sight, look};

const SECONDS: u8 = 1;
const WINDOW: u8 = 2;
const LINK: u8 = 3;
const DOWNTIME: u8 = 4;
const CPU_SHARE: u8 = 5;
const TRACKING: u8 = 6;
const JSON: u8 = 7;
const SVG: u8 = 8;
const TRACE: u8 = 9;
const LONG: &[Long] = &[
    Long::with_value("seconds", SECONDS),
    Long::with_value("window", WINDOW),
    Long::with_value("link", LINK),
    Long::with_value("downtime", DOWNTIME),
    Long::with_value("cpu-share", CPU_SHARE),
    Long::with_value("tracking", TRACKING),
    Long::flag("json", JSON),
    Long::with_value("svg", SVG),
    Long::with_value("trace", TRACE),
];

/// Links that are predicted for unless one is named, in Mbit/s.
const LINKS_MBIT: [u64; 3] = [100, 1000, 10_000];
/// What is left of a link's rate for the stream, below frames of 1500 bytes and TCP.
const PAYLOAD: f64 = 0.94;
/// Threads that reading is of use to.
const MAX_READERS: usize = 8;

struct Wishes {
    options: ProbeOptions,
    links_mbit: Vec<u64>,
    downtime: Duration,
    share: CpuShare,
    json: bool,
    svg: Option<String>,
    trace: Option<String>,
}

impl Default for Wishes {
    fn default() -> Self {
        let vcpus = thread::available_parallelism().map_or(1, usize::from);
        Self {
            options: ProbeOptions { readers: vcpus.min(MAX_READERS), ..ProbeOptions::default() },
            links_mbit: LINKS_MBIT.to_vec(),
            downtime: Settings::DOWNTIME_TARGET,
            share: CpuShare::FULL,
            json: false,
            svg: None,
            trace: None,
        }
    }
}

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
    let mut options = args.options("", LONG);
    let mut wishes = Wishes::default();
    while let Some(given) = options.next()? {
        let value = given.value;
        match given.letter {
            SECONDS => {
                wishes.options.length = Duration::from_secs(number("--seconds", value, 1, 3600)?);
            }
            WINDOW => {
                wishes.options.window =
                    Duration::from_millis(number("--window", value, 1, 60_000)?);
            }
            LINK => wishes.links_mbit = vec![number("--link", value, 1, 10_000_000)?],
            DOWNTIME => {
                wishes.downtime = Duration::from_millis(number("--downtime", value, 0, 3_600_000)?);
            }
            CPU_SHARE => wishes.share = CpuShare::percent(number("--cpu-share", value, 1, 100)?),
            TRACKING => wishes.options.tracking = tracking(value)?,
            JSON => wishes.json = true,
            SVG => wishes.svg = Some(value.to_owned()),
            TRACE => {
                wishes.trace = Some(value.to_owned());
                wishes.options.trace = true;
            }
            _ => {}
        }
    }
    let operands = options.operands(1)?;
    dirty_rate(operands[0], &wishes)
}

fn dirty_rate(domain: &str, wishes: &Wishes) -> Result<ExitCode, Failure> {
    let host = Host::open()?;
    let number = domains::find(&host, domain)?;
    let domid = domains::domid(number);
    let name = domains::shown_name(&host, number)?;
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
    let fixed_stop = reports::stop_without_memory(None).unwrap_or(Settings::FIXED_STOP);
    let account = account(&name, domid.0, &sight, (pages, fixed_stop), wishes);
    if let Some(path) = &wishes.svg {
        fs::write(path, svg::draw(&account))
            .map_err(|error| Failure::line(format_args!("cannot write {path}: {error}")))?;
    }
    if let (Some(path), Some(trace)) = (&wishes.trace, &sight.probe.trace) {
        trace::keep(&account, trace, path)
            .map_err(|error| Failure::line(format_args!("cannot write {path}: {error}")))?;
        if trace.is_cut_off {
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
    (pages, stop): (u64, Duration),
    wishes: &Wishes,
) -> Account<'a> {
    let (share, downtime) = (wishes.share, wishes.downtime);
    // By digest each round reads all memory, and the last pass does once more.
    let scan = match (sight.probe.tracking, sight.census) {
        (Tracking::Digest, Some(census)) => Some(census.duration),
        _ => None,
    };
    let settings = Settings {
        downtime_target: downtime,
        fixed_stop: stop,
        puts_off: sight.probe.tracking == Tracking::LogDirty,
        ..Settings::default()
    };
    let curve = &sight.probe.curve;
    let predicted = |&link_mbit| {
        let link = payload(link_mbit);
        let journey = Journey { scan, ..Journey::new(pages, link, &settings) };
        let prediction = predict(&Adaptive::new(settings), curve, &journey);
        let least_downtime = least_downtime(curve, &journey).min(prediction.downtime);
        Predicted { link_mbit, prediction, least_downtime }
    };
    let predictions = wishes.links_mbit.iter().map(predicted).collect();
    let fixed_stop = stop + scan.unwrap_or_default();
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

fn number<T: Copy + FromStr + PartialOrd + Display>(
    option: &str,
    text: &str,
    least: T,
    most: T,
) -> Result<T, Failure> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(Failure::line(format_args!(
            "{option} {text}: a number from {least} to {most} was expected"
        ))),
    }
}

fn tracking(word: &str) -> Result<Tracking, Failure> {
    word.parse().map_err(|error| Failure::line(format_args!("--tracking: {error}")))
}
