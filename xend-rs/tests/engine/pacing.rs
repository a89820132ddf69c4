//! Each round is held to the rate that the policy gives it, and the last pass to its own.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use xend_rs::hypervisor::sim::SimMemory;
use xend_rs::hypervisor::types::Pfn;
use xend_rs::migration::policy::{Decision, History, Next, Policy, Why};
use xend_rs::migration::progress::Progress;
use xend_rs::migration::rate::Rate;
use xend_rs::migration::{Cancel, PassReport, SaveOptions, Sink, save};

use crate::harness::{SimToolstack, migrate, options, source_of};

const PFNS: u64 = 3000;

/// Takes everything, and notes under which rate.
#[derive(Default)]
struct Scale {
    limit: Option<Rate>,
    bytes: Vec<(Option<Rate>, usize)>,
}

impl Write for Scale {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.bytes.last_mut() {
            Some((limit, sum)) if *limit == self.limit => *sum += bytes.len(),
            _ => self.bytes.push((self.limit, bytes.len())),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Scale {
    fn wait_until_taken(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn set_rate(&mut self, limit: Option<Rate>) {
        self.limit = limit;
    }
}

/// 10 MiB/s, then 11, then the last pass.
struct Faster;

fn rate(number: usize) -> Rate {
    Rate::bytes_per_s((10 + number as u64) << 20)
}

impl Policy for Faster {
    fn first(&self) -> Next {
        Next { limit: Some(rate(0)), ..Next::default() }
    }

    fn last_pass_limit(&self) -> Option<Rate> {
        Some(rate(99))
    }

    fn decide(&self, history: &History<'_>) -> Decision {
        let limits: Vec<_> = history.rounds.iter().map(|round| round.limit).collect();
        let expected: Vec<_> = (0..limits.len()).map(|n| Some(rate(n))).collect();
        assert_eq!(limits, expected, "a round says what it was limited to");
        match history.rounds.len() {
            2 => Decision::StopAndCopy(Why::EnoughRounds),
            n => Decision::Continue(Next { limit: Some(rate(n)), ..Next::default() }),
        }
    }
}

#[test]
fn each_pass_has_its_limit() {
    let memory = SimMemory::filled(PFNS);
    // So that each pass has something to send.
    let mut toolstack = SimToolstack::doing(&memory, |_| {
        memory.write(Pfn(7), 0, b"again");
    });
    let mut source = source_of(&memory);
    let options = SaveOptions { policy: &Faster, ..options(true) };
    let mut sink = Scale::default();
    let report = save(&mut source, &mut toolstack, &mut sink, &options, &Cancel::default());
    let [preamble, first, second, last] = sink.bytes[..] else { panic!("{:?}", sink.bytes) };
    assert_eq!(preamble.0, None);
    assert_eq!(first.0, Some(rate(0)));
    assert!(first.1 > PFNS as usize * 4096);
    assert_eq!(second.0, Some(rate(1)));
    assert_eq!(last.0, Some(rate(99)));
    assert!((4096..8192).contains(&second.1) && (4096..20_000).contains(&last.1));

    let report = report.unwrap();
    let passes: Vec<_> = report.rounds.iter().chain([&report.last_pass]).collect();
    let limits: Vec<_> = passes.iter().map(|pass| pass.limit).collect();
    assert_eq!(limits, [Some(rate(0)), Some(rate(1)), Some(rate(99))]);
    let is_after = |pair: &[&PassReport]| pair[1].began >= pair[0].began + pair[0].duration;
    assert!(passes.windows(2).all(is_after), "{passes:?}");
}

/// Gives live copying a twentieth of a second, and then stops.
struct InAHurry;

impl Policy for InAHurry {
    fn time_limit(&self) -> Option<Duration> {
        Some(Duration::from_millis(50))
    }

    fn decide(&self, history: &History<'_>) -> Decision {
        assert!(history.rounds[0].unsent_pages > 0, "it was cut short");
        match history.rounds.len() {
            // A round that begins after the limit has all the time it needs.
            1 => Decision::Continue(Next::default()),
            _ => Decision::StopAndCopy(Why::TimeOver),
        }
    }
}

#[test]
fn a_round_ends_when_the_time_is_over_and_nothing_is_lost() {
    const PFNS: u64 = 30_000;
    let memory = SimMemory::filled(PFNS);
    let options = SaveOptions { policy: &InAHurry, ..options(true) };
    // 30 batches: far longer than there is time.
    let sleep = |_: &Progress| thread::sleep(Duration::from_millis(10));
    let report = migrate(&memory, &options, sleep).saved;
    let [first, second] = report.rounds[..] else { panic!("two rounds") };
    assert!(first.data_pages < PFNS && second.data_pages > 0);
    assert_eq!(first.data_pages + second.data_pages, PFNS);
}
