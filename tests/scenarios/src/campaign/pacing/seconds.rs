//! The seconds of a round, by the counters of a link.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

/// How much had been sent by when. In order.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    samples: Vec<(Instant, u64)>,
}

/// A round that was held to a rate, by xend's report. Times from the beginning of the migration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Round {
    pub(super) began: Duration,
    pub(super) length: Duration,
    pub(super) limit_mbit: f64,
}

/// One full second within a round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Second {
    pub(super) limit_mbit: f64,
    pub(super) mbit: f64,
}

impl Second {
    /// How far it is off, as a part of what was allowed; too fast is more than nothing.
    pub(super) fn error(&self) -> f64 {
        self.mbit / self.limit_mbit - 1.0
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// When a round began and ended by the link is known no better than this.
const MARGIN: Duration = Duration::from_millis(250);
/// Round 0 has begun when so long has had half of its rate.
const ONSET: Duration = Duration::from_millis(200);

impl Meter {
    /// So much has been sent by `at`, which is not before what was added last.
    pub(super) fn add(&mut self, at: Instant, bytes: u64) {
        self.samples.push((at, bytes));
    }

    /// How much had been sent by `at`, between two samples in proportion. `None` where there are none
    /// on both sides.
    fn bytes_by(&self, at: Instant) -> Option<f64> {
        let after = self.samples.partition_point(|&(moment, _)| moment < at);
        let &(next_at, next) = self.samples.get(after)?;
        if next_at == at {
            return Some(next as f64);
        }
        let &(last_at, last) = self.samples.get(after.checked_sub(1)?)?;
        let part = (at - last_at).as_secs_f64() / (next_at - last_at).as_secs_f64();
        Some(last as f64 + (next - last) as f64 * part)
    }

    /// When half of a rate was first there for a while.
    pub(super) fn onset(&self, limit_mbit: f64) -> Option<Instant> {
        let enough = limit_mbit * 1e6 / 8.0 * ONSET.as_secs_f64() / 2.0;
        let begins = |&&(at, bytes): &&(Instant, u64)| {
            self.bytes_by(at + ONSET).is_some_and(|by_then| by_then - bytes as f64 >= enough)
        };
        self.samples.iter().find(begins).map(|&(at, _)| {
            // It began where the first bytes of that while are.
            let before = self.bytes_by(at).unwrap_or_default();
            let moved = |&&(moment, bytes): &&(Instant, u64)| {
                moment > at && bytes as f64 - before >= enough / 10.0
            };
            self.samples.iter().find(moved).map_or(at, |&(moment, _)| moment)
        })
    }

    /// The full seconds of `rounds`. A migration began at `start`.
    pub(super) fn seconds(&self, start: Instant, rounds: &[Round]) -> Vec<Second> {
        let mut seconds = Vec::new();
        for round in rounds {
            let end = start + round.began + round.length;
            let mut at = start + round.began + MARGIN;
            while at + SECOND + MARGIN <= end {
                if let (Some(before), Some(after)) = (self.bytes_by(at), self.bytes_by(at + SECOND))
                {
                    let mbit = (after - before) * 8.0 / 1e6;
                    seconds.push(Second { limit_mbit: round.limit_mbit, mbit });
                }
                at += SECOND;
            }
        }
        seconds
    }
}

/// The passes that were held to a rate, by xend's report.
pub(super) fn rounds(report: &Value) -> Result<Vec<Round>> {
    let passes = report["passes"].as_array().context("a report without passes")?;
    let mut rounds = Vec::new();
    for pass in passes {
        let number = |name: &str| {
            pass[name].as_f64().with_context(|| format!("a pass without {name}: {pass}"))
        };
        let time = |name| Ok::<_, anyhow::Error>(Duration::from_secs_f64(number(name)? / 1e3));
        if let Some(limit_mbit) = pass["limit_mbit"].as_f64() {
            rounds.push(Round { began: time("began_ms")?, length: time("ms")?, limit_mbit });
        }
    }
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::{Meter, Round, rounds};

    const MS: Duration = Duration::from_millis(1);

    /// Silent for 1 s, then `mbit` for 4 s, then twice that for 3 s, looked at each 20 ms.
    fn meter(began: Instant, mbit: u64) -> Meter {
        let mut meter = Meter::default();
        let mut bytes = 0;
        for step in 0..=400 {
            let at = step * 20;
            meter.add(began + MS * at, bytes);
            let rate = match at {
                ..1000 => 0,
                1000..5000 => mbit,
                _ => 2 * mbit,
            };
            bytes += rate * 125_000 / 50;
        }
        meter
    }

    fn round(began_ms: u32, ms: u32, limit_mbit: f64) -> Round {
        Round { began: MS * began_ms, length: MS * ms, limit_mbit }
    }

    #[test]
    fn each_full_second_counts_and_no_other() {
        let began = Instant::now();
        let meter = meter(began, 40);
        let onset = meter.onset(40.0).expect("it begins");
        let late = onset - (began + MS * 1000);
        assert!(late <= MS * 60, "{late:?}");
        // The migration began 300 ms before its first round; the report is not about the silence.
        let start = onset - MS * 300;
        let seconds = meter.seconds(start, &[round(300, 4000, 40.0), round(4300, 2900, 40.0)]);
        let rates: Vec<f64> = seconds.iter().map(|second| second.mbit.round()).collect();
        assert_eq!(rates, [40.0, 40.0, 40.0, 80.0, 80.0]);
        assert!(seconds[0].error().abs() < 0.01 && (seconds[4].error() - 1.0).abs() < 0.01);
    }

    #[test]
    fn what_was_not_looked_at_is_no_second() {
        let began = Instant::now();
        let meter = meter(began, 40);
        assert_eq!(meter.seconds(began, &[round(0, 1400, 40.0)]), []);
        assert_eq!(meter.seconds(began + MS * 60_000, &[round(0, 9000, 40.0)]), []);
        assert_eq!(Meter::default().onset(40.0), None);
        assert_eq!(meter.onset(400.0), None);
    }

    #[test]
    fn passes_without_a_limit_are_no_rounds() {
        let report = json!({"passes": [
            {"began_ms": 100.0, "ms": 2000.0, "limit_mbit": 30.0},
            {"began_ms": 2200.0, "ms": 10.0, "limit_mbit": null},
        ]});
        assert_eq!(rounds(&report).unwrap(), [round(100, 2000, 30.0)]);
        assert!(rounds(&json!({"passes": [{"limit_mbit": 30.0}]})).is_err());
        assert!(rounds(&json!({})).is_err());
    }
}
