//! What is predicted from a short probe, against what then happens.

use std::time::Duration;

use replay::engine::{Mechanics, policy};
use replay::generate::catalogue;
use replay::voyage::play;
use xend_rs::migration::policy::adaptive::{PAGE_BYTES, Settings};
use xend_rs::migration::policy::prediction::{Journey, predict};
use xend_rs::migration::rate::Rate;

const PROBE: Duration = Duration::from_secs(2);

/// How far from 1 a ratio is, either way.
fn off(predicted: Duration, seen: Duration) -> f64 {
    let ratio = predicted.as_secs_f64() / seen.as_secs_f64();
    ratio.max(1.0 / ratio) - 1.0
}

#[test]
fn in_the_median_time_is_within_a_fifth_and_downtime_within_two_fifths() {
    let policy = policy(Settings::default());
    let (mut totals, mut downtimes) = (Vec::new(), Vec::new());
    for guest in catalogue() {
        let trace = guest.trace();
        let windows = trace.windows_in(PROBE);
        let link = Rate::bytes_per_s((trace.link_pages_per_s * PAGE_BYTES as f64) as u64);
        let journey = Journey::new(u64::from(trace.pages), link, policy.settings());
        let predicted = predict(&policy, &trace.probe(windows), &journey);
        let mechanics = Mechanics::ours(trace.pages);
        let seen = play(&trace, mechanics, &policy, windows, false).stopped.unwrap();
        totals.push(off(predicted.total, seen.total));
        downtimes.push(off(predicted.downtime, seen.downtime));
    }
    let quantile = |values: &mut Vec<f64>, part: f64| {
        values.sort_by(f64::total_cmp);
        values[(values.len() as f64 * part) as usize]
    };
    for part in [0.25, 0.5, 0.75, 0.9] {
        let (total, downtime) = (quantile(&mut totals, part), quantile(&mut downtimes, part));
        println!("{part}: total {:.0} % off, downtime {:.0} %", total * 100.0, downtime * 100.0);
    }
    assert!(quantile(&mut totals, 0.5) <= 0.2);
    assert!(quantile(&mut downtimes, 0.5) <= 0.4);
}
