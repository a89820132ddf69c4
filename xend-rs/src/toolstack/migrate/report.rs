//! What a migration did, for people and for programs.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::source::Foretold;
use super::stage::Stage;
use crate::migration::{PassReport, SaveReport};
use crate::stream::xend::Timing;
use crate::toolstack::journal::now_s;

/// The account of an outgoing migration. Times are in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The guest.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Its domain here.
    pub domid: u16,
    /// Where it went.
    pub peer: String,
    /// The attempt, as the journals know it.
    pub token: String,
    /// The conversation: `xl`, or `xend` with its version. Empty if it did not come to one.
    pub conversation: String,
    /// `migrated`, `checked`, `failed`, `cancelled` or `undecided`.
    pub outcome: &'static str,
    /// Why, unless it went well.
    pub error: Option<String>,
    /// What the destination warned of.
    pub warnings: Vec<String>,
    /// When it began, in seconds since 1970.
    pub started_s: u64,
    /// How long it took.
    pub total_ms: f64,
    /// How long each stage took.
    pub stages: Vec<StageTime>,
    /// How writes were tracked: `log-dirty`, `digest` or `none`. Known once memory was sent.
    pub tracking: Option<&'static str>,
    /// The passes over memory: live rounds, then the one over the suspended guest.
    pub passes: Vec<Pass>,
    /// What the last pass was expected to take, where all memory is read in it. What it took is
    /// among the steps of the source.
    pub predicted_last_pass_ms: Option<f64>,
    /// Why live copying ended, in words.
    pub ends: Option<String>,
    /// What was expected when round 0 had begun, where that was known.
    pub prediction: Option<Expected>,
    /// Bytes of the memory image.
    pub sent_bytes: u64,
    /// From the request to suspend to the destination's word that the guest runs, as seen here.
    pub stopped_ms: Option<f64>,
    /// The parts of that at the source.
    pub source: Vec<StepTime>,
    /// Its parts at the destination, where that is a xend.
    pub destination: Vec<StepTime>,
}

/// What was expected of a migration.
#[derive(Clone, Debug, Serialize)]
pub struct Expected {
    /// What the link was measured to carry, in Mbit/s.
    pub link_mbit: f64,
    /// Live rounds.
    pub rounds: usize,
    /// Bytes of memory on the wire.
    pub sent_bytes: u64,
    /// From the start until the guest runs there.
    pub total_ms: f64,
    /// For how long the guest stands still.
    pub stopped_ms: f64,
    /// Why live copying would end, in words.
    pub ends: Option<String>,
}

/// How long a stage took.
#[derive(Clone, Debug, Serialize)]
pub struct StageTime {
    /// Which.
    pub stage: Stage,
    /// How long.
    pub ms: f64,
}

/// How long a step took.
#[derive(Clone, Debug, Serialize)]
pub struct StepTime {
    /// Which.
    pub step: String,
    /// How long.
    pub ms: f64,
}

/// A pass over memory.
#[derive(Clone, Debug, Serialize)]
pub struct Pass {
    /// Pages whose contents were sent.
    pub data_pages: u64,
    /// Pages of zeroes, sent without contents.
    pub zero_pages: u64,
    /// Pages without memory.
    pub empty_pages: u64,
    /// Pages that could not be read, and are left to the last pass.
    pub owed_pages: u64,
    /// Pages that were written again before their turn and left to the next pass.
    pub put_off_pages: u64,
    /// How often Xen was asked what is written, to put that off.
    pub looks: u32,
    /// Pages that are written so often that they were left to a later pass.
    pub held_back_pages: u64,
    /// Pages whose contents were read, to be sent or to be compared with what was sent.
    pub read_pages: u64,
    /// When it began, from the beginning of the migration.
    pub began_ms: f64,
    /// How long it took.
    pub ms: f64,
    /// How fast its bytes were allowed to travel, in Mbit/s; without a value as fast as they can.
    pub limit_mbit: Option<f64>,
}

/// A duration as the report has it.
pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

impl Report {
    /// Takes over what the engine measured, which began so long after the migration.
    pub(super) fn add_save(&mut self, save: &SaveReport, began: Duration) {
        let pass = |pass: &PassReport| Pass {
            data_pages: pass.data_pages,
            zero_pages: pass.zero_pages,
            empty_pages: pass.empty_pages,
            owed_pages: pass.owed_pages,
            put_off_pages: pass.put_off_pages,
            looks: pass.looks,
            held_back_pages: pass.held_back_pages,
            read_pages: pass.read_pages,
            began_ms: ms(began + pass.began),
            ms: ms(pass.duration),
            limit_mbit: pass.limit.map(|limit| limit.as_bytes_per_s() as f64 * 8.0 / 1e6),
        };
        self.tracking = Some(save.tracking.name());
        self.predicted_last_pass_ms = save.stop_plan.map(|plan| ms(plan.total()));
        self.passes = save.rounds.iter().chain([&save.last_pass]).map(pass).collect();
        self.ends = save.ends.map(|why| why.to_string());
        self.sent_bytes = save.sent_bytes;
        self.step("suspend", save.suspend);
        self.step("last pass", save.last_pass.duration);
        self.step("state", save.state);
    }

    /// Takes over what is expected.
    pub(super) fn foretell(&mut self, foretold: &Foretold, clock: &Clock) {
        let Foretold { prediction, link, began } = foretold;
        let before = began.saturating_duration_since(clock.started);
        self.prediction = Some(Expected {
            link_mbit: link.as_bytes_per_s() as f64 / 125_000.0,
            rounds: prediction.rounds,
            sent_bytes: prediction.sent_bytes,
            total_ms: ms(before + prediction.total),
            stopped_ms: ms(prediction.downtime),
            ends: prediction.ends.map(|why| why.to_string()),
        });
    }

    /// What came of what was expected, for a person.
    pub(super) fn outcome_beside_expected(&self) -> Option<String> {
        let expected = self.prediction.as_ref()?;
        Some(format!(
            "it took {:.1} s, {:.1} s were expected; it stood still for {:.0} ms, {:.0} ms were expected",
            self.total_ms / 1000.0,
            expected.total_ms / 1000.0,
            self.stopped_ms?,
            expected.stopped_ms,
        ))
    }

    /// Adds a step of the source's.
    pub(super) fn step(&mut self, step: &str, duration: Duration) {
        self.source.push(StepTime { step: step.to_owned(), ms: ms(duration) });
    }

    /// Adds what the destination said.
    pub(super) fn add_destination(&mut self, timings: &[Timing]) {
        let step = |t: &Timing| StepTime { step: t.step.clone(), ms: f64::from(t.micros) / 1000.0 };
        self.destination = timings.iter().map(step).collect();
    }

    /// One line for a person.
    pub fn summary(&self) -> String {
        let pages: u64 = self.passes.iter().map(|p| p.data_pages).sum();
        let stopped = match self.stopped_ms {
            Some(ms) => format!(", stopped for {ms:.0} ms"),
            None => String::new(),
        };
        format!(
            "{} rounds, {pages} pages, {} MiB in {:.1} s{stopped}",
            self.passes.len().saturating_sub(1),
            self.sent_bytes >> 20,
            self.total_ms / 1000.0,
        )
    }
}

/// Measures stages and steps.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    stage: Option<(Stage, Instant)>,
    /// When the guest was asked to suspend.
    pub(super) stopped: Option<Instant>,
}

impl Clock {
    pub(super) fn start(report: &mut Report) -> Self {
        report.started_s = now_s();
        Self { started: Instant::now(), stage: None, stopped: None }
    }

    /// Since the migration began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// A stage begins, and the one before ends. The same stage again goes on.
    pub(super) fn enter(&mut self, stage: Stage, report: &mut Report) {
        if self.stage.is_none_or(|(current, _)| current != stage) {
            self.leave(report);
            self.stage = Some((stage, Instant::now()));
        }
    }

    fn leave(&mut self, report: &mut Report) {
        if let Some((stage, since)) = self.stage.take() {
            report.stages.push(StageTime { stage, ms: ms(since.elapsed()) });
        }
    }

    /// The guest runs again, wherever.
    pub(super) fn runs_again(&mut self, report: &mut Report) {
        report.stopped_ms = self.stopped.take().map(|since| ms(since.elapsed()));
    }

    pub(super) fn end(&mut self, report: &mut Report) {
        self.leave(report);
        report.total_ms = ms(self.started.elapsed());
    }
}
