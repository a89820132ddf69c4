//! What a command, silence or an arrival means. Pure: the caller brings the time.

use std::time::Duration;

use guest_notifier::protocol::{Answer, Command, OURS, PrepareOrder, Reply, Share, State, Word};

/// Something to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say this.
    Answer(Answer),
    /// Begin to prepare; the result comes by [`Machine::prepared`].
    Prepare(PrepareOrder),
    /// Hold those that write more than their share.
    Share(Share),
    /// Let none run that is held, and answer this command with how many there are.
    Still {
        /// The command.
        number: u32,
    },
    /// Release everything, give up preparing, restore the balloon.
    Release,
    /// Publish where we are, and why.
    Show(State, &'static str),
}

/// The agent's states.
#[derive(Debug)]
pub struct Machine {
    state: State,
    /// The last command, which is not carried out twice.
    known: Option<u32>,
    /// The command that is being prepared for.
    preparing: Option<u32>,
    beat: Option<Vec<u8>>,
    heard_at: Duration,
    deadman: Duration,
}

impl Machine {
    /// Idle. A command that is there already is an old one.
    #[must_use]
    pub fn new(command: Option<&[u8]>) -> Self {
        Self {
            state: State::Idle,
            known: command.and_then(|bytes| Command::parse(bytes).ok()).map(|c| c.number),
            preparing: None,
            beat: None,
            heard_at: Duration::ZERO,
            deadman: Duration::ZERO,
        }
    }

    /// Where we are.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// What the host's nodes hold at the time `now`.
    pub fn look(
        &mut self,
        now: Duration,
        command: Option<&[u8]>,
        beat: Option<&[u8]>,
    ) -> Vec<Action> {
        let command = command
            .and_then(|bytes| Command::parse(bytes).ok())
            .filter(|command| OURS.contains(command.version));
        let Some(command) = command else {
            return self.leave("the host has ended it");
        };
        if self.beat.as_deref() != beat {
            self.beat = beat.map(<[u8]>::to_vec);
            self.heard_at = now;
        }
        if self.known != Some(command.number) {
            self.known = Some(command.number);
            self.heard_at = now;
            return self.obey(&command);
        }
        if now.saturating_sub(self.heard_at) > self.deadman {
            return self.leave("the host is silent");
        }
        Vec::new()
    }

    /// Preparing has come to an end.
    pub fn prepared(&mut self, reply: Reply) -> Vec<Action> {
        let Some(number) = self.preparing.take() else { return Vec::new() };
        self.state = State::Prepared;
        vec![Action::Show(self.state, ""), Action::Answer(Answer { number, reply })]
    }

    /// Our nodes are gone: we are somewhere else.
    pub fn moved(&mut self) -> Vec<Action> {
        self.known = None;
        self.beat = None;
        self.leave("arrived")
    }

    fn obey(&mut self, command: &Command) -> Vec<Action> {
        let number = command.number;
        let answer = |reply| Action::Answer(Answer { number, reply });
        self.preparing = None;
        match command.word {
            Word::Prepare(order) => {
                let was = self.state;
                self.state = State::Preparing;
                self.preparing = Some(number);
                self.deadman = Duration::from_secs(order.deadman_s.into());
                // Somebody begins anew: what is held belongs to an attempt that is over.
                let release = (was != State::Idle).then_some(Action::Release);
                let rest =
                    [Action::Show(self.state, ""), answer(Reply::Seen), Action::Prepare(order)];
                release.into_iter().chain(rest).collect()
            }
            Word::PreCopy(share) => {
                self.state = State::PreCopy;
                self.deadman = Duration::from_secs(share.deadman_s.into());
                vec![Action::Share(share), Action::Show(self.state, ""), answer(Reply::DONE)]
            }
            Word::Suspend if self.state == State::Idle => vec![answer(Reply::DONE)],
            Word::Suspend => {
                self.state = State::Suspending;
                vec![Action::Still { number }, Action::Show(self.state, "")]
            }
            Word::Resume | Word::Cancel => {
                let why = if command.word == Word::Resume { "resumed" } else { "cancelled" };
                let mut actions = self.leave(why);
                actions.push(answer(Reply::DONE));
                actions
            }
        }
    }

    fn leave(&mut self, why: &'static str) -> Vec<Action> {
        if self.state == State::Idle {
            return Vec::new();
        }
        self.state = State::Idle;
        self.preparing = None;
        vec![Action::Release, Action::Show(self.state, why)]
    }
}

#[cfg(test)]
mod tests {
    use guest_notifier::protocol::Cache;
    use proptest::prelude::*;

    use super::*;

    const ORDER: PrepareOrder = PrepareOrder {
        deadline_ms: 1000,
        deadman_s: 5,
        cache: Cache::Drop,
        balloon: true,
        zero: false,
        port: None,
    };
    const SHARE: Share = Share { rate_kib_s: 100, deadman_s: 5 };

    fn text(number: u32, word: Word) -> Vec<u8> {
        Command { version: 1, number, word }.to_string().into_bytes()
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn is_released(actions: &[Action]) -> bool {
        actions.contains(&Action::Release)
    }

    #[test]
    fn the_whole_way_of_a_move() {
        let mut machine = Machine::new(None);
        let prepare = text(1, Word::Prepare(ORDER));
        let actions = machine.look(seconds(0), Some(&prepare), None);
        assert_eq!(
            actions,
            [
                Action::Show(State::Preparing, ""),
                Action::Answer(Answer { number: 1, reply: Reply::Seen }),
                Action::Prepare(ORDER),
            ]
        );
        assert_eq!(machine.look(seconds(1), Some(&prepare), None), []);
        let answered = machine.prepared(Reply::DONE);
        assert!(answered.contains(&Action::Answer(Answer { number: 1, reply: Reply::DONE })));
        assert_eq!(machine.prepared(Reply::DONE), [], "an answer is given once");

        let actions = machine.look(seconds(2), Some(&text(2, Word::PreCopy(SHARE))), None);
        assert_eq!(actions[0], Action::Share(SHARE));
        let actions = machine.look(seconds(3), Some(&text(3, Word::Suspend)), None);
        assert_eq!(actions[0], Action::Still { number: 3 });
        assert_eq!(machine.state(), State::Suspending);

        let actions = machine.moved();
        assert_eq!(actions, [Action::Release, Action::Show(State::Idle, "arrived")]);
        assert_eq!(machine.moved(), []);
    }

    #[test]
    fn cancelling_resuming_and_vanishing_release() {
        for end in [Some(Word::Cancel), Some(Word::Resume), None] {
            let mut machine = Machine::new(None);
            machine.look(seconds(0), Some(&text(1, Word::PreCopy(SHARE))), None);
            let command = end.map(|word| text(2, word));
            let actions = machine.look(seconds(1), command.as_deref(), None);
            assert!(is_released(&actions), "{end:?}: {actions:?}");
            assert_eq!(machine.state(), State::Idle);
        }
    }

    #[test]
    fn silence_releases_and_a_beat_breaks_it() {
        let mut machine = Machine::new(None);
        let command = text(1, Word::PreCopy(SHARE));
        machine.look(seconds(0), Some(&command), None);
        assert_eq!(machine.look(seconds(4), Some(&command), Some(b"1")), []);
        assert_eq!(machine.look(seconds(9), Some(&command), Some(b"1")), []);
        assert!(is_released(&machine.look(seconds(10), Some(&command), Some(b"1"))));
        // The same command is not carried out again, a new one is.
        assert_eq!(machine.look(seconds(11), Some(&command), Some(b"2")), []);
        let again = machine.look(seconds(12), Some(&text(2, Word::PreCopy(SHARE))), Some(b"2"));
        assert_eq!(again[0], Action::Share(SHARE));
    }

    #[test]
    fn an_old_command_is_not_carried_out() {
        let command = text(9, Word::PreCopy(SHARE));
        let mut machine = Machine::new(Some(&command));
        assert_eq!(machine.look(seconds(0), Some(&command), None), []);
        assert_eq!(machine.state(), State::Idle);
    }

    #[test]
    fn another_version_is_nobody() {
        let mut machine = Machine::new(None);
        machine.look(seconds(0), Some(&text(1, Word::PreCopy(SHARE))), None);
        assert!(is_released(&machine.look(seconds(1), Some(b"2 2 suspend"), None)));
        assert_eq!(
            machine.look(seconds(2), Some(b"2 3 pre-copy rate_kib_s=1 deadman_s=5"), None),
            []
        );
    }

    #[test]
    fn a_new_attempt_releases_what_the_old_one_held() {
        let mut machine = Machine::new(None);
        machine.look(seconds(0), Some(&text(1, Word::PreCopy(SHARE))), None);
        let actions = machine.look(seconds(1), Some(&text(2, Word::Prepare(ORDER))), None);
        assert_eq!(actions[0], Action::Release);
    }

    #[test]
    fn a_suspend_out_of_the_blue_holds_nobody() {
        let mut machine = Machine::new(None);
        let actions = machine.look(seconds(0), Some(&text(1, Word::Suspend)), None);
        assert_eq!(actions, [Action::Answer(Answer { number: 1, reply: Reply::DONE })]);
    }

    proptest! {
        /// Whatever the host does: what was begun is released in the end, at the latest when it has
        /// been silent for the longest time there is.
        #[test]
        fn nothing_is_held_for_ever(
            steps in prop::collection::vec((0..7_u8, 0..90_u64, any::<bool>()), 0..40)
        ) {
            let mut machine = Machine::new(None);
            let (mut now, mut number, mut busy) = (seconds(0), 0, false);
            let mut command = None;
            let mut check = |actions: &[Action], state: State| {
                for action in actions {
                    match action {
                        Action::Prepare(_) | Action::Share(_) => busy = true,
                        Action::Release => busy = false,
                        _ => {}
                    }
                }
                assert!(!busy || state != State::Idle, "idle, and something is held");
            };
            for (what, pause, fresh) in steps {
                now += seconds(pause);
                number += u32::from(fresh);
                let word = match what {
                    0 => Some(Word::Prepare(ORDER)),
                    1 => Some(Word::PreCopy(SHARE)),
                    2 => Some(Word::Suspend),
                    3 => Some(Word::Cancel),
                    4 => None,
                    5 => { let a = machine.moved(); check(&a, machine.state()); continue }
                    _ => { let a = machine.prepared(Reply::DONE); check(&a, machine.state()); continue }
                };
                command = word.map(|word| text(number, word));
                let actions = machine.look(now, command.as_deref(), Some(&[b'0' + (number % 10) as u8]));
                check(&actions, machine.state());
            }
            let beat = [b'0' + (number % 10) as u8];
            let actions = machine.look(now + seconds(61), command.as_deref(), Some(&beat));
            check(&actions, machine.state());
            let actions = machine.look(now + seconds(200), command.as_deref(), Some(&beat));
            check(&actions, machine.state());
            prop_assert_eq!(machine.state(), State::Idle);
        }
    }
}
