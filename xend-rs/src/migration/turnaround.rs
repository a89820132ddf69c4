//! From the end of one round to the first page of the next.
//!
//! When a round has ended Xen has to be asked what was written, pages have to be put in order and mapped.
//! The link needs something to do in that time, or each round is longer by it; but what waits in a queue
//! when the guest is suspended makes it wait. So as much is left in the queue as takes as long as it took
//! the last time.

use std::time::Duration;

/// At least so much is left.
const LEAST: Duration = Duration::from_millis(50);
/// And no more: longer than that only a host takes that has too much to do.
const MOST: Duration = Duration::from_millis(200);

/// How long it takes. Times are from the beginning of the save.
#[derive(Debug, Default)]
pub(super) struct Turnaround {
    round_ended: Option<Duration>,
    took: Duration,
}

impl Turnaround {
    /// The queue holds no more than [`ahead`](Self::ahead) now.
    pub(super) fn round_ended(&mut self, at: Duration) {
        self.round_ended = Some(at);
    }

    /// The first pages of the next round could be read.
    pub(super) fn round_began(&mut self, at: Duration) {
        if let Some(ended) = self.round_ended.take() {
            self.took = at.saturating_sub(ended);
        }
    }

    /// What may wait in the queue when a round ends, as time at the receiver's rate.
    pub(super) fn ahead(&self) -> Duration {
        self.took.clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_left_as_takes_as_long_as_the_last_time() {
        let ms = Duration::from_millis;
        let mut turnaround = Turnaround::default();
        let mut ahead = |began, ended| {
            turnaround.round_began(ms(began));
            let ahead = turnaround.ahead();
            turnaround.round_ended(ms(ended));
            ahead
        };
        // The first is not the next of any.
        assert_eq!(ahead(3000, 9000), LEAST);
        assert_eq!(ahead(9120, 12_000), ms(120));
        assert_eq!(ahead(12_010, 13_000), LEAST);
        assert_eq!(ahead(15_000, 16_000), MOST);
    }
}
