//! What the workload in a guest can be asked and told, and what it answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Guest;
use crate::error::{LabError, Result};

/// What a process of a guest has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessFigures {
    /// Pages written or read.
    pub done_pages: u64,
    /// Since it started, by its own clock.
    pub uptime: Duration,
    /// The longest time between two turns of its own.
    pub longest_gap: Duration,
}

/// The result of one pass over all of the workload's memory.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyReport {
    /// Pages looked at.
    pub pages_verified: u64,
    /// Pages that did not hold what was last written to them.
    pub pages_wrong: u64,
    /// All the workload said.
    pub answer: Value,
}

impl Guest {
    /// Whether the workload answers an echo within `timeout`.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn answers(&self, timeout: Duration) -> Result<bool> {
        let probe = "echo are you there";
        let until = Instant::now() + timeout;
        Ok(self.ask(probe, until, |answer| answer == probe.as_bytes())?.is_some())
    }

    /// The workload's figures: whatever it puts into its JSON object.
    ///
    /// # Errors
    /// When the guest does not answer within 10 s.
    pub fn stats(&self) -> Result<Value> {
        self.ask_json("stats", Duration::from_secs(10))
    }

    /// Has the workload look at all of its memory.
    ///
    /// # Errors
    /// When the result does not come within `timeout`. Wrong pages are no error.
    pub fn verify(&self, timeout: Duration) -> Result<VerifyReport> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // The workload starts one pass per identifier however often it is asked.
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let answer = self.ask_json(&format!("verify {id}"), timeout)?;
        let number = |field: &str| {
            answer.get(field).and_then(Value::as_u64).ok_or_else(|| LabError::Guest {
                guest: self.name.clone(),
                reason: format!("answered `{answer}` to verify"),
            })
        };
        Ok(VerifyReport {
            pages_verified: number("pages_verified")?,
            pages_wrong: number("pages_wrong")?,
            answer,
        })
    }

    /// Makes unrest in the guest, so often a second, until it is told otherwise; 0 ends it. Processes
    /// and threads come and go, and the balloon moves: see the workload's README.
    ///
    /// # Errors
    /// When the guest does not answer within 10 s.
    pub fn churn(&self, per_s: u32) -> Result<()> {
        self.ask_ok(&format!("churn {per_s}"))
    }

    /// What a process of the guest has done, by its port. A process that something holds still
    /// does not answer: `None` if it has not by then.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn process(&self, port: u16, timeout: Duration) -> Result<Option<ProcessFigures>> {
        let until = Instant::now() + timeout;
        let answer =
            self.ask_port(port, "how are you", until, |answer| answer.starts_with(b"{"))?;
        let Some(answer) = answer else { return Ok(None) };
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let number = |field: &str| {
            answer[field].as_u64().ok_or_else(|| LabError::Guest {
                guest: self.name.clone(),
                reason: format!("its process at port {port} answered {answer}"),
            })
        };
        Ok(Some(ProcessFigures {
            done_pages: number("done_pages")?,
            uptime: Duration::from_millis(number("uptime_ms")?),
            longest_gap: Duration::from_millis(number("longest_gap_ms")?),
        }))
    }

    /// Has the workload write so many pages a second from now on, chosen from the first `hot_mib` MiB of
    /// its memory.
    ///
    /// # Errors
    /// When the guest refuses or does not answer within 10 s.
    pub fn set_writes(&self, writes_per_s: u32, hot_mib: u32) -> Result<()> {
        let hot_pages = u64::from(hot_mib) << 8;
        self.ask_ok(&format!("writes {writes_per_s} {hot_pages}"))
    }
}
