//! What tests of the agent wait with.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until it is so, for as long as a busy machine may need.
pub(crate) fn await_that(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
