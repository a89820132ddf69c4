//! Waiting for more than one page at a time.
//!
//! The kernel wakes whoever waits for a pipe as soon as one page of it is free, and whoever waits
//! for a socket with every packet. On a link that is slower than the host that is a switch between
//! processes for each few KiB, and soon most of what a migration costs. So when a descriptor is not
//! ready, we first rest for as long as it will take, at the rate seen so far, until a worthwhile
//! amount can be moved at once.

use std::thread;
use std::time::{Duration, Instant};

/// The longest rest: the longest that a faster peer can be kept waiting once.
const MAX_REST: Duration = Duration::from_millis(40);
/// A shorter rest costs more than it saves.
const MIN_REST: Duration = Duration::from_millis(1);

/// The rate at which the other end of a descriptor takes or gives, measured from one moment at
/// which it was not ready to the next.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    moved_bytes: usize,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), moved_bytes: 0 }
    }

    /// Notes that a call moved `bytes`.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.moved_bytes += bytes;
    }

    /// To be called when the descriptor is not ready: rests until, by the rate so far, it has moved
    /// on by `wanted_bytes`.
    pub(super) fn rest(&mut self, wanted_bytes: usize) {
        let now = Instant::now();
        if let Some(rest) = rest_for(wanted_bytes, self.moved_bytes, now - self.since) {
            thread::sleep(rest);
        }
        (self.since, self.moved_bytes) = (now, 0);
    }
}

/// How long to rest for `wanted_bytes` where `moved_bytes` took `elapsed`, if it is worth it. Where
/// nothing moved nothing is known, and the descriptor itself must say when it is ready.
fn rest_for(wanted_bytes: usize, moved_bytes: usize, elapsed: Duration) -> Option<Duration> {
    if moved_bytes == 0 {
        return None;
    }
    let rest = elapsed.mul_f64(wanted_bytes as f64 / moved_bytes as f64).min(MAX_REST);
    (rest >= MIN_REST).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_as_long_as_the_rate_suggests_and_no_longer_than_allowed() {
        let ms = Duration::from_millis;
        // 64 KiB in 10 ms: 32 KiB take 5 ms.
        assert_eq!(rest_for(32 << 10, 64 << 10, ms(10)), Some(ms(5)));
        // A slow link is looked at again soon, for it may become faster.
        assert_eq!(rest_for(64 << 10, 1 << 10, ms(100)), Some(MAX_REST));
        // A fast one is not kept waiting at all.
        assert_eq!(rest_for(64 << 10, 1 << 30, ms(1000)), None);
        assert_eq!(rest_for(64 << 10, 0, ms(50)), None);
    }
}
