//! What the adaptive policy must reach, beside Xen's own rule over the same guest and link, and with a
//! guest that may be stunned.

use std::time::Duration;

use replay::engine::{Mechanics, policy};
use replay::generate::{Guest, Pattern, Where, Writer};
use replay::trace::Trace;
use replay::voyage::{Voyage, play};
use xend_rs::migration::policy::adaptive::{Settings, Stun};
use xend_rs::migration::policy::{CpuShare, Stock};

/// A hot set of half of the memory, written evenly at `load` times the link.
fn half_hot(load: f64, seed: u64) -> Trace {
    let writer = |place| Writer { load, pattern: Pattern::Even { set: 0.5 }, place };
    let place = [Where::Scattered, Where::Together][seed as usize % 2];
    Guest {
        name: format!("{load} x link, {seed}"),
        family: "promise",
        pages: 8192,
        copy_s: 50.0,
        writers: vec![writer(place)],
        seed,
    }
    .trace()
}

fn ours(trace: &Trace, settings: Settings, mechanics: Mechanics, probe_s: f64) -> Voyage {
    let windows = trace.windows_in(Duration::from_secs_f64(probe_s));
    play(trace, mechanics, &policy(settings), windows, false)
}

/// Last-pass pages and all pages, as shares of what Xen's own rule comes to: the medians of five.
fn to_stock(load: f64, probe_s: f64) -> (f64, f64) {
    let ratios = |seed| {
        let trace = half_hot(load, seed);
        let mechanics = Mechanics::ours(trace.pages);
        let ours = ours(&trace, Settings::default(), mechanics, probe_s).stopped.unwrap();
        let stock = play(&trace, Mechanics::stock(trace.pages), &Stock, 0, false).stopped.unwrap();
        let of = |ours: u64, stock: u64| ours as f64 / stock as f64;
        (of(ours.last_pass_pages, stock.last_pass_pages), of(ours.pages, stock.pages))
    };
    let (mut last, mut all): (Vec<f64>, Vec<f64>) = (0..5).map(ratios).unzip();
    last.sort_by(f64::total_cmp);
    all.sort_by(f64::total_cmp);
    println!("{load} x link, probe of {probe_s} s: last pass {:.3}, all {:.3}", last[2], all[2]);
    (last[2], all[2])
}

#[test]
fn below_the_link_the_last_pass_is_a_tenth_at_no_more_bytes() {
    for probe_s in [0.0, 2.0] {
        let (last_pass, all) = to_stock(0.8, probe_s);
        assert!(last_pass <= 0.10, "{last_pass}");
        assert!(all <= 1.05, "{all}");
    }
}

#[test]
fn above_the_link_it_is_about_half_of_the_bytes_at_the_same_downtime() {
    for probe_s in [0.0, 2.0] {
        let (last_pass, all) = to_stock(2.0, probe_s);
        assert!(last_pass <= 1.15, "{last_pass}");
        assert!(all <= 0.55, "{all}");
    }
}

const FLOOR: Stun = Stun::Allowed { floor: CpuShare::percent(5) };

#[test]
fn stunned_the_guest_meets_the_target_every_time_within_eight_rounds() {
    for seed in 0..20 {
        let trace = half_hot(2.0, seed);
        for probe_s in [0.0, 2.0] {
            let settings = Settings { stun: FLOOR, ..Settings::default() };
            let voyage = ours(&trace, settings, Mechanics::ours(trace.pages), probe_s);
            let stop = voyage.stopped.unwrap();
            let shares: Vec<_> = voyage.rounds.iter().map(|r| r.cpu_share.as_percent()).collect();
            assert!(stop.downtime <= settings.downtime_target, "{seed}: {stop:?} {shares:?}");
            assert!(stop.rounds <= 8, "{seed}: {stop:?} {shares:?}");
        }
    }
}

/// A writer need not slow down in proportion: one that waits for a disk hardly does, one that spins
/// over a lock does more.
#[test]
fn the_throttle_is_found_however_writing_follows_it_and_does_not_swing() {
    for throttle_power in [0.6, 1.0, 1.5] {
        for (load, seed) in [(1.25, 0), (2.0, 1), (3.0, 2), (5.0, 3)] {
            let trace = half_hot(load, seed);
            let settings = Settings { stun: FLOOR, ..Settings::default() };
            let mechanics = Mechanics { throttle_power, ..Mechanics::ours(trace.pages) };
            let voyage = ours(&trace, settings, mechanics, 2.0);
            let stop = voyage.stopped.unwrap();
            let shares: Vec<_> = voyage.rounds.iter().map(|r| r.cpu_share.as_percent()).collect();
            println!(
                "{load} x, power {throttle_power}: {} ms {shares:?}",
                stop.downtime.as_millis()
            );
            assert!(
                stop.downtime <= settings.downtime_target + Duration::from_millis(30),
                "{shares:?}"
            );
            let turns = shares
                .windows(3)
                .filter(|w| (w[0] < w[1]) != (w[1] < w[2]) && w[0] != w[1] && w[1] != w[2]);
            assert!(turns.count() <= 2, "{shares:?}");
            assert!(shares.iter().all(|&share| share >= 5), "{shares:?}");
        }
    }
}

#[test]
fn a_guest_that_converges_by_itself_is_left_alone() {
    for (load, seed) in [(0.1, 0), (0.5, 1), (0.8, 2)] {
        let trace = half_hot(load, seed);
        let settings = Settings { stun: FLOOR, ..Settings::default() };
        let voyage = ours(&trace, settings, Mechanics::ours(trace.pages), 2.0);
        let shares: Vec<_> = voyage.rounds.iter().map(|r| r.cpu_share.as_percent()).collect();
        assert!(shares.iter().all(|&share| share == 100), "{load}: {shares:?}");
    }
}
