//! The rule of Xen's own tools.

use super::{Decision, History, Next, Policy, Why};

/// Stops after five live rounds, or as soon as fewer than 50 pages are dirty, as
/// `simple_precopy_policy` of Xen's own tools does. Never limits and never throttles.
///
/// Unlike Xen's, a remainder of fewer than 50 pages is not sent once more before the suspend: it
/// travels in the last pass, where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Stock;

const MAX_ROUNDS: usize = 5;
const FEW_PAGES: u64 = 50;

impl Policy for Stock {
    fn decide(&self, history: &History<'_>) -> Decision {
        let dirty_pages = history.rounds.last().and_then(|round| round.dirtied_pages);
        if dirty_pages.is_some_and(|pages| pages < FEW_PAGES) {
            Decision::StopAndCopy(Why::FewPagesLeft)
        } else if history.rounds.len() >= MAX_ROUNDS {
            Decision::StopAndCopy(Why::EnoughRounds)
        } else {
            Decision::Continue(Next::default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Round;
    use super::*;

    fn ask(rounds: usize, dirtied_pages: Option<u64>) -> Decision {
        let rounds = vec![Round { dirtied_pages, ..Round::default() }; rounds];
        Stock.decide(&History { rounds: &rounds, ..History::default() })
    }

    #[test]
    fn stops_on_few_dirty_pages_or_after_five_rounds() {
        let next = Decision::Continue(Next::default());
        assert_eq!(ask(1, None), next);
        assert_eq!(ask(1, Some(50)), next);
        assert_eq!(ask(1, Some(49)), Decision::StopAndCopy(Why::FewPagesLeft));
        assert_eq!(ask(4, Some(1 << 30)), next);
        assert_eq!(ask(5, None), Decision::StopAndCopy(Why::EnoughRounds));
    }
}
