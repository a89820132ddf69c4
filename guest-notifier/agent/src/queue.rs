//! Who writes more than its share, and whose turn it is among those. Pure: the caller brings the time.
//!
//! The link's rate is shared out evenly; what somebody leaves of its share goes to the others. Those who
//! want more than they get wait in a queue. The first of it runs for a short turn and goes to its end;
//! then nobody of it runs until the link could have carried what was written.

use std::collections::VecDeque;
use std::time::Duration;

use crate::process::Process;

/// How long a turn is.
pub const TURN: Duration = Duration::from_millis(50);
/// The longest pause between two turns, so that nobody starves.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The part of the rate that those in the queue have at least, whatever the others take.
const LEAST_PART: f64 = 0.05;
/// Who is held goes free only below this part of its share: in its turns, with the link's sender beside it
/// and each write a fault, it writes slower than it does when it is free.
const FREE_BELOW: f64 = 0.5;
/// What one in the queue is taken to write falls no faster than to this part of it with each turn that
/// is measured: in one in which the host was busy it hardly ran.
const SLOWEST_FALL: f64 = 0.8;

/// A process and what it writes when it runs, in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Writer {
    /// Which.
    pub process: Process,
    /// How much.
    pub rate: f64,
}

/// Who has to wait, and what is left for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Those above their share.
    pub above: Vec<Writer>,
    /// What they may write together, in bytes a second.
    pub left: f64,
}

/// Shares out `allowed` bytes a second among those that are free and those that are held.
#[must_use]
pub fn judge(free: Vec<Writer>, held: Vec<Writer>, allowed: f64) -> Verdict {
    let claims = free.into_iter().map(|writer| (writer.rate, writer));
    let claims = claims.chain(held.into_iter().map(|writer| (writer.rate / FREE_BELOW, writer)));
    let mut claims: Vec<(f64, Writer)> = claims.filter(|(claim, _)| *claim > 0.0).collect();
    claims.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut left = allowed;
    let mut polite = 0;
    for (at, (claim, writer)) in claims.iter().enumerate() {
        let share = left / (claims.len() - at) as f64;
        if *claim > share {
            break;
        }
        left -= writer.rate;
        polite = at + 1;
    }
    let above = claims.split_off(polite).into_iter().map(|(_, writer)| writer).collect();
    Verdict { above, left: left.max(allowed * LEAST_PART).max(1.0) }
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Writer>,
    left: f64,
    /// Whose turn it is, and since when.
    running: Option<(Writer, Duration)>,
    /// What it has written in this turn, in bytes a second.
    in_turn: Option<f64>,
    /// When the next turn may begin.
    next_at: Duration,
}

/// Who may run now, and for how long that is so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// Nobody, or one.
    pub who: Option<Process>,
    /// Ask again then.
    pub until: Duration,
}

impl Queue {
    /// Who waits from now on. Those who did already keep their places.
    pub fn set(&mut self, verdict: Verdict) {
        self.left = verdict.left;
        let mut members = verdict.above;
        let mut take = |process: Process| {
            let at = members.iter().position(|writer| writer.process == process)?;
            Some(members.swap_remove(at))
        };
        if let Some((writer, since)) = self.running.take() {
            self.running = take(writer.process).map(|writer| (writer, since));
        }
        self.waiting = self.waiting.drain(..).filter_map(|writer| take(writer.process)).collect();
        self.waiting.extend(members);
    }

    /// All of it.
    pub fn members(&self) -> impl Iterator<Item = Writer> + '_ {
        self.running.iter().map(|(writer, _)| *writer).chain(self.waiting.iter().copied())
    }

    /// The turn begins only now: something had to be done before.
    pub fn begin_now(&mut self, now: Duration) {
        if let Some((_, since)) = &mut self.running {
            *since = now;
        }
    }

    /// What the one whose turn it is has turned out to write, in bytes a second.
    pub fn correct(&mut self, rate: f64) {
        if let Some((writer, _)) = &mut self.running {
            // A slow turn alone tells little, a fast one that it can.
            writer.rate = rate.max(writer.rate * SLOWEST_FALL);
            self.in_turn = Some(rate);
        }
    }

    /// Whose turn it is at the time `now`.
    pub fn turn(&mut self, now: Duration) -> Turn {
        if let Some((writer, since)) = self.running {
            if now < since + TURN {
                return Turn { who: Some(writer.process), until: since + TURN };
            }
            self.running = None;
            let ran = (now - since).as_secs_f64();
            let rate = self.in_turn.take().unwrap_or(writer.rate);
            let pause = ran * (rate / self.left.max(1.0) - 1.0);
            let pause = pause.clamp(0.0, LONGEST_PAUSE.as_secs_f64());
            self.next_at = now + Duration::from_secs_f64(pause);
            self.waiting.push_back(writer);
        }
        if now < self.next_at {
            return Turn { who: None, until: self.next_at };
        }
        let Some(writer) = self.waiting.pop_front() else {
            return Turn { who: None, until: now + TURN };
        };
        self.running = Some((writer, now));
        self.in_turn = None;
        Turn { who: Some(writer.process), until: now + TURN }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn writer(pid: i32, rate: f64) -> Writer {
        Writer { process: Process { pid, start: 1 }, rate }
    }

    fn pids(writers: &[Writer]) -> Vec<i32> {
        writers.iter().map(|writer| writer.process.pid).collect()
    }

    #[test]
    fn who_stays_below_its_share_is_left_alone() {
        let verdict =
            judge(vec![writer(1, 900.0), writer(2, 10.0), writer(3, 40.0)], vec![], 300.0);
        assert_eq!(pids(&verdict.above), [1]);
        assert_eq!(verdict.left, 250.0);
        assert_eq!(judge(vec![writer(1, 900.0), writer(2, 10.0)], vec![], 1000.0).above, []);
    }

    #[test]
    fn what_one_leaves_goes_to_the_others() {
        // An even third is 100; with what the first leaves, each of the others may have 140.
        let verdict =
            judge(vec![writer(1, 20.0), writer(2, 140.0), writer(3, 500.0)], vec![], 300.0);
        assert_eq!(pids(&verdict.above), [3]);
        assert_eq!(verdict.left, 140.0);
    }

    #[test]
    fn who_is_held_goes_free_well_below_its_share() {
        let of_held = |rate| judge(vec![writer(1, 10.0)], vec![writer(2, rate)], 210.0).above;
        assert_eq!(pids(&of_held(110.0)), [2]);
        assert_eq!(of_held(90.0), []);
        assert_eq!(of_held(0.0), []);
    }

    #[test]
    fn nobody_starves() {
        let verdict = judge(vec![writer(1, 1000.0), writer(2, 1e12)], vec![], 0.0);
        assert_eq!(verdict.above.len(), 2);
        assert!(verdict.left > 0.0);
        let mut queue = Queue::default();
        queue.set(verdict);
        let (mut now, mut ran) = (Duration::ZERO, HashMap::new());
        while now < Duration::from_secs(40) {
            let turn = queue.turn(now);
            if let Some(process) = turn.who {
                *ran.entry(process.pid).or_insert(0) += 1;
            }
            now = turn.until;
        }
        assert!(ran[&1] >= 3 && ran[&2] >= 3, "{ran:?}");
    }

    #[test]
    fn who_writes_more_in_its_turn_than_it_was_thought_to_pays_for_that() {
        let mut queue = Queue::default();
        queue.set(judge(vec![writer(1, 900.0)], vec![], 100.0));
        assert!(queue.turn(Duration::ZERO).who.is_some());
        queue.correct(2100.0);
        let pause = queue.turn(TURN);
        assert_eq!(pause, Turn { who: None, until: TURN + TURN * 20 });
        assert_eq!(queue.members().next().map(|writer| writer.rate), Some(2100.0));
    }

    #[test]
    fn a_slow_turn_lets_nobody_go() {
        let mut queue = Queue::default();
        queue.set(judge(vec![writer(1, 1000.0)], vec![], 500.0));
        let turn = queue.turn(Duration::ZERO);
        assert!(turn.who.is_some());
        queue.correct(10.0);
        queue.turn(turn.until);
        let waiting: Vec<Writer> = queue.members().collect();
        assert_eq!(waiting, [writer(1, 800.0)]);
        assert_eq!(pids(&judge(vec![], waiting, 500.0).above), [1]);
    }

    #[test]
    fn a_turn_that_begins_late_is_as_long_as_others() {
        let mut queue = Queue::default();
        queue.set(judge(vec![writer(1, 900.0)], vec![], 100.0));
        let who = queue.turn(Duration::ZERO).who;
        queue.begin_now(TURN * 3);
        assert_eq!(queue.turn(TURN * 3), Turn { who, until: TURN * 4 });
        assert_eq!(queue.turn(TURN * 4).until, TURN * 4 + TURN * 8);
    }

    #[test]
    fn who_is_new_waits_behind_the_others() {
        let mut queue = Queue::default();
        queue.set(judge(vec![writer(1, 900.0), writer(2, 900.0)], vec![], 100.0));
        let first = queue.turn(Duration::ZERO).who.unwrap().pid;
        let second = 3 - first;
        let held = vec![writer(2, 800.0), writer(1, 800.0)];
        queue.set(judge(vec![writer(3, 900.0)], held, 100.0));
        let order: Vec<i32> = queue.members().map(|writer| writer.process.pid).collect();
        assert_eq!(order, [first, second, 3]);
        queue.set(judge(vec![], vec![writer(3, 900.0)], 100.0));
        assert_eq!(queue.members().count(), 1);
    }

    proptest! {
        /// Over a while those in the queue write what is left for them, within a turn or two, and
        /// everybody gets as many turns as the others.
        #[test]
        fn the_queue_keeps_to_what_is_left(
            rates in prop::collection::vec(1e5..1e8_f64, 1..6), allowed in 1e5..1e6_f64,
        ) {
            let writers = rates.iter().enumerate().map(|(at, rate)| writer(at as i32 + 2, *rate));
            let verdict = judge(writers.collect(), vec![], allowed);
            prop_assume!(!verdict.above.is_empty());
            let left = verdict.left;
            let slowest_pause = verdict.above.iter().map(|w| w.rate / left).fold(0.0, f64::max);
            // Within the longest pause.
            prop_assume!(slowest_pause < 100.0);
            let by_pid: HashMap<i32, f64> =
                verdict.above.iter().map(|w| (w.process.pid, w.rate)).collect();
            let mut queue = Queue::default();
            queue.set(verdict);
            let (mut now, mut written, mut turns) = (Duration::ZERO, 0.0, HashMap::new());
            let end = Duration::from_secs(300);
            while now < end {
                let turn = queue.turn(now);
                if let Some(process) = turn.who {
                    written += by_pid[&process.pid] * (turn.until - now).as_secs_f64();
                    *turns.entry(process.pid).or_insert(0_u32) += 1;
                }
                prop_assert!(turn.until > now);
                now = turn.until;
            }
            let rate = written / now.as_secs_f64();
            prop_assert!(rate <= left * 1.05 + slowest_pause, "{} of {}", rate, left);
            let (least, most) = (turns.values().min(), turns.values().max());
            prop_assert!(most.unwrap() - least.unwrap() <= 1, "{:?}", turns);
            prop_assert_eq!(turns.len(), by_pid.len());
        }
    }
}
