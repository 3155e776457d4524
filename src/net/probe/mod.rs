//! Checks on sockets: all that are under way wait in one poll(2).
//!
//! A [`Prober`] allocates when it is made. After that only TLS does, for each handshake.

mod flight;
pub mod reach;
mod socket;

use std::hash::{BuildHasher, RandomState};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use self::flight::{Flight, Room};
use self::reach::{Found, Reach};
use crate::policy::check::roster::{Service, Watched};
use crate::sys::poll::poll;

/// The checks that are under way.
#[derive(Debug)]
pub struct Prober {
    /// As many as there were at a time. Memory that was not needed yet is not touched.
    flights: Vec<Option<Flight>>,
    most: usize,
    /// Places without a flight.
    free: Vec<u32>,
    /// Places with one.
    busy: Vec<u32>,
    /// What poll(2) looks at. It is empty between two calls, and keeps its memory.
    polled: Vec<PollFd<'static>>,
    /// What poll(2) has found of those in `busy`.
    ready: Vec<PollFlags>,
    room: Room,
    /// Makes numbers that others cannot guess.
    secret: RandomState,
    begun: u64,
}

impl Prober {
    /// For at most that many checks at a time.
    pub fn new(most: usize) -> Self {
        Self {
            flights: Vec::with_capacity(most),
            most,
            free: Vec::with_capacity(most),
            busy: Vec::with_capacity(most),
            // The callers have at most two more.
            polled: Vec::with_capacity(most + 2),
            ready: Vec::with_capacity(most),
            room: Room::new(),
            secret: RandomState::new(),
            begun: 0,
        }
    }

    /// Whether another check can begin.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty() || self.flights.len() < self.most
    }

    /// Begins a check of the service at that place of the list. It may be over at once. There must be room for it.
    pub fn begin(&mut self, place: usize, service: &Service<Reach>, now: Instant) -> Option<Found> {
        if !self.has_room() {
            return Some(Err(Errno::MFILE));
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            self.flights.len() as u32 - 1
        });
        self.begun = self.begun.wrapping_add(1);
        let id = self.secret.hash_one(self.begun) as u16;
        let found = match Flight::begin(place, service, id, now, &mut self.room) {
            Ok(flight) => {
                self.flights[slot as usize] = Some(flight);
                self.busy.push(slot);
                return None;
            }
            Err(found) => found,
        };
        self.free.push(slot);
        Some(found)
    }

    /// How many checks are under way.
    pub fn under_way(&self) -> usize {
        self.busy.len()
    }

    /// When the first of the deadlines is.
    pub fn deadline(&self) -> Option<Instant> {
        self.busy.iter().filter_map(|slot| self.flights[*slot as usize].as_ref()).map(Flight::deadline).min()
    }

    /// Waits until something happens: to a check, to one of the other descriptors, or the time has come. The checks that are over, and
    /// what they have brought, are appended to `results`. Tells whether one of the other descriptors is readable.
    pub fn wait<'a>(
        &mut self,
        watched: &[Watched<Reach>],
        others: impl IntoIterator<Item = BorrowedFd<'a>>,
        until: Option<Instant>,
        results: &mut Vec<(usize, Found)>,
    ) -> Result<bool, Errno> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let mut polled = emptied(std::mem::take(&mut self.polled));
        let flights = self.busy.iter().filter_map(|slot| self.flights[*slot as usize].as_ref());
        polled.extend(flights.map(|flight| PollFd::from_borrowed_fd(flight.socket(), flight.waits_for())));
        polled.extend(others.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let outcome = match poll(&mut polled, left) {
            Err(Errno::INTR) => Ok(0),
            outcome => outcome,
        };
        let found = self.busy.len();
        self.ready.clear();
        let nothing = PollFlags::empty();
        self.ready
            .extend(polled[..found].iter().map(|polled| if outcome.is_ok() { polled.revents() } else { nothing }));
        let others = polled[found..].iter().any(|polled| !polled.revents().is_empty());
        self.polled = emptied(polled);
        let now = Instant::now();
        // From the last one on, since those that are over leave the list.
        for at in (0..self.busy.len()).rev() {
            let slot = self.busy[at];
            let Some(flight) = &mut self.flights[slot as usize] else { continue };
            let Some(Watched { service, .. }) = watched.get(flight.place) else { continue };
            let found = self.ready[at];
            let progress = match found.is_empty() {
                false => flight.go_on(service, found, &mut self.room, now),
                true if flight.deadline() <= now => flight.late(service, &mut self.room, now),
                true => continue,
            };
            if let Some(found) = progress.transpose() {
                results.push((flight.place, found));
                self.flights[slot as usize] = None;
                self.busy.swap_remove(at);
                self.free.push(slot);
            }
        }
        outcome.map(|_| others)
    }

    /// The list of services was replaced: the checks go on for the new places. Those without one are broken off.
    pub fn moved(&mut self, moved: &[Option<usize>]) {
        for at in (0..self.busy.len()).rev() {
            let slot = self.busy[at];
            let Some(flight) = &mut self.flights[slot as usize] else { continue };
            match moved.get(flight.place).copied().flatten() {
                Some(place) => flight.place = place,
                None => {
                    self.flights[slot as usize] = None;
                    self.busy.swap_remove(at);
                    self.free.push(slot);
                }
            }
        }
    }
}

/// The same memory for other descriptors.
fn emptied<'b>(mut polled: Vec<PollFd<'_>>) -> Vec<PollFd<'b>> {
    polled.clear();
    // A list of the same type of elements is collected in place.
    polled.into_iter().map_while(|_| None).collect()
}
