//! Every form tells the same account.

use super::plot::Terminal;
use super::*;
use crate::hypervisor::PfnSet;
use crate::hypervisor::types::Pfn;
use crate::migration::dirty_curve::Point;
use crate::migration::policy::Why;
use crate::migration::probe::{Census, HotPage, Probe, Trace, TracedWindow};

const STOP: Duration = Duration::from_millis(70);
/// What the migrations of these tests keep to.
fn settings() -> Settings {
    Settings { fixed_stop: STOP, fixed_stop_at_worst: STOP, ..Settings::default() }
}

const NAME: &str = "a<b>&\"c\u{1}";

/// A guest of 10000 pages that writes to 1000 of them, 2000 times a second.
fn sight(tracking: Tracking) -> Sight {
    let point = |level: u32| {
        let seconds = 0.05 * f64::from(1 << level);
        Point {
            window: Duration::from_secs_f64(seconds),
            pages: 1000.0 * (1.0 - (-2.0 * seconds).exp()),
        }
    };
    let curve = DirtyCurve::new((0..7).map(point).collect());
    let length = curve.points()[6].window;
    let census =
        Census { populated_pages: 10_000, zero_pages: 4000, duration: Duration::from_millis(150) };
    let hottest = vec![HotPage { pfn: Pfn(0x2a), share: 0.97 }];
    let mut written = PfnSet::empty(10_000);
    (0..998).for_each(|pfn| written.insert(Pfn(pfn)));
    let mut trace = Trace::default();
    trace.windows = vec![
        TracedWindow { length: Duration::from_micros(50_123), runs: vec![0, 998] },
        TracedWindow { length: Duration::from_millis(49), runs: Vec::new() },
    ];
    let probe = Probe {
        tracking,
        length,
        windows: 64,
        pause: Duration::from_micros(700),
        curve,
        written,
        hot_pages: 1,
        hottest,
        cut_short: true,
        trace: Some(trace),
    };
    Sight { census: Some(census), probe }
}

fn with_account<T>(tracking: Tracking, tell: impl FnOnce(&Account<'_>) -> T) -> T {
    let sight = sight(tracking);
    tell(&account(NAME, 3, &sight, (6000, settings()), &Wishes::default()))
}

#[test]
fn a_person_reads_all_of_it() {
    let text = with_account(Tracking::LogDirty, |account| {
        table::text(account, Terminal { columns: 80, unicode: false })
    });
    for words in [
        "domain 3: 3.2 s (interrupted) in 64 windows of 50 ms, by log-dirty",
        "stood still for at most 0.7 ms",
        "memory        10000 pages (39.1 MiB)",
        "not zero    6000 pages (23.4 MiB)",
        "written       998 pages",
        "working set   1000 pages",
        "0x2a 97%",
        "rate          1903 pages/s (7.4 MiB/s)",
        "50 ms       95.2    381 KiB       1903",
        " 1 Gbit/s ",
        " 10 Gbit/s ",
        "with a downtime of 300 ms allowed, of which 70 ms are not for memory",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
}

#[test]
fn by_digest_a_stop_is_a_look_at_all_memory_longer() {
    let stop = |tracking| with_account(tracking, |account| account.fixed_stop);
    let reading = Duration::from_millis(150);
    assert_eq!((stop(Tracking::LogDirty), stop(Tracking::Digest)), (STOP, STOP + reading));
    with_account(Tracking::Digest, |account| {
        for predicted in &account.predictions {
            assert!(predicted.prediction.downtime >= STOP + reading);
            assert!(predicted.prediction.total > 3 * reading);
        }
    });
}

#[test]
fn what_is_foretold_is_what_the_policy_would_do() {
    with_account(Tracking::LogDirty, |account| {
        for Predicted { link_mbit, prediction, least_downtime } in &account.predictions {
            // The writer is slower than the slowest of the links. What a guest writes on its way into
            // suspension takes 85 ms of that one, and too much of the target.
            let ends = if *link_mbit > 100 { Why::DowntimeMet } else { Why::NoProgress };
            assert_eq!(prediction.ends, Some(ends), "{link_mbit}: {prediction:?}");
            assert!(prediction.downtime <= account.downtime, "{link_mbit}: {prediction:?}");
            assert!((STOP..=prediction.downtime).contains(least_downtime), "{link_mbit}");
            assert!(prediction.sent_pages >= account.pages, "{link_mbit}: {prediction:?}");
        }
    });
}

#[test]
fn where_the_guest_outruns_the_link_rounds_come_to_the_fixed_point() {
    // 2000 pages a second are 66 Mbit/s.
    let (sight, links_mbit) = (sight(Tracking::LogDirty), vec![30]);
    let wishes = Wishes { links_mbit, ..Wishes::default() };
    let account = account(NAME, 3, &sight, (6000, settings()), &wishes);
    let Predicted { prediction, least_downtime: shown, .. } = &account.predictions[0];
    assert_eq!(prediction.ends, Some(Why::NoProgress), "{prediction:?}");
    assert!(*shown <= prediction.downtime, "{shown:?}: {prediction:?}");
    // x = 1 - e^(-2.33 x) has the solution 0.873.
    let settings = settings();
    let least =
        |pages| least_downtime(&sight.probe.curve, &Journey::new(pages, payload(30), &settings));
    let expected = STOP + payload(30).time_for(873 * PAGE_BYTES);
    let off = least(6000).as_secs_f64() / expected.as_secs_f64() - 1.0;
    assert!(off.abs() < 0.05, "{:?}, expected {expected:?}", least(6000));
    assert_eq!(least(500), STOP + payload(30).time_for(500 * PAGE_BYTES));
}

#[test]
fn a_program_reads_all_of_it() {
    let told = with_account(Tracking::LogDirty, |account| {
        serde_json::to_value(json::document(account)).unwrap()
    });
    assert_eq!((&told["domid"], &told["tracking"]), (&3.into(), &"log-dirty".into()));
    assert_eq!(told["memory"]["zero_pages"], 4000);
    assert_eq!(told["curve"].as_array().unwrap().len(), 7);
    assert_eq!(told["predictions"][1]["link_mbit_per_s"], 1000);
    assert!(told["predictions"][1]["total_s"].as_f64().unwrap() > 0.2);
    assert_eq!(told["cut_short"], true);
}

#[test]
fn the_picture_has_each_point_and_no_tag_of_the_guests_making() {
    let svg = with_account(Tracking::LogDirty, svg::draw);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<circle ").count(), 7);
    assert!(svg.contains("a&lt;b&gt;&amp;&quot;c writes"), "{svg}");
    assert!(!svg.contains(['\u{1}']));
    // The last point is at the top right.
    assert!(svg.contains(&format!(" {:.1},{:.1}\"", 720.0 - 24.0, 48.0)), "{svg}");
}

#[test]
fn a_trace_has_each_window_with_its_length_and_its_pages() {
    let text = with_account(Tracking::LogDirty, |account| {
        let (mut text, kept) = (Vec::new(), account.sight.probe.trace.as_ref().unwrap());
        trace::write(account, kept, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    });
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let header = serde_json::json!({
        "format": "xend-dirty-trace",
        "version": 2,
        "name": NAME,
        "family": "recorded",
        "tracking": "log-dirty",
        "pages": 10_000,
        "nonzero_pages": 6000,
    });
    let windows = [serde_json::json!([50_123, 0, 998]), serde_json::json!([49_000])];
    assert_eq!((&lines[0], &lines[1..]), (&header, &windows[..]));
    assert!(text.ends_with('\n'));
}
