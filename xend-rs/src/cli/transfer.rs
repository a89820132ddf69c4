//! What the commands that move memory have in common: what they show, and how they are stopped.

use std::io;
use std::sync::Arc;

use super::interruption::Interruption;
use super::painter::Painter;
use super::progress::Screen;
use crate::toolstack::migrate::{Control, Event, Steps};

/// Shows lines and progress on the screen; SIGINT, SIGQUIT, SIGTERM and SIGHUP cancel.
///
/// # Errors
/// If the signals cannot be handled.
pub(super) fn control(screen: Screen) -> io::Result<Control> {
    Ok(control_under(screen, &Interruption::await_signals()?))
}

/// The same for what has an end before the process has.
pub(super) fn control_under(mut screen: Screen, interruption: &Interruption) -> Control {
    let painter = Painter::new(move |event: &Event| screen.show(event));
    let show = move |event: &Event| painter.show(event);
    let asked = interruption.cancel.clone();
    Control { asked, steps: Steps::from_environment(), show: Arc::new(show) }
}
