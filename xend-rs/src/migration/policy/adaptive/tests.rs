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
    let settings = Settings { suspend_delay: Duration::ZERO, ..Settings::default() };
    let affordable = pages_in(settings.downtime_target - settings.fixed_stop);
    let met = Decision::StopAndCopy(Why::DowntimeMet);
    assert_eq!(decide(settings, &[round(100_000, affordable - 1)]), met);
    let more = decide(settings, &[round(100_000, affordable + 1_000)]);
    let hold_back_pages = affordable / 2;
    assert_eq!(more, Decision::Continue(Next { hold_back_pages, ..Next::default() }));
    // What is still written until the guest stands still counts, too.
    let late = Settings { suspend_delay: Duration::from_millis(50), ..settings };
    assert!(matches!(decide(late, &[round(100_000, affordable - 1)]), Decision::Continue(_)));
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
        Round { sent_pages, sent_bytes, duration, dirtied_pages, unsent_pages, limit, cpu_share }
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
    (rate(), rate(), time(), time_limit, stun, time(), time()).prop_map(
        |(bandwidth_min, bandwidth_max, downtime_target, time_limit, stun, fixed_stop, delay)| {
            Settings {
                bandwidth_min,
                bandwidth_max,
                downtime_target,
                time_limit,
                stun,
                fixed_stop,
                suspend_delay: delay,
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
