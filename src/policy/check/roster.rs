//! The services that are checked: when each is due, and what it is taken for.
//!
//! Checks are spread over the interval, and a service is due again only after its check is over.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::finding::Outcome;
use super::kind::Kind;
use super::tally::{Change, Limits, State, Tally};

/// How often a service is checked, and what its results mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The time from one check to the next: `check_interval`.
    pub interval: Duration,
    /// How long the connection may take, and then the answer: `check_timeout`.
    pub timeout: Duration,
    /// When the state changes.
    pub limits: Limits,
}

impl Default for Pace {
    fn default() -> Self {
        let limits = Limits { rise: 2, fall: 3 };
        Self { interval: Duration::from_secs(10), timeout: Duration::from_secs(3), limits }
    }
}

/// A service as it is configured. `T` is what is needed to reach it.
#[derive(Clone, Debug, PartialEq)]
pub struct Service<T> {
    /// Its name. Each has another one.
    pub name: Arc<str>,
    /// Its address as it was written: `host:port`.
    pub address: Arc<str>,
    /// What it is asked.
    pub kind: Arc<Kind>,
    /// How often.
    pub pace: Pace,
    /// How it is reached.
    pub target: T,
}

/// A service and its results.
#[derive(Clone, Debug)]
pub struct Watched<T> {
    /// The service.
    pub service: Service<T>,
    /// Its results.
    pub tally: Tally,
    /// When it is due, or was when its check began.
    due: Instant,
    /// When the last one began.
    began: Instant,
    is_running: bool,
}

/// When services that are new are checked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Spread over their intervals.
    Spread,
    /// As soon as possible. Later checks are spread over their intervals.
    AtOnce,
}

/// All services. A service is known by its place in the list until the list is replaced.
#[derive(Debug)]
pub struct Roster<T> {
    watched: Vec<Watched<T>>,
    /// Those that wait.
    waiting: BinaryHeap<Reverse<(Instant, u32)>>,
}

impl<T> Default for Roster<T> {
    fn default() -> Self {
        Self { watched: Vec::new(), waiting: BinaryHeap::new() }
    }
}

impl<T: PartialEq> Roster<T> {
    /// Takes these services in the place of those before. A service with the name and the address of one before keeps its state and its
    /// counters. Gives the new place of each check under way, by its old place; `None`, it has lost its meaning.
    pub fn replace(
        &mut self,
        services: Vec<Service<T>>,
        start: State,
        begin: Begin,
        now: Instant,
    ) -> Vec<Option<usize>> {
        let mut moved = vec![None; self.watched.len()];
        let before = std::mem::take(&mut self.watched);
        let places: HashMap<Arc<str>, usize> =
            before.iter().enumerate().map(|(place, watched)| (Arc::clone(&watched.service.name), place)).collect();
        let count = services.len().max(1) as u32;
        self.waiting = BinaryHeap::with_capacity(services.len());
        self.watched = Vec::with_capacity(services.len());
        for (place, service) in services.into_iter().enumerate() {
            let share = service.pace.interval.mul_f64(place as f64 / f64::from(count));
            let first = match begin {
                Begin::Spread => now + share,
                // An interval before its own time, which has come then.
                Begin::AtOnce => (now + share).checked_sub(service.pace.interval).unwrap_or(now),
            };
            let known = places.get(&service.name).map(|old| (*old, &before[*old]));
            let known = known.filter(|(_, known)| known.service.address == service.address);
            let mut watched = match known {
                Some((_, known)) => {
                    let due = known.due.min(now + service.pace.interval);
                    Watched { service, tally: known.tally, due, began: known.began, is_running: known.is_running }
                }
                None => Watched { tally: Tally::new(start, now), due: first, began: now, is_running: false, service },
            };
            if let Some((old, known)) = known.filter(|(_, known)| known.is_running) {
                let is_same =
                    known.service.kind == watched.service.kind && known.service.target == watched.service.target;
                watched.is_running = is_same;
                moved[old] = is_same.then_some(place);
                if !is_same {
                    watched.due = now;
                }
            }
            if !watched.is_running {
                self.waiting.push(Reverse((watched.due, place as u32)));
            }
            self.watched.push(watched);
        }
        moved
    }
}

impl<T> Roster<T> {
    /// All of them, in the order of the list.
    pub fn watched(&self) -> &[Watched<T>] {
        &self.watched
    }

    /// The service of that name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.watched.iter().position(|watched| &*watched.service.name == name)
    }

    /// When the next one is due; `None`: all are being checked, or there are none.
    pub fn next(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((due, _))| *due)
    }

    /// A service whose check is to begin. It is not due again before [`Roster::finish`].
    pub fn begin(&mut self, now: Instant) -> Option<usize> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, place)) = self.waiting.pop()?;
        let place = place as usize;
        let watched = &mut self.watched[place];
        (watched.is_running, watched.began) = (true, now);
        Some(place)
    }

    /// For how long the check of that service has been under way.
    pub fn time_since_begin(&self, place: usize, now: Instant) -> Duration {
        now.saturating_duration_since(self.watched[place].began)
    }

    /// The check of that service is over.
    pub fn finish(&mut self, place: usize, outcome: Outcome, now: Instant) -> Option<Change> {
        self.wait(place, now);
        self.report(place, outcome, now)
    }

    /// The check of that service is over and tells nothing about it: this host could not make it.
    pub fn wait(&mut self, place: usize, now: Instant) {
        let watched = &mut self.watched[place];
        let interval = watched.service.pace.interval;
        watched.due += interval;
        if watched.due <= now {
            // Those that were missed are left out, and the service keeps its place in the interval.
            let late = now - watched.due;
            let missed = (late.as_nanos() / interval.as_nanos().max(1)) as u32;
            watched.due += interval * missed.saturating_add(1);
        }
        watched.is_running = false;
        self.waiting.push(Reverse((watched.due, place as u32)));
    }

    /// Takes a result from elsewhere, which counts as one of a check.
    pub fn report(&mut self, place: usize, outcome: Outcome, now: Instant) -> Option<Change> {
        let watched = &mut self.watched[place];
        watched.tally.record(outcome, watched.service.pace.limits, now)
    }
}
