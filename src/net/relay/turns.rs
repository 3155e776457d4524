//! Who speaks next on a connection, and what to do until then.
//!
//! In most protocols the two sides take turns. Once that was seen, the relay yields the processor (sched_yield(2)) after it has
//! passed something on, and then tries to read the answer: on a busy host the peer ran meanwhile, and neither side had to be
//! woken. Only when that brings nothing does it poll.
//!
//! A yield costs a system call. One that brought nothing is followed by a pause without yields, which doubles each time. Whether yields
//! pay at all at the moment is for [`super::yields`] to say.

use super::half::{Moved, Way};

/// Directions that are worth trying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) up: bool,
    pub(super) down: bool,
}

impl Ready {
    pub(super) fn only(way: Way) -> Self {
        Self { up: way == Way::Up, down: way == Way::Down }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Try these at once.
    Try(Ready),
    /// Yield, then try this one.
    Yield(Way),
    /// Wait for both.
    Poll,
}

/// What was seen of a connection so far.
#[derive(Debug)]
pub(super) struct Turns {
    /// Turns seen in a row, up to [`Turns::SURE`]. Below that nothing is guessed.
    seen: i8,
    /// Who is to speak next, if they take turns.
    expected: Option<Way>,
    /// The last step followed a yield.
    yielded: bool,
    /// How many turns still pass without a yield.
    pause: u8,
    /// How long the next pause will be, in turns.
    next_pause: u8,
    /// Yields in a row that found the answer.
    right: u8,
}

impl Turns {
    /// From here on a guess is worth it. Connections that carry one request never come so far.
    const SURE: i8 = 2;
    /// So many turns more must be seen after something that was none.
    const MISTRUST: i8 = -4;
    /// The shortest and the longest pause, in turns.
    const PAUSES: (u8, u8) = (2, 16);
    /// So many yields that find the answer, in a row, halve the next pause.
    const STEADY: u8 = 16;

    pub(super) fn new() -> Self {
        Self { seen: 0, expected: None, yielded: false, pause: 0, next_pause: Self::PAUSES.0, right: 0 }
    }

    /// The relay has yielded.
    pub(super) fn yielded(&mut self) {
        self.yielded = true;
    }

    /// A step has ended that moved this.
    pub(super) fn step(&mut self, up: Moved, down: Moved) -> Next {
        let yielded = std::mem::take(&mut self.yielded);
        if (up, down) == (Moved::Nothing, Moved::Nothing) {
            if yielded {
                self.begin_pause();
            }
            return Next::Poll;
        }
        if yielded {
            self.right += 1;
            if self.right == Self::STEADY {
                self.right = 0;
                self.next_pause = (self.next_pause / 2).max(Self::PAUSES.0);
            }
        }
        self.expected = None;
        match (up, down) {
            (Moved::Full, _) | (_, Moved::Full) => {
                Next::Try(Ready { up: up == Moved::Full, down: down == Moved::Full })
            }
            (_, Moved::Nothing) => self.expect(Way::Down),
            (Moved::Nothing, _) => self.expect(Way::Up),
            // Both speak at once.
            _ => Next::Poll,
        }
    }

    /// A wait for both has ended because of what was found.
    pub(super) fn woken(&mut self, found: Ready) {
        if let Some(expected) = self.expected.take() {
            self.seen = if found == Ready::only(expected) {
                (self.seen + 1).min(Self::SURE)
            } else {
                self.seen.min(Self::MISTRUST)
            };
        }
    }

    fn expect(&mut self, next: Way) -> Next {
        self.expected = Some(next);
        if self.seen < Self::SURE {
            return Next::Poll;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return Next::Poll;
        }
        Next::Yield(next)
    }

    fn begin_pause(&mut self) {
        self.right = 0;
        self.pause = self.next_pause;
        self.next_pause = (self.next_pause * 2).min(Self::PAUSES.1);
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
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Next::Poll);
        turns.woken(DOWN);
        assert_eq!(turns.step(Moved::Nothing, Moved::Some), Next::Poll);
        turns.woken(UP);
        turns
    }

    #[test]
    fn one_request_and_its_answer_are_polled_for() {
        let mut turns = Turns::new();
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Next::Poll);
        turns.woken(DOWN);
        assert_eq!(turns.step(Moved::Nothing, Moved::Finished), Next::Poll);
    }

    #[test]
    fn turns_that_were_seen_are_yielded_for() {
        let mut turns = settled();
        for _ in 0..100 {
            assert_eq!(turns.step(Moved::Some, Moved::Nothing), Next::Yield(Way::Down));
            turns.yielded();
            assert_eq!(turns.step(Moved::Nothing, Moved::Some), Next::Yield(Way::Up));
            turns.yielded();
        }
    }

    /// The side whose turn it is speaks.
    fn speak(turns: &mut Turns) -> Next {
        match turns.expected {
            Some(Way::Up) => turns.step(Moved::Some, Moved::Nothing),
            _ => turns.step(Moved::Nothing, Moved::Some),
        }
    }

    /// Nothing came of a yield, and the answer wakes the relay.
    fn wake(turns: &mut Turns) {
        let expected = turns.expected.unwrap();
        assert_eq!(turns.step(Moved::Nothing, Moved::Nothing), Next::Poll);
        turns.woken(Ready::only(expected));
        turns.expected = Some(expected);
    }

    /// How many turns pass before the next yield.
    fn pause(turns: &mut Turns) -> usize {
        for turn in 0.. {
            if let Next::Yield(_) = speak(turns) {
                return turn;
            }
        }
        unreachable!()
    }

    #[test]
    fn yields_in_vain_become_rare() {
        let mut turns = settled();
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Next::Yield(Way::Down));
        for expected in [2, 4, 8, 16, 16] {
            turns.yielded();
            wake(&mut turns);
            assert_eq!(pause(&mut turns), expected);
        }
    }

    #[test]
    fn yields_that_find_the_answer_shorten_the_next_pause() {
        let mut turns = settled();
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Next::Yield(Way::Down));
        for _ in 0..3 {
            turns.yielded();
            wake(&mut turns);
            pause(&mut turns);
        }
        for _ in 0..Turns::STEADY {
            turns.yielded();
            assert_eq!(pause(&mut turns), 0);
        }
        turns.yielded();
        wake(&mut turns);
        assert_eq!(pause(&mut turns), 8);
    }

    #[test]
    fn traffic_that_takes_no_turns_ends_guessing() {
        let mut turns = settled();
        turns.step(Moved::Some, Moved::Nothing);
        assert_eq!(turns.step(Moved::Nothing, Moved::Nothing), Next::Poll);
        turns.woken(UP);
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Next::Poll);
        assert_eq!(settled().step(Moved::Some, Moved::Some), Next::Poll);
        assert_eq!(settled().step(Moved::Some, Moved::Full), Next::Try(DOWN));
    }
}
