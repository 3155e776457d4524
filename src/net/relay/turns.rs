//! Guesses who speaks next on a connection, so that a relay need not sleep for it.
//!
//! In most protocols the sides take turns. Once that was seen, whoever was just given something is let run (sched_yield) and then
//! tried, instead of sleeping in poll until it wakes this thread. A try that finds nothing costs a system call or two, so guessing
//! stops where it fails, and goes on when the turns have been seen again.
//!
//! How long the others run is the thread's slice, which it gives up with that (see [`super::pace`]). If it is short, the thread may
//! be back before the answer is there; if it is long, a wrong guess has put the thread at the end of a long queue. So every
//! connection finds its own: longer when guesses fail, as they do where hundreds are busy, and shorter when they come true.
//!
//! Requests a second through pen, and the 99th percentile of their latency, on 2 cores shared with the client and the server:
//!
//! | busy connections | sleep each time | guess, with the slices of Linux | guess, with slices of its own |
//! |---|---|---|---|
//! | 50 | 71,000, 1.1 ms | 115,000, 5.5 ms | 125,000, 1.1 ms |
//! | 50, and two other programs that want all of both cores | 35,000, 5.8 ms | 14,000, 7.9 ms | 42,000, 7.6 ms |
//! | 400 | 58,000, 10 ms | 95,000, 8.5 ms | 79,000, 9 ms |

use std::time::Duration;

use super::half::Way;

/// Directions that are worth trying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) up: bool,
    pub(super) down: bool,
}

impl Ready {
    fn only(way: Way) -> Self {
        Self { up: way == Way::Up, down: way == Way::Down }
    }
}

/// What a try at a direction brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Nothing to read, or no room to write.
    Nothing,
    /// Something.
    Some,
    /// As much as the buffer holds; there is likely to be more.
    Full,
    /// The end of the data, which was passed on, perhaps with the last of them.
    Finished,
}

/// What to do before sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hope {
    /// Nothing: sleep.
    None,
    /// Go on with these at once.
    Now(Ready),
    /// Let others run, then try these.
    AfterOthers(Ready),
}

/// What was seen of a connection so far.
#[derive(Debug)]
pub(super) struct Turns {
    /// Turns seen in a row, up to [`Turns::SURE`]; below that there is no guessing.
    turns: i8,
    /// Who is to speak next, if they take turns.
    expected: Option<Way>,
    /// The last step was a guess, which may be repeated so often before it counts as wrong.
    guess: Option<u8>,
    /// Grows with wrong guesses, and shrinks with right ones.
    doubt: u8,
    /// Right guesses in a row.
    right: u8,
    /// The slice is the shortest one, doubled so often.
    doublings: u8,
    /// How many turns more must be seen when guessing fails for good.
    pause: i8,
}

impl Turns {
    /// From here on a guess is worth it: more than one request was seen. Before that it is not. Where each connection carries one
    /// request, 5 % more of them get through without.
    const SURE: i8 = 2;
    /// So many turns more must be seen after one that was none.
    const MISTRUST: i8 = -4;
    /// How often others may be let run once more before a guess counts as wrong.
    const PATIENCE: u8 = 3;
    /// The shortest slice that there is (kernel/sched/syscalls.c).
    const SHORTEST: Duration = Duration::from_micros(100);
    /// The longest one is 0.8 ms; the usual one is 1.4 ms with 2 cores.
    const DOUBLINGS: u8 = 3;
    /// The doubt that a wrong guess adds to; a right one takes 1 away.
    const WRONG: u8 = 4;
    /// The doubt that makes the slice longer: four wrong guesses in a short time.
    const DOUBTFUL: u8 = 4 * Self::WRONG;
    /// So many right guesses in a row make it shorter, and twice as many for each doubling: the longer it is, the more it was
    /// needed.
    const STEADY: u8 = 6;
    /// The shortest and the longest pause, in turns; the first of them is the one that the failed guess waited for.
    const PAUSES: (i8, i8) = (2, 16);

    pub(super) fn new() -> Self {
        Self { turns: 0, expected: None, guess: None, doubt: 0, right: 0, doublings: 0, pause: Self::PAUSES.0 }
    }

    /// How long those may run that this thread lets run.
    pub(super) fn slice(&self) -> Duration {
        Self::SHORTEST * (1 << self.doublings)
    }

    /// A step has ended that moved this: what next?
    pub(super) fn step(&mut self, up: Moved, down: Moved) -> Hope {
        let nothing = up == Moved::Nothing && down == Moved::Nothing;
        if let Some(left) = self.guess.take() {
            match (nothing, self.expected) {
                (false, _) => self.was_right(),
                (true, Some(expected)) if left > 0 => {
                    self.guess = Some(left - 1);
                    return Hope::AfterOthers(Ready::only(expected));
                }
                (true, _) => self.was_wrong(),
            }
        }
        if nothing {
            return Hope::None;
        }
        self.expected = None;
        match (up, down) {
            (Moved::Full, _) | (_, Moved::Full) => {
                Hope::Now(Ready { up: up == Moved::Full, down: down == Moved::Full })
            }
            (_, Moved::Nothing) => self.guess(Way::Down),
            (Moved::Nothing, _) => self.guess(Way::Up),
            // Both speak at once.
            _ => Hope::None,
        }
    }

    /// A sleep has ended because of what was found.
    pub(super) fn woken(&mut self, found: Ready) {
        // What was slept for was no guess, even if it might have been one.
        self.guess = None;
        if let Some(expected) = self.expected.take() {
            self.turns = if found == Ready::only(expected) {
                (self.turns + 1).min(Self::SURE)
            } else {
                self.turns.min(Self::MISTRUST)
            };
        }
    }

    fn guess(&mut self, next: Way) -> Hope {
        self.expected = Some(next);
        if self.turns < Self::SURE {
            return Hope::None;
        }
        self.guess = Some(Self::PATIENCE);
        Hope::AfterOthers(Ready::only(next))
    }

    fn was_right(&mut self) {
        self.doubt = self.doubt.saturating_sub(1);
        self.right += 1;
        if self.right == Self::STEADY << self.doublings {
            self.right = 0;
            self.doublings = self.doublings.saturating_sub(1);
            self.pause = (self.pause / 2).max(Self::PAUSES.0);
        }
    }

    fn was_wrong(&mut self) {
        self.right = 0;
        self.doubt += Self::WRONG;
        if self.doubt < Self::DOUBTFUL {
            return;
        }
        if self.doublings < Self::DOUBLINGS {
            self.doublings += 1;
            self.doubt = 0;
        } else {
            // If the next guess fails too, that will be enough for the next pause.
            self.doubt -= Self::WRONG;
            self.turns = Self::SURE - self.pause;
            self.pause = (self.pause * 2).min(Self::PAUSES.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Ready = Ready { up: true, down: false };
    const DOWN: Ready = Ready { up: false, down: true };

    /// A connection whose turns have been seen.
    fn settled() -> Turns {
        let mut turns = Turns::new();
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Hope::None);
        turns.woken(DOWN);
        assert_eq!(turns.step(Moved::Nothing, Moved::Some), Hope::None);
        turns.woken(UP);
        turns
    }

    /// The client has asked, and no answer comes however often others are let run.
    fn wrong(turns: &mut Turns) {
        for _ in 0..=Turns::PATIENCE {
            let moved = if turns.guess.is_none() { Moved::Some } else { Moved::Nothing };
            assert_eq!(turns.step(moved, Moved::Nothing), Hope::AfterOthers(DOWN));
        }
        assert_eq!(turns.step(Moved::Nothing, Moved::Nothing), Hope::None);
        turns.woken(DOWN);
    }

    /// So many answers and requests, each of which came while others ran.
    fn right(turns: &mut Turns, count: u8) {
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Hope::AfterOthers(DOWN));
        for turn in 0..count {
            let (up, down, next) =
                if turn % 2 == 0 { (Moved::Nothing, Moved::Some, UP) } else { (Moved::Some, Moved::Nothing, DOWN) };
            assert_eq!(turns.step(up, down), Hope::AfterOthers(next));
        }
        turns.guess = None;
    }

    #[test]
    fn one_request_and_its_answer_are_waited_for() {
        let mut turns = Turns::new();
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Hope::None);
        turns.woken(DOWN);
        assert_eq!(turns.step(Moved::Nothing, Moved::Finished), Hope::None);
    }

    #[test]
    fn turns_are_guessed_once_they_were_seen() {
        right(&mut settled(), 5);
    }

    #[test]
    fn a_guess_that_was_slept_for_is_a_turn_seen_and_no_guess() {
        let mut turns = settled();
        for _ in 0..100 {
            assert_eq!(turns.step(Moved::Some, Moved::Nothing), Hope::AfterOthers(DOWN));
            turns.woken(DOWN);
            assert_eq!(turns.step(Moved::Nothing, Moved::Some), Hope::AfterOthers(UP));
            turns.woken(UP);
        }
        assert_eq!((turns.right, turns.doubt), (0, 0));
    }

    #[test]
    fn a_guess_that_fails_now_and_then_changes_nothing() {
        let mut turns = settled();
        for _ in 0..20 {
            wrong(&mut turns);
            right(&mut turns, Turns::WRONG);
        }
        assert_eq!(turns.slice(), Turns::SHORTEST);
    }

    #[test]
    fn guesses_that_keep_failing_let_others_run_longer_and_then_end() {
        let mut turns = settled();
        for doublings in 1..=Turns::DOUBLINGS {
            (0..4).for_each(|_| wrong(&mut turns));
            assert_eq!(turns.slice(), Turns::SHORTEST * (1 << doublings));
        }
        // Each time it fails for good, more turns must be seen before the next guess.
        for (wrongs, pause) in [(4, 2), (1, 4), (1, 8), (1, 16), (1, 16)] {
            (0..wrongs).for_each(|_| wrong(&mut turns));
            // The last of these was woken by the answer.
            for turn in 1..pause {
                let (up, down, found) =
                    if turn % 2 == 0 { (Moved::Some, Moved::Nothing, DOWN) } else { (Moved::Nothing, Moved::Some, UP) };
                assert_eq!(turns.step(up, down), Hope::None, "{turn} of {pause}");
                turns.woken(found);
            }
        }
    }

    #[test]
    fn guesses_that_come_true_bring_the_short_slice_back() {
        let mut turns = settled();
        (0..8).for_each(|_| wrong(&mut turns));
        assert_eq!(turns.slice(), Turns::SHORTEST * 4);
        for (steady, doublings) in [(4 * Turns::STEADY, 1), (2 * Turns::STEADY, 0)] {
            right(&mut turns, steady - 1);
            assert_eq!(turns.slice(), Turns::SHORTEST * (2 << doublings));
            right(&mut turns, 1);
            assert_eq!(turns.slice(), Turns::SHORTEST * (1 << doublings));
        }
    }

    #[test]
    fn traffic_that_takes_no_turns_ends_guessing() {
        let mut turns = settled();
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Hope::AfterOthers(DOWN));
        for _ in 0..=Turns::PATIENCE {
            turns.step(Moved::Nothing, Moved::Nothing);
        }
        turns.woken(UP);
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Hope::None);
    }

    #[test]
    fn traffic_both_ways_is_no_dialogue() {
        assert_eq!(settled().step(Moved::Some, Moved::Some), Hope::None);
        assert_eq!(settled().step(Moved::Some, Moved::Full), Hope::Now(DOWN));
    }
}
