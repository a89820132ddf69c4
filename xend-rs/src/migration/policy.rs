//! When to stop copying a running guest and suspend it.
//!
//! A policy is a pure function from what was measured to what to do next, so that it can be tested,
//! replayed over a recorded run and exchanged without touching the engine.

/// What is known when the policy is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Live rounds whose pages have been handed to the stream.
    pub rounds_done: u32,
    /// Pages written by the guest since the last round began, once they were counted; `None` right
    /// after a round, before Xen was asked for them.
    pub dirty_pages: Option<u64>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Copy another round while the guest runs.
    Continue,
    /// Suspend the guest and send the rest.
    StopAndCopy,
}

/// A stop rule, as the engine is given it.
pub type Policy = fn(&History) -> Decision;

/// The rule of Xen's own tools (`simple_precopy_policy`): stop after five live rounds, or as soon
/// as fewer than 50 pages are dirty.
///
/// Unlike Xen's, a remainder of fewer than 50 pages is not sent once more before the suspend: it
/// travels in the last pass, where it belongs.
pub fn stock(history: &History) -> Decision {
    const MAX_ROUNDS: u32 = 5;
    const FEW_PAGES: u64 = 50;
    let few = history.dirty_pages.is_some_and(|pages| pages < FEW_PAGES);
    if few || history.rounds_done >= MAX_ROUNDS {
        Decision::StopAndCopy
    } else {
        Decision::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(rounds_done: u32, dirty_pages: Option<u64>) -> Decision {
        stock(&History { rounds_done, dirty_pages })
    }

    #[test]
    fn stock_rule_stops_on_few_dirty_pages_or_after_five_rounds() {
        assert_eq!(ask(1, None), Decision::Continue);
        assert_eq!(ask(1, Some(50)), Decision::Continue);
        assert_eq!(ask(1, Some(49)), Decision::StopAndCopy);
        assert_eq!(ask(4, Some(1 << 30)), Decision::Continue);
        assert_eq!(ask(5, None), Decision::StopAndCopy);
    }
}
