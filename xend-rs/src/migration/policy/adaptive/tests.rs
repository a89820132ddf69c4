//! The policy asked about histories, made-up ones and any whatsoever.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::migration::policy::Round;

const LINK: Rate = Rate::GIGABIT;

fn pages_in(time: Duration) -> u64 {
    (LINK.as_bytes_per_s() as f64 * time.as_secs_f64() / estimate::PAGE_BYTES as f64) as u64
}

/// A round at the rate of the link, after which `unsent` pages are left, all of them written in it.
fn round(sent_pages: u64, unsent: u64) -> Round {
    let sent_bytes = sent_pages * estimate::PAGE_BYTES;
    Round {
        sent_pages,
        sent_bytes,
        duration: LINK.time_for(sent_bytes),
        dirtied_pages: Some(unsent),
        unsent_pages: unsent,
        ..Round::default()
    }
}

fn decide(settings: Settings, rounds: &[Round]) -> Decision {
    let elapsed = rounds.iter().map(|round| round.duration).sum();
    Adaptive::new(settings).decide(&History { rounds, elapsed, probe: None })
}

#[test]
fn it_stops_as_soon_as_the_rest_fits_into_the_target() {
    let settings =
        Settings { suspend_delay: Duration::ZERO, suspend_pages: 0, ..Settings::default() };
    // A link that is five in a hundred slower must do.
    let affordable = pages_in((settings.downtime_target - settings.fixed_stop).mul_f64(0.95));
    let met = Decision::StopAndCopy(Why::DowntimeMet);
    assert_eq!(decide(settings, &[round(100_000, affordable - 2)]), met);
    let Decision::Continue(more) = decide(settings, &[round(100_000, affordable + 2)]) else {
        panic!("too many are left")
    };
    assert_eq!((more.limit, more.cpu_share), (None, CpuShare::FULL));
    assert!(more.hold_back_pages.abs_diff(affordable / 2) <= 2, "{more:?}");
    // What is still written until the guest stands still counts, too.
    let late = Settings { suspend_delay: Duration::from_millis(50), ..settings };
    assert!(matches!(decide(late, &[round(100_000, affordable - 2)]), Decision::Continue(_)));
    let farewell = Settings { suspend_pages: 100, ..settings };
    let just = [round(100_000, affordable - 98)];
    assert!(matches!(decide(farewell, &just), Decision::Continue(_)));
    assert_eq!(decide(farewell, &[round(100_000, affordable - 102)]), met);
}

#[test]
fn a_guest_that_outruns_only_the_limit_is_followed() {
    let mbit = Rate::mbit_per_s;
    // Round 0 at 100 Mbit/s, which the guest outruns; the link has room for ten times as much.
    let slow = |sent_pages: u64, limit: Rate, dirtying: Rate| {
        let sent_bytes = sent_pages * estimate::PAGE_BYTES;
        let duration = limit.time_for(sent_bytes);
        let written = dirtying.as_bytes_per_s() as f64 * duration.as_secs_f64();
        let dirtied = (written / estimate::PAGE_BYTES as f64) as u64;
        Round { duration, limit: Some(limit), ..round(sent_pages, dirtied) }
    };
    let law = |max: Option<u64>| Settings {
        bandwidth_min: Some(mbit(100)),
        bandwidth_max: max.map(mbit),
        ..Settings::default()
    };
    let limit_after = |settings, round: Round| match decide(settings, &[round]) {
        Decision::Continue(next) => next.limit.map(|l| (l.as_bytes_per_s() + 62_500) / 125_000),
        end => panic!("{end:?}"),
    };
    assert_eq!(limit_after(law(Some(500)), slow(100_000, mbit(100), mbit(150))), Some(200));
    assert_eq!(limit_after(law(Some(500)), slow(100_000, mbit(100), mbit(20))), Some(100));
    // 50 Mbit/s above 700 would leave more than nine tenths, where nothing is put off.
    let all_of_it = |max| Settings { puts_off: false, ..law(max) };
    let fast = slow(100_000, mbit(100), mbit(700));
    assert_eq!(limit_after(all_of_it(Some(2000)), fast), Some(2000));
    assert_eq!(limit_after(all_of_it(None), fast), None);
    // And where the maximum is not enough, it ends.
    assert_eq!(decide(all_of_it(Some(500)), &[fast]), Decision::StopAndCopy(Why::NoProgress));
}

#[test]
fn a_target_within_reach_is_met_however_little_room_it_leaves() {
    let settings = Settings {
        downtime_target: Duration::from_millis(300),
        fixed_stop: Duration::from_millis(290),
        suspend_pages: 0,
        ..Settings::default()
    };
    let left = pages_in(Duration::from_millis(25));
    let rounds = [round(100_000, 10 * left), round(10 * left, left)];
    assert!(matches!(decide(settings, &rounds), Decision::Continue(_)));
}

#[test]
fn a_guest_that_outruns_the_link_is_given_up_on_unless_it_may_be_stunned() {
    let rounds = [round(200_000, 100_000), round(95_000, 98_000)];
    let settings = Settings::default();
    assert_eq!(decide(settings, &rounds), Decision::StopAndCopy(Why::NoProgress));
    let stun = Stun::Allowed { floor: CpuShare::percent(10) };
    let Decision::Continue(next) = decide(Settings { stun, ..settings }, &rounds) else {
        panic!("it may be stunned")
    };
    assert!(next.cpu_share < CpuShare::FULL, "{next:?}");
    assert!(next.cpu_share >= CpuShare::percent(10), "{next:?}");
}

#[test]
fn one_bad_round_is_forgiven_where_it_cost_little() {
    let quiet = [round(200_000, 30_000), round(30_000, 8_000)];
    let mut rounds = quiet.to_vec();
    rounds.push(round(8_000, 9_000));
    assert!(matches!(decide(Settings::default(), &rounds), Decision::Continue(_)));
    // Not for ever.
    rounds.extend([round(9_000, 9_000); 6]);
    assert_eq!(decide(Settings::default(), &rounds), Decision::StopAndCopy(Why::NoProgress));
}

#[test]
fn where_nobody_notes_writes_round_0_tells_nothing() {
    let unnoted = |sent| Round { dirtied_pages: None, unsent_pages: 0, ..round(sent, 0) };
    let settings = Settings::default();
    assert!(matches!(decide(settings, &[unnoted(200_000)]), Decision::Continue(_)));
    let met = Decision::StopAndCopy(Why::DowntimeMet);
    assert_eq!(decide(settings, &[unnoted(200_000), unnoted(100)]), met);
    let still_many = [unnoted(200_000), unnoted(60_000)];
    assert!(matches!(decide(settings, &still_many), Decision::Continue(_)));
}

#[test]
fn a_target_below_what_any_stop_costs_is_not_chased() {
    let settings = Settings { downtime_target: Duration::from_millis(50), ..Settings::default() };
    let unnoticed = pages_in(settings.fixed_stop) / 20;
    let stop = Decision::StopAndCopy(Why::NoProgress);
    assert_eq!(decide(settings, &[round(200_000, unnoticed)]), stop);
}

#[test]
fn the_time_limit_does_what_it_says() {
    let rounds = [round(200_000, 100_000)];
    let stun = Stun::Allowed { floor: CpuShare::percent(5) };
    let with = |then, stun| {
        let time_limit = Some(TimeLimit { after: Duration::from_secs(1), then });
        decide(Settings { time_limit, stun, ..Settings::default() }, &rounds)
    };
    assert_eq!(with(OnTimeout::Cancel, stun), Decision::Abort(Why::TimeOver));
    assert_eq!(with(OnTimeout::Stop, stun), Decision::StopAndCopy(Why::TimeOver));
    assert_eq!(with(OnTimeout::Stun, Stun::Off), Decision::StopAndCopy(Why::TimeOver));
    let Decision::Continue(next) = with(OnTimeout::Stun, stun) else { panic!("it may be stunned") };
    assert_eq!(next.cpu_share, CpuShare::percent(5));
}

/// An even writer in `set` pages at `load` times the link, whose writing follows its share of the
/// processors to the power of `power`. Plays rounds until the policy ends them; the shares it gave.
fn closed_loop(settings: Settings, set: f64, load: f64, power: f64) -> (Vec<u8>, Decision) {
    let policy = Adaptive::new(settings);
    let link_pages = pages_in(Duration::from_secs(1)) as f64;
    let (mut rounds, mut shares) = (vec![round((3.0 * set) as u64, set as u64)], Vec::new());
    loop {
        let elapsed = rounds.iter().map(|round| round.duration).sum();
        let decision = policy.decide(&History { rounds: &rounds, elapsed, probe: None });
        let Decision::Continue(next) = decision else { return (shares, decision) };
        shares.push(next.cpu_share.as_percent());
        assert!(shares.len() < 100, "{shares:?}");
        let unsent = rounds.last().unwrap().unsent_pages as f64;
        let speed = (f64::from(next.cpu_share.as_percent()) / 100.0).powf(power);
        let written = load * speed * link_pages * (unsent / link_pages);
        let dirtied = set * (1.0 - (-written / set).exp());
        let last = round(unsent as u64, dirtied as u64);
        rounds.push(Round { cpu_share: next.cpu_share, limit: next.limit, ..last });
    }
}

#[test]
fn the_throttle_finds_its_way_in_a_closed_loop() {
    let stun = Stun::Allowed { floor: CpuShare::percent(3) };
    let settings = Settings { stun, puts_off: false, ..Settings::default() };
    for power in [0.7, 1.0, 1.6] {
        for load in [1.2, 2.0, 4.0, 8.0] {
            let (shares, end) = closed_loop(settings, 200_000.0, load, power);
            let what = format!("load {load}, power {power}: {shares:?}");
            assert_eq!(end, Decision::StopAndCopy(Why::DowntimeMet), "{what}");
            assert!(shares.iter().all(|share| *share >= 3), "{what}");
            assert!(shares.iter().any(|share| *share < 100), "{what}");
            let up_and_down = |w: &[u8]| w[0] < w[1] && w[1] > w[2];
            assert!(shares.windows(3).filter(|w| up_and_down(w)).count() <= 1, "{what}");
        }
    }
}

#[test]
fn a_floor_that_is_too_high_is_kept_to_all_the_same() {
    let stun = Stun::Allowed { floor: CpuShare::percent(60) };
    let settings = Settings { stun, puts_off: false, ..Settings::default() };
    let (shares, end) = closed_loop(settings, 200_000.0, 8.0, 1.0);
    assert_eq!(end, Decision::StopAndCopy(Why::NoProgress));
    assert!(shares.iter().all(|share| *share >= 60), "{shares:?}");
}

#[test]
fn a_guest_that_has_become_quiet_has_its_processors_back() {
    let floor = CpuShare::percent(5);
    let settings = Settings { puts_off: false, ..Settings::default() };
    let share_after = |rounds: &[Round]| {
        let history = History { rounds, ..History::default() };
        let estimate = Estimate::new(&settings, &history).unwrap();
        stun::next_share(&estimate, estimate.unsent_pages.unwrap(), None, floor)
    };
    let mut rounds = vec![round(300_000, 200_000), round(195_000, 198_000)];
    let throttled = share_after(&rounds);
    assert!(throttled < CpuShare::percent(50), "{throttled:?}");
    // From now on it would write a quarter of what the link takes, with all of its processors.
    let mut shares = vec![throttled];
    for _ in 0..6 {
        let cpu_share = shares[shares.len() - 1];
        let dirtied_pages = Some(25_000 * u64::from(cpu_share.as_percent()) / 100);
        rounds.push(Round { cpu_share, dirtied_pages, ..round(100_000, 9_000) });
        shares.push(share_after(&rounds));
    }
    assert!(shares.is_sorted(), "{shares:?}");
    assert_eq!(shares.last(), Some(&CpuShare::FULL), "{shares:?}");
}

prop_compose! {
    fn any_round()(
        sent_pages in prop_oneof![Just(0), 1..100u64, 0..1u64 << 40, Just(u64::MAX)],
        sent_bytes in prop_oneof![Just(0), 1..1000u64, 0..1u64 << 50, Just(u64::MAX)],
        nanos in prop_oneof![Just(0), 1..1000u64, 0..1u64 << 50, Just(u64::MAX)],
        dirtied_pages in prop::option::of(prop_oneof![Just(0), 0..1u64 << 40, Just(u64::MAX)]),
        unsent_pages in prop_oneof![Just(0), 0..1u64 << 40, Just(u64::MAX)],
        limit in prop::option::of(prop_oneof![Just(0), 1..1u64 << 50, Just(u64::MAX)]),
        percent in 0..=255u8,
    ) -> Round {
        let limit = limit.map(Rate::bytes_per_s);
        let (duration, cpu_share) = (Duration::from_nanos(nanos), CpuShare::percent(percent));
        Round {
            sent_pages,
            sent_bytes,
            duration,
            dirtied_pages,
            unsent_pages,
            limit,
            cpu_share,
        }
    }
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let rate = || prop::option::of((0..100_000u64).prop_map(Rate::mbit_per_s));
    let time = || prop_oneof![Just(0), 0..2_000u64, 0..1u64 << 40].prop_map(Duration::from_millis);
    let then = prop::sample::select(OnTimeout::ALL.to_vec());
    let time_limit =
        prop::option::of((time(), then).prop_map(|(after, then)| TimeLimit { after, then }));
    let floor = (0..=255u8).prop_map(|p| Stun::Allowed { floor: CpuShare::percent(p) });
    let stun = prop_oneof![Just(Stun::Off), floor];
    let stop = (time(), time(), time());
    (rate(), rate(), time(), time_limit, stun, stop, any::<u64>(), any::<bool>()).prop_map(
        |(
            bandwidth_min,
            bandwidth_max,
            downtime_target,
            time_limit,
            stun,
            (fixed_stop, fixed_stop_at_worst, suspend_delay),
            suspend_pages,
            puts_off,
        )| {
            Settings {
                bandwidth_min,
                bandwidth_max,
                downtime_target,
                time_limit,
                stun,
                fixed_stop,
                fixed_stop_at_worst,
                suspend_delay,
                suspend_pages,
                puts_off,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_history_is_answered_within_the_settings(
        settings in any_settings(),
        rounds in prop::collection::vec(any_round(), 0..12),
        elapsed in 0..1u64 << 40,
    ) {
        let elapsed = Duration::from_millis(elapsed);
        let policy = Adaptive::new(settings);
        let decision = policy.decide(&History { rounds: &rounds, elapsed, probe: None });
        let over = settings.time_limit.filter(|limit| elapsed >= limit.after);
        match decision {
            Decision::Continue(next) => {
                prop_assert!(next.cpu_share >= settings.stun.floor());
                if let (Some(limit), Some(max)) = (next.limit, settings.bandwidth_max) {
                    prop_assert!(limit <= max);
                }
                prop_assert!(over.is_none_or(|limit| limit.then == OnTimeout::Stun || rounds.is_empty()));
            }
            Decision::Abort(why) => {
                prop_assert_eq!(why, Why::TimeOver);
                prop_assert!(over.is_some_and(|limit| limit.then == OnTimeout::Cancel));
            }
            Decision::StopAndCopy(_) => prop_assert!(!rounds.is_empty()),
        }
    }

    /// Whatever the guest writes, and whether stunning works or not, there is an end.
    #[test]
    fn it_always_comes_to_an_end(
        settings in any_settings(),
        later in prop::collection::vec(any_round(), 80),
    ) {
        let policy = Adaptive::new(settings);
        let end = (1..=later.len()).find(|&n| {
            let rounds = &later[..n];
            let elapsed = rounds.iter().fold(Duration::ZERO, |sum, r| sum.saturating_add(r.duration));
            let history = History { rounds, elapsed, probe: None };
            !matches!(policy.decide(&history), Decision::Continue(_))
        });
        prop_assert!(end.is_some());
    }

    #[test]
    fn time_over_ends_it_even_where_the_throttle_does_nothing(
        rounds in 2..9usize,
        share in 1..=100u8,
        percent in 1..=100u8,
    ) {
        let after = Duration::from_secs(1);
        let time_limit = Some(TimeLimit { after, then: OnTimeout::Stun });
        let stun = Stun::Allowed { floor: CpuShare::percent(percent) };
        let settings = Settings { time_limit, stun, ..Settings::default() };
        let stuck = Round { cpu_share: CpuShare::percent(share), ..round(200_000, 200_000) };
        let rounds = vec![stuck; rounds];
        let history = History { rounds: &rounds, elapsed: after * 20, probe: None };
        let decision = Adaptive::new(settings).decide(&history);
        prop_assert_eq!(decision, Decision::StopAndCopy(Why::TimeOver));
    }
}
