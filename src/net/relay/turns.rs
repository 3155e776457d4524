//! Who speaks next on a connection, and what to do until then.
//!
//! In most protocols the two sides take turns. Once that was seen, the relay yields the processor (sched_yield(2)) after it has
//! passed something on, and tries to read the answer: on a busy host the peer ran meanwhile, and neither side had to be woken.
//! If the answer is not there, it sleeps in a read of that side alone (recv(2) with a time limit), which is one system call where
//! poll(2) and a read are two. Only when that brings nothing does it poll both sides.
//!
//! A yield costs a system call, and where other programs compute it costs their time slices. A read whose time runs out costs a
//! wake-up. So each of the two is followed by a pause when it brought nothing, and a yield also when it took long; a pause is twice
//! as long as the last one.

use std::time::Duration;

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
    /// Wait for this one alone, for a limited time.
    Listen(Way),
    /// Wait for both.
    Poll,
}

/// What was tried last to get the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    Nothing,
    Yield,
    LongYield,
    Listen,
}

/// What was seen of a connection so far.
#[derive(Debug)]
pub(super) struct Turns {
    /// Turns seen in a row, up to [`Turns::SURE`]. Below that nothing is guessed.
    seen: i8,
    /// Who is to speak next, if they take turns.
    expected: Option<Way>,
    tried: Tried,
    yields: Pause,
    listens: Pause,
}

/// Whether a guess is worth a try, which its luck so far decides.
#[derive(Debug)]
struct Pause {
    /// How many turns still pass without one.
    left: u8,
    /// How long the next pause will be, in turns.
    next: u8,
    /// So many right guesses in a row halve it: as many as one wrong guess costs.
    odds: u8,
    /// Right guesses in a row.
    right: u8,
}

impl Pause {
    /// In turns.
    const SHORTEST: u8 = 1;
    /// In turns. One try in so many may be in vain.
    const LONGEST: u8 = 64;

    fn with_odds(odds: u8) -> Self {
        Self { left: 0, next: Self::SHORTEST, odds, right: 0 }
    }

    /// Whether it may be tried in this turn.
    fn is_over(&mut self) -> bool {
        let over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        over
    }

    fn was_right(&mut self) {
        self.right += 1;
        if self.right == self.odds {
            self.right = 0;
            self.next = (self.next / 2).max(Self::SHORTEST);
        }
    }

    fn was_wrong(&mut self) {
        self.right = 0;
        self.left = self.next;
        self.next = (self.next * 2).min(Self::LONGEST);
    }
}

impl Turns {
    /// From here on a guess is worth it. Connections that carry one request never come so far.
    const SURE: i8 = 2;
    /// So many turns more must be seen after something that was none.
    const MISTRUST: i8 = -4;
    /// A yield that takes longer has let a program run that computes: the peers of a connection need less for an answer.
    const LONG: Duration = Duration::from_micros(500);

    /// A right yield saves a sleep, and a wrong one costs less. A right read saves a system call, and a wrong one costs a wake-up.
    pub(super) fn new() -> Self {
        Self {
            seen: 0,
            expected: None,
            tried: Tried::Nothing,
            yields: Pause::with_odds(1),
            listens: Pause::with_odds(8),
        }
    }

    /// A yield took this long.
    pub(super) fn yielded(&mut self, time: Duration) {
        if time >= Self::LONG {
            self.tried = Tried::LongYield;
            self.yields.was_wrong();
        }
    }

    /// A step has ended that moved this.
    pub(super) fn step(&mut self, up: Moved, down: Moved) -> Next {
        let tried = std::mem::replace(&mut self.tried, Tried::Nothing);
        if (up, down) == (Moved::Nothing, Moved::Nothing) {
            match tried {
                Tried::Yield => self.yields.was_wrong(),
                Tried::Listen => self.listens.was_wrong(),
                Tried::Nothing | Tried::LongYield => {}
            }
            return match self.expected {
                Some(expected) if matches!(tried, Tried::Yield | Tried::LongYield) => self.listen(expected),
                _ => Next::Poll,
            };
        }
        match tried {
            Tried::Yield => self.yields.was_right(),
            Tried::Listen => self.listens.was_right(),
            Tried::Nothing | Tried::LongYield => {}
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
        if !self.yields.is_over() {
            return self.listen(next);
        }
        self.tried = Tried::Yield;
        Next::Yield(next)
    }

    fn listen(&mut self, way: Way) -> Next {
        if !self.listens.is_over() {
            return Next::Poll;
        }
        self.tried = Tried::Listen;
        Next::Listen(way)
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
            assert_eq!(turns.step(Moved::Nothing, Moved::Some), Next::Yield(Way::Up));
        }
    }

    #[test]
    fn an_answer_that_does_not_come_is_listened_for_and_then_polled_for() {
        let mut turns = settled();
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Next::Yield(Way::Down));
        assert_eq!(turns.step(Moved::Nothing, Moved::Nothing), Next::Listen(Way::Down));
        assert_eq!(turns.step(Moved::Nothing, Moved::Nothing), Next::Poll);
        turns.woken(DOWN);
        assert_eq!(turns.step(Moved::Nothing, Moved::Some), Next::Poll, "a turn without guesses");
        turns.woken(UP);
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Next::Yield(Way::Down));
    }

    /// How many turns pass before the next yield. Each is woken by its answer.
    fn pause(turns: &mut Turns) -> usize {
        for turn in 0.. {
            let (up, down, next) =
                if turn % 2 == 0 { (Moved::Nothing, Moved::Some, UP) } else { (Moved::Some, Moved::Nothing, DOWN) };
            match turns.step(up, down) {
                Next::Yield(_) => return turn,
                Next::Poll => turns.woken(next),
                Next::Listen(_) | Next::Try(_) => {}
            }
        }
        unreachable!()
    }

    #[test]
    fn yields_in_vain_and_long_yields_become_rare() {
        for took in [Duration::ZERO, Turns::LONG] {
            let mut turns = settled();
            assert_eq!(turns.step(Moved::Some, Moved::Nothing), Next::Yield(Way::Down));
            for expected in [1, 2, 4, 8, 16, 32, 64, 64] {
                turns.yielded(took);
                assert!(matches!(turns.step(Moved::Nothing, Moved::Nothing), Next::Listen(_)));
                assert_eq!(pause(&mut turns), expected);
            }
            // A long yield that found the answer was long all the same.
            turns.yielded(Turns::LONG);
            assert_eq!(pause(&mut turns), 64);
        }
    }

    #[test]
    fn yields_that_find_the_answer_shorten_the_next_pause() {
        let mut turns = settled();
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Next::Yield(Way::Down));
        for _ in 0..4 {
            turns.step(Moved::Nothing, Moved::Nothing);
            pause(&mut turns);
        }
        // Three that find it make 2 of 16.
        for _ in 0..3 {
            assert_eq!(pause(&mut turns), 0);
        }
        turns.step(Moved::Nothing, Moved::Nothing);
        assert_eq!(pause(&mut turns), 2);
    }

    #[test]
    fn listening_that_is_in_vain_becomes_rare() {
        let mut turns = settled();
        let mut listened = 0;
        let mut next = turns.step(Moved::Some, Moved::Nothing);
        for turn in 0..1000 {
            let (up, down, found) =
                if turn % 2 == 0 { (Moved::Nothing, Moved::Some, DOWN) } else { (Moved::Some, Moved::Nothing, UP) };
            while next != Next::Poll {
                listened += usize::from(matches!(next, Next::Listen(_)));
                next = turns.step(Moved::Nothing, Moved::Nothing);
            }
            turns.woken(found);
            next = turns.step(up, down);
        }
        assert!((10..30).contains(&listened), "{listened} of 1000");
    }

    #[test]
    fn traffic_that_takes_no_turns_ends_guessing() {
        let mut turns = settled();
        turns.step(Moved::Some, Moved::Nothing);
        turns.step(Moved::Nothing, Moved::Nothing);
        assert_eq!(turns.step(Moved::Nothing, Moved::Nothing), Next::Poll);
        turns.woken(UP);
        assert_eq!(turns.step(Moved::Some, Moved::Nothing), Next::Poll);
        assert_eq!(settled().step(Moved::Some, Moved::Some), Next::Poll);
        assert_eq!(settled().step(Moved::Some, Moved::Full), Next::Try(DOWN));
    }
}
