//! The account as JSON.

use serde::Serialize;

use super::Account;

/// The document. Times in milliseconds or seconds, as their names say.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    domain: &'a str,
    domid: u16,
    tracking: &'static str,
    cpu_share_percent: u8,
    seconds: f64,
    windows: u32,
    window_ms: f64,
    pause_ms: f64,
    cut_short: bool,
    memory: Option<Memory>,
    written_pages: u64,
    hot_pages: u64,
    working_set_pages: Option<f64>,
    pages_per_s: f64,
    curve: Vec<Point>,
    hottest: Vec<Hot>,
    downtime_allowed_ms: f64,
    fixed_stop_ms: f64,
    predictions: Vec<Predicted>,
}

#[derive(Serialize)]
struct Memory {
    populated_pages: u64,
    zero_pages: u64,
}

#[derive(Serialize)]
struct Point {
    window_ms: f64,
    pages: f64,
}

#[derive(Serialize)]
struct Hot {
    pfn: u64,
    share: f64,
}

#[derive(Serialize)]
struct Predicted {
    link_mbit_per_s: u64,
    rounds: usize,
    bytes: u64,
    total_s: f64,
    downtime_ms: f64,
    least_downtime_ms: f64,
    why: Option<String>,
}

pub(super) fn document<'a>(account: &Account<'a>) -> Document<'a> {
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let probe = &account.sight.probe;
    let predicted = |p: &super::Predicted| Predicted {
        link_mbit_per_s: p.link_mbit,
        rounds: p.prediction.rounds,
        bytes: p.prediction.sent_bytes,
        total_s: p.prediction.total.as_secs_f64(),
        downtime_ms: ms(p.prediction.downtime),
        least_downtime_ms: ms(p.least_downtime),
        why: p.prediction.ends.map(|why| why.to_string()),
    };
    let points = probe.curve.points().iter();
    Document {
        domain: account.name,
        domid: account.domid,
        tracking: probe.tracking.name(),
        cpu_share_percent: account.share.as_percent(),
        seconds: probe.length.as_secs_f64(),
        windows: probe.windows,
        window_ms: ms(probe.window()),
        pause_ms: ms(probe.pause),
        cut_short: probe.cut_short,
        memory: account.sight.census.map(|census| Memory {
            populated_pages: census.populated_pages,
            zero_pages: census.zero_pages,
        }),
        written_pages: probe.written_pages(),
        hot_pages: probe.hot_pages,
        working_set_pages: probe.working_set_pages(),
        pages_per_s: probe.pages_per_s(),
        curve: points.map(|p| Point { window_ms: ms(p.window), pages: p.pages }).collect(),
        hottest: probe.hottest.iter().map(|h| Hot { pfn: h.pfn.0, share: h.share }).collect(),
        downtime_allowed_ms: ms(account.downtime),
        fixed_stop_ms: ms(account.fixed_stop),
        predictions: account.predictions.iter().map(predicted).collect(),
    }
}
