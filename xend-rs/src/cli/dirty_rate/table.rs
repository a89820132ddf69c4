//! The account for a person to read.

use std::fmt::Write;
use std::time::Duration;

use super::plot::{self, Terminal};
use super::{Account, words};
use crate::migration::Tracking;
use crate::migration::policy::CpuShare;
use crate::migration::probe::HOT_SHARE;

/// All of it.
pub(super) fn text(account: &Account<'_>, terminal: Terminal) -> String {
    let mut text = String::new();
    head(account, &mut text);
    summary(account, &mut text);
    windows(account, &mut text);
    let curve = plot::draw(&account.sight.probe.curve, terminal);
    if !curve.is_empty() {
        text += "\npages by length of window\n";
        text += &curve;
    }
    predictions(account, &mut text);
    text
}

// Writing to a string cannot fail.
macro_rules! line {
    ($text:expr, $($format:tt)*) => {
        let _ = writeln!($text, $($format)*);
    };
}

fn head(account: &Account<'_>, text: &mut String) {
    let probe = &account.sight.probe;
    let cut = if probe.cut_short { " (interrupted)" } else { "" };
    line!(
        text,
        "{}, domain {}: {}{cut} in {} windows of {}, by {}",
        account.name,
        account.domid,
        words::time(probe.length),
        probe.windows,
        words::time(probe.window()),
        probe.tracking,
    );
    if probe.tracking == Tracking::LogDirty {
        line!(text, "it stood still for at most {} at the end of each", words::time(probe.pause));
    }
    if account.share != CpuShare::FULL {
        line!(text, "its vCPUs were left with {}% of a processor", account.share.as_percent());
    }
}

fn summary(account: &Account<'_>, text: &mut String) {
    let probe = &account.sight.probe;
    let pages = |pages: f64| format!("{pages:.0} pages ({})", words::memory(pages));
    text.push('\n');
    if let Some(census) = account.sight.census {
        let nonzero = census.nonzero_pages() as f64;
        line!(text, "memory        {}", pages(census.populated_pages as f64));
        line!(text, "  not zero    {}", pages(nonzero));
    }
    line!(text, "written       {}", pages(probe.written_pages() as f64));
    match probe.working_set_pages() {
        Some(all) => {
            line!(text, "working set   {} in the long run", pages(all));
        }
        None => {
            line!(text, "working set   larger: it wrote new pages until the end");
        }
    }
    let often = HOT_SHARE * 100.0;
    line!(text, "  hot         {}, in {often}% of the windows", pages(probe.hot_pages as f64));
    let rate = probe.pages_per_s();
    line!(text, "rate          {rate:.0} pages/s ({}/s)", words::memory(rate));
    if probe.hot_pages > 0 {
        let name = |hot: &crate::migration::probe::HotPage| {
            format!("{:#x} {:.0}%", hot.pfn.0, hot.share * 100.0)
        };
        let hottest: Vec<String> = probe.hottest.iter().take(4).map(name).collect();
        line!(text, "hottest pfns  {}", hottest.join(", "));
    }
}

fn windows(account: &Account<'_>, text: &mut String) {
    line!(text, "\n   window      pages     memory    pages/s");
    for point in account.sight.probe.curve.points() {
        line!(
            text,
            "{:>9} {:>10.1} {:>10} {:>10.0}",
            words::time(point.window),
            point.pages,
            words::memory(point.pages),
            point.pages / point.window.as_secs_f64(),
        );
    }
}

fn predictions(account: &Account<'_>, text: &mut String) {
    line!(
        text,
        "\nprediction for {} that are sent, with a downtime of {} allowed, of which {} are not for \
         memory",
        words::memory(account.pages as f64),
        time(account.downtime),
        time(account.fixed_stop),
    );
    line!(text, "       link  rounds      total       sent   downtime   at least");
    for predicted in &account.predictions {
        let prediction = &predicted.prediction;
        line!(
            text,
            "{:>11} {:>7} {:>10} {:>10} {:>10} {:>10}   {}",
            words::link(predicted.link_mbit),
            prediction.rounds,
            words::time(prediction.total),
            words::bytes(prediction.sent_bytes as f64),
            words::time(prediction.downtime),
            words::time(predicted.least_downtime),
            prediction.ends.map_or_else(String::new, |why| why.to_string()),
        );
    }
}

fn time(time: Duration) -> String {
    if time.is_zero() { "0 ms".to_owned() } else { words::time(time) }
}
