//! When a service counts as up or down: successes and failures in a row.

use std::fmt;
use std::time::Instant;

use super::finding::{Finding, Outcome};
use crate::policy::plural::counted;

/// How many results in a row change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Successes: `check_rise`.
    pub rise: u32,
    /// Failures: `check_fall`.
    pub fall: u32,
}

/// What a service is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was not checked yet. The first result decides.
    Unknown,
    /// It works.
    Up,
    /// It does not.
    Down,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// A change of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Failures: in a row, if it is down now; since it was up, if it is up again.
    pub failures: u32,
}

/// The results of one service. The counters stop at their greatest value.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    state: State,
    /// In a row.
    successes: u32,
    failing: u32,
    /// Since it was up, and before that in a row.
    failures: u32,
    since: Instant,
    last: Option<Outcome>,
}

impl Tally {
    /// Of a service in that state, which was not checked yet.
    pub fn new(state: State, now: Instant) -> Self {
        Self { state, successes: 0, failing: 0, failures: 0, since: now, last: None }
    }

    /// What it is taken for.
    pub fn state(&self) -> State {
        self.state
    }

    /// When that began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What the last check has brought.
    pub fn last(&self) -> Option<&Outcome> {
        self.last.as_ref()
    }

    /// How many checks have failed: in a row while it is up, since it was up while it is down.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes a result.
    pub fn record(&mut self, outcome: Outcome, limits: Limits, now: Instant) -> Option<Change> {
        self.last = Some(outcome);
        let from = self.state;
        if outcome.succeeded {
            self.failing = 0;
            self.successes = self.successes.saturating_add(1);
            let is_up = match from {
                State::Unknown | State::Up => true,
                State::Down => self.successes >= limits.rise,
            };
            self.state = if is_up { State::Up } else { from };
        } else {
            self.successes = 0;
            self.failing = self.failing.saturating_add(1);
            self.failures = self.failures.saturating_add(1);
            let is_down = match from {
                State::Unknown | State::Down => true,
                State::Up => self.failing >= limits.fall,
            };
            self.state = if is_down { State::Down } else { from };
        }
        let failures = if self.state == State::Up { self.failures } else { self.failing };
        if self.state == State::Up && outcome.succeeded {
            self.failures = 0;
        }
        if self.state == from {
            return None;
        }
        self.since = now;
        Some(Change { from, to: self.state, failures })
    }

    /// What is known about the service, in words of its check: nothing yet, or what the last check has brought.
    pub fn finding(&self) -> Outcome {
        self.last.unwrap_or(Outcome { succeeded: self.state == State::Up, finding: Finding::Words("not checked yet") })
    }
}

/// The failures of a change, in words: `3 failures`, `after 7 failures`; empty, if there were none.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = counted(self.failures, "failure", "failures");
        match (self.to, self.failures) {
            (_, 0) => Ok(()),
            (State::Up, _) => write!(f, ", after {failures}"),
            _ => write!(f, ", {failures}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { rise: 2, fall: 3 };

    fn outcome(succeeded: bool) -> Outcome {
        Outcome { succeeded, finding: Finding::Words("x") }
    }

    /// The changes after these results: `+` a success, `-` a failure.
    fn changes(start: State, results: &str) -> String {
        let now = Instant::now();
        let mut tally = Tally::new(start, now);
        let told = results.chars().map(|result| match tally.record(outcome(result == '+'), LIMITS, now) {
            Some(change) => format!("[{} -> {}{change}]", change.from, change.to),
            None => String::from(result),
        });
        told.collect()
    }

    #[test]
    fn results_in_a_row_change_the_state() {
        assert_eq!(changes(State::Up, "--+---+-++"), "--+--[up -> down, 3 failures]+-+[down -> up, after 4 failures]");
        assert_eq!(changes(State::Up, "++--+--+"), "++--+--+");
    }

    #[test]
    fn the_first_result_decides_what_was_unknown() {
        assert_eq!(changes(State::Unknown, "+--"), "[unknown -> up]--");
        assert_eq!(changes(State::Unknown, "-++"), "[unknown -> down, 1 failure]+[down -> up, after 1 failure]");
    }

    #[test]
    fn counters_stop_and_do_not_wrap() {
        let now = Instant::now();
        let mut tally = Tally { failing: u32::MAX, failures: u32::MAX, ..Tally::new(State::Down, now) };
        assert_eq!(tally.record(outcome(false), LIMITS, now), None);
        assert_eq!((tally.failures(), tally.state()), (u32::MAX, State::Down));
        tally.successes = u32::MAX;
        assert!(tally.record(outcome(true), LIMITS, now).is_some());
    }

    proptest! {
        #[test]
        fn changes_alternate_and_the_state_is_that_of_the_last(results in prop::collection::vec(any::<bool>(), 0..200)) {
            let now = Instant::now();
            let mut tally = Tally::new(State::Up, now);
            let mut state = State::Up;
            for succeeded in results {
                if let Some(change) = tally.record(outcome(succeeded), LIMITS, now) {
                    prop_assert_eq!(change.from, state);
                    prop_assert_ne!(change.to, state);
                    prop_assert_eq!(change.to == State::Up, succeeded);
                    state = change.to;
                }
                prop_assert_eq!(tally.state(), state);
            }
        }
    }
}
