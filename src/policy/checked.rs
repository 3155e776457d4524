//! What checks have found about one server, and what follows from it.

use std::time::{Duration, Instant};

use super::check::finding::{Finding, Outcome};
use super::check::tally::{Change, Limits, State, Tally};

/// A result.
#[derive(Clone, Debug)]
pub struct Found {
    /// The result.
    pub outcome: Outcome,
    /// The same in words.
    pub words: String,
    /// How long the check took; `None`: it has come from elsewhere.
    pub took: Option<Duration>,
}

impl Found {
    /// One that has not come from a check.
    pub fn elsewhere(outcome: Outcome, words: String) -> Self {
        Self { outcome, words, took: None }
    }
}

/// The results of one server. Without a check it is up.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    tally: Option<Tally>,
    /// What the last result says, in words.
    words: String,
    took: Option<Duration>,
    /// When it came back, while it is warming up.
    back: Option<Instant>,
    /// Sessions in a row that it has ended before its first byte.
    cold_ends: u32,
    /// pen checks it itself.
    is_own: bool,
    /// It was in service without a check.
    serves: bool,
}

impl Checked {
    /// The results have come from a check, or from elsewhere.
    pub fn exists(&self) -> bool {
        self.tally.is_some()
    }

    /// pen checks it from now on. `first`: it gets no client before its first check, unless it gets clients already.
    pub fn begin(&mut self, first: bool, now: Instant) {
        self.is_own = true;
        let state = if first && !self.serves { State::Unknown } else { State::Up };
        let tally = self.tally.get_or_insert_with(|| Tally::new(state, now));
        // A server that was waited for and need not be waited for any more.
        if !first && tally.state() == State::Unknown {
            *tally = Tally::new(State::Up, now);
        }
    }

    /// pen does not check it, or not any more: forgets what checks have found.
    pub fn end(&mut self) {
        if self.is_own {
            *self = Self { back: self.back, cold_ends: self.cold_ends, ..Self::default() };
        }
        self.serves = true;
    }

    /// Takes a result.
    pub fn record(&mut self, found: Found, limits: Limits, now: Instant) -> Option<Change> {
        let Found { outcome, words, took } = found;
        self.words = words;
        self.took = took.or(self.took);
        let change = self.tally.get_or_insert_with(|| Tally::new(State::Up, now)).record(outcome, limits, now);
        if change.is_some_and(|change| change.to == State::Up) {
            self.back = Some(now);
        }
        change
    }

    /// An administrator says that it works.
    pub fn set_up(&mut self, now: Instant) {
        if let Some(tally) = self.tally.as_mut().filter(|tally| tally.state() != State::Up) {
            *tally = Tally::new(State::Up, now);
            self.back = Some(now);
        }
    }

    /// It works again after its blacklist time.
    pub fn is_back(&mut self, now: Instant) {
        self.back = Some(now);
    }

    /// Whether it gets no client.
    pub fn is_down(&self) -> bool {
        self.tally.is_some_and(|tally| tally.state() != State::Up)
    }

    /// How many checks have failed: in a row while it is up, since it was up while it is down.
    pub fn failures(&self) -> u32 {
        self.tally.map_or(0, |tally| tally.failures())
    }

    /// What the last result says, in words. Empty before the first one.
    pub fn words(&self) -> &str {
        match self.tally {
            Some(tally) if tally.state() == State::Unknown => "not checked yet",
            _ => &self.words,
        }
    }

    /// How long the last check took; `None` before the first one.
    pub fn took(&self) -> Option<Duration> {
        self.took
    }

    /// Which part of its clients it takes, from 0 to 1, if it warms up for that time.
    pub fn warmth(&self, slow_start: Duration, now: Instant) -> f64 {
        match self.back {
            Some(back) if !slow_start.is_zero() => {
                (now.saturating_duration_since(back).as_secs_f64() / slow_start.as_secs_f64()).min(1.0)
            }
            _ => 1.0,
        }
    }

    /// A session of it has ended. `cold`: it has ended that before its first byte. Tells whether that makes a failed check.
    pub fn observe(&mut self, cold: bool, most: u32) -> bool {
        self.cold_ends = if cold { self.cold_ends.saturating_add(1) } else { 0 };
        let fails = most > 0 && self.cold_ends >= most;
        if fails {
            self.cold_ends = 0;
        }
        fails
    }
}

/// The outcome that sessions have shown.
pub fn observed() -> Outcome {
    Outcome::failure(Finding::Words("sessions ended before their first byte"))
}
