//! What is seen of a guest's processes from outside while the guest moves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::Guest;

/// How often a process is asked.
pub(super) const PERIOD: Duration = Duration::from_millis(20);
/// One that is held does not answer; it is asked again.
const PATIENCE: Duration = Duration::from_millis(100);
/// Who had a turn of 50 ms is not free: this long it has to run, at
const WHILE: Duration = Duration::from_millis(500);
/// this part of what it did before.
const PART: f64 = 0.6;

/// How much a process had done by when, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    pub(super) samples: Vec<(Instant, u64)>,
}

/// Asks the process at `port` until `stop`.
pub(super) fn follow<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    guest: &'scope Guest,
    port: u16,
    stop: &'scope AtomicBool,
) -> ScopedJoinHandle<'scope, Result<Track>> {
    scope.spawn(move || {
        let mut track = Track::default();
        while !stop.load(Ordering::Relaxed) {
            if let Some(figures) = guest.process(port, PATIENCE)? {
                track.samples.push((Instant::now(), figures.done_pages));
            }
            thread::sleep(PERIOD);
        }
        Ok(track)
    })
}

/// Asks the guest's workload until `stop`: when it answered.
pub(super) fn knock<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    guest: &'scope Guest,
    stop: &'scope AtomicBool,
) -> ScopedJoinHandle<'scope, Result<Vec<Instant>>> {
    scope.spawn(move || {
        let mut answers = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            if guest.answers(PERIOD * 2)? {
                answers.push(Instant::now());
            }
            thread::sleep(PERIOD);
        }
        Ok(answers)
    })
}

/// The longest silence between two answers: when it began, and when it ended.
pub(super) fn longest_silence(answers: &[Instant]) -> Option<(Instant, Instant)> {
    let silences = answers.windows(2).map(|pair| (pair[0], pair[1]));
    silences.max_by_key(|(began, ended)| *ended - *began)
}

impl Track {
    /// What was done in a second, from the first answer after `from` to the last one before `to`.
    pub(super) fn rate(&self, from: Instant, to: Instant) -> Option<f64> {
        let mut between = self.samples.iter().filter(|(at, _)| (from..=to).contains(at));
        let (&(began, before), &(ended, after)) = (between.next()?, between.next_back()?);
        Some((after - before) as f64 / (ended - began).as_secs_f64())
    }

    /// What was done in each second from `from` on, with `-` where there were no two answers.
    pub(super) fn each_second(&self, from: Instant) -> String {
        let end = self.samples.last().map_or(from, |&(at, _)| at);
        let mut words = Vec::new();
        let mut at = from;
        while at < end {
            let next = at + Duration::from_secs(1);
            words.push(self.rate(at, next).map_or("-".to_owned(), |rate| format!("{rate:.0}")));
            at = next;
        }
        words.join(" ")
    }

    /// How long after `since` the process runs again and goes on to, as it did when it did `free` in a
    /// second. `None` if it does not.
    pub(super) fn runs_again(&self, since: Instant, free: f64) -> Option<Duration> {
        let after = self.samples.partition_point(|&(at, _)| at < since);
        let later = &self.samples[after..];
        let runs_on = |&&(at, done): &&(Instant, u64)| {
            let then = later.iter().find(|&&(moment, _)| moment >= at + WHILE);
            then.is_some_and(|&(moment, by_then)| {
                (by_then - done) as f64 / (moment - at).as_secs_f64() >= free * PART
            })
        };
        later.iter().find(runs_on).map(|&(at, _)| at - since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Track, longest_silence};

    const MS: Duration = Duration::from_millis(1);

    fn track(began: Instant, samples: &[(u32, u64)]) -> Track {
        Track { samples: samples.iter().map(|&(at, done)| (began + MS * at, done)).collect() }
    }

    #[test]
    fn a_turn_is_not_freedom() {
        let began = Instant::now();
        let mut samples = vec![(0, 0), (100, 100), (1000, 200), (1040, 240)];
        // Free from 2000 ms on, 1000 a second.
        samples.extend((0..=50).map(|step| (2000 + step * 20, 240 + u64::from(step) * 20)));
        let track = track(began, &samples);
        assert_eq!(track.runs_again(began + MS * 900, 1000.0), Some(MS * 1100));
        assert_eq!(track.runs_again(began + MS * 2010, 1000.0), Some(MS * 10));
        assert_eq!(track.runs_again(began + MS * 900, 5000.0), None);
        assert_eq!(track.runs_again(began + MS * 9000, 1000.0), None);
    }

    #[test]
    fn rates_are_between_answers() {
        let began = Instant::now();
        let track = track(began, &[(0, 0), (100, 50), (200, 60), (400, 110), (500, 999)]);
        assert_eq!(track.rate(began + MS * 50, began + MS * 450), Some(200.0));
        assert_eq!(track.rate(began + MS * 450, began + MS * 600), None);
        assert_eq!(track.rate(began + MS * 600, began + MS * 900), None);
        let track = self::track(began, &[(100, 50), (600, 100), (2100, 200), (2200, 220)]);
        assert_eq!(track.each_second(began), "100 - 200");
        assert_eq!(Track::default().each_second(began), "");
    }

    #[test]
    fn the_longest_silence_is_between_two_answers() {
        let began = Instant::now();
        let answers = [0, 20, 45, 1045, 1060].map(|at| began + MS * at);
        assert_eq!(longest_silence(&answers), Some((answers[2], answers[3])));
        assert_eq!(longest_silence(&answers[..1]), None);
    }
}
