//! What a migration tells, and how it is told to stop.

use std::fmt;
use std::sync::Arc;

use super::stage::{Stage, Steps};
use crate::migration::Cancel;
use crate::migration::progress::Progress;

/// Something to show.
#[derive(Clone, Debug)]
pub enum Event {
    /// A stage begins.
    Stage(Stage),
    /// How far the transfer of memory is.
    Progress(Progress),
    /// A line for a person, in xl's words where xl has some.
    Line(String),
}

/// The strings that a migration hangs on.
#[derive(Clone)]
pub struct Control {
    /// Somebody wants it to end. Heard until the handover.
    pub asked: Cancel,
    /// Called at each step.
    pub steps: Steps,
    /// Called with what there is to show.
    pub show: Arc<dyn Fn(&Event) + Send + Sync>,
}

impl Control {
    /// Nobody watches, nobody interferes.
    pub fn quiet() -> Self {
        Self { asked: Cancel::default(), steps: Steps::none(), show: Arc::new(|_| {}) }
    }

    /// Shows a line.
    pub fn line(&self, text: impl Into<String>) {
        (self.show)(&Event::Line(text.into()));
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("asked", &self.asked).finish_non_exhaustive()
    }
}
