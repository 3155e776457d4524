//! The threads that serve clients which are no sessions, those of the control port and of the web page, and the places of these clients.
//!
//! Some threads run from the start, so that a host that has no more threads can still be administered. If all places are taken, the
//! client that pen has waited for longest gives way, so that clients which say nothing, or read nothing, keep no other client out.

mod accept;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::daemon::complaints::Complaints;
use crate::daemon::events::Event;
use crate::daemon::mailbox::Handle;
use crate::daemon::thread::{self, DEEP_STACK};
use crate::endpoint::ClientAddr;
use crate::error::{Error, reason};
use crate::net::peer::{PATIENCE, Peer};
use crate::sys::log::Log;
use crate::sys::priority;

/// Whom a crew serves.
#[derive(Clone, Copy, Debug)]
pub struct Duty {
    /// What its threads are called.
    pub name: &'static str,
    /// What it is for, as an error says.
    pub of: &'static str,
    /// Threads that run from the start.
    pub residents: usize,
    /// Clients at once, each with a thread.
    pub places: usize,
    /// Its threads give way to those of the sessions from the start, also the ones that accept.
    pub gives_way: bool,
}

impl Duty {
    /// What each of its threads does first.
    fn begin(&self) {
        if self.gives_way {
            priority::give_way();
        }
    }
}

/// How long a thread may be idle if there are more than the first ones.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// How long to wait for a place before another client must give way, or another thread is tried.
const PAUSE: Duration = Duration::from_millis(100);

/// The least time between two clients that give way to clients who come. With all places taken a client has 64 times as long for its
/// request, however fast others come. A flood of clients then costs a hundred drops a second.
const TURN: Duration = Duration::from_millis(10);

/// How often the end of pen looks whether replies are written.
const STEP: Duration = Duration::from_millis(5);

/// How long the end of pen waits for the replies to commands that were carried out.
const END_TIME: Duration = Duration::from_secs(1);

/// A client that was accepted.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its end of the connection.
    pub peer: Arc<Peer>,
    /// Where it comes from.
    pub address: ClientAddr,
    /// When it was accepted.
    pub since: Instant,
}

/// As messages call it.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            ClientAddr::Ip(ip) => ip.fmt(f),
            ClientAddr::Local => match self.peer.user() {
                Some(user) => write!(f, "a local client, user {user}"),
                None => f.write_str("a local client"),
            },
        }
    }
}

/// The places of the clients, and the threads that wait for clients. Copies are the same places.
#[derive(Clone, Debug)]
pub struct Places {
    duty: Duty,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A client is in the queue.
    arrived: Condvar,
    /// A client has left.
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    threads: usize,
    /// Threads without a client. A thread that was just started is one.
    idle: usize,
    /// For idle threads; it never has more clients than there are such threads.
    queue: VecDeque<Client>,
    /// All clients, also those in the queue.
    clients: Vec<Client>,
    /// When the last one had to give way to a client who came.
    dropped: Option<Instant>,
    /// Threads that give way to those of the sessions for good, and have no successor.
    lowered: usize,
    /// Successors whose predecessors are still there.
    successors: usize,
}

/// Serves one client.
pub type Serve = Arc<dyn Fn(&Client) + Send + Sync>;

/// Starts the threads, and gives them clients.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it holds a closure")]
pub struct Crew {
    places: Places,
    events: Handle<Event>,
    log: Log,
    serve: Serve,
}

impl Crew {
    /// Starts the first threads.
    pub fn start(duty: Duty, events: &Handle<Event>, log: &Log, serve: Serve) -> Result<Self, Error> {
        let shared = Shared { state: Mutex::default(), arrived: Condvar::new(), left: Condvar::new() };
        let places = Places { duty, shared: Arc::new(shared) };
        let crew = Self { places, events: events.clone(), log: log.clone(), serve };
        for _ in 0..duty.residents {
            crew.hire(&mut crew.places.lock())
                .map_err(|error| Error::System(format!("cannot start a thread for {}", duty.of), error))?;
        }
        Ok(crew)
    }

    /// The places, for the end of pen.
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Gives the client to a thread. Waits until there is one, and has other clients give way for that.
    pub fn admit(&self, client: Client, dropped: &Complaints, short: &Complaints) {
        let mut state = self.places.lock();
        self.succeed(&mut state);
        while state.idle <= state.queue.len() {
            if state.threads < self.places.duty.places {
                match self.hire(&mut state) {
                    Ok(()) => continue,
                    Err(error) => short.tell(
                        format_args!(
                            "{} clients, and no thread for another one: {}",
                            state.clients.len(),
                            reason(&error)
                        ),
                        Instant::now(),
                    ),
                }
            }
            let now = Instant::now();
            let turn = state.dropped.map_or(Duration::ZERO, |then| (then + TURN).saturating_duration_since(now));
            let wait = if turn.is_zero() {
                state.make_room(dropped, now);
                state.dropped = Some(now);
                PAUSE
            } else {
                turn
            };
            state = self.places.wait(&self.places.shared.left, state, wait).0;
        }
        state.clients.push(client.clone());
        state.queue.push_back(client);
        self.places.shared.arrived.notify_one();
    }

    /// Has a silent client give way, since its descriptor is needed.
    pub fn make_room(&self, dropped: &Complaints) {
        self.places.lock().make_room(dropped, Instant::now());
    }

    /// Waits until a client leaves, for so long at most.
    pub fn wait_for_leave(&self, time: Duration) {
        drop(self.places.wait(&self.places.shared.left, self.places.lock(), time));
    }

    /// Starts a thread.
    fn hire(&self, state: &mut State) -> io::Result<()> {
        let crew = self.clone();
        // Its end by a panic would cost a place.
        thread::start_watched(self.places.duty.name, DEEP_STACK, &self.events, move || crew.work())?;
        state.threads += 1;
        state.idle += 1;
        Ok(())
    }

    /// Starts successors of threads that give way to those of the sessions for the sake of a report: they cannot be made urgent again
    /// (setpriority(2)), and what they start is not urgent either. Where there can be no other thread, they stay.
    fn succeed(&self, state: &mut State) {
        while state.lowered > 0 && self.hire(state).is_ok() {
            state.lowered -= 1;
            state.successors += 1;
            self.places.shared.arrived.notify_all();
        }
    }

    /// Serves one client after the other.
    fn work(&self) {
        self.places.duty.begin();
        let nice = priority::nice();
        let mut is_lowered = false;
        while let Some(client) = self.places.next(is_lowered) {
            thread::contain(self.places.duty.name, &self.log, || (self.serve)(&client));
            let mut state = self.places.leave(&client);
            if !is_lowered && priority::nice() != nice {
                is_lowered = true;
                state.lowered += 1;
            }
        }
    }
}

impl Places {
    /// Waits for the next client. `None`: the thread is not needed any more, or, if it gives way to those of the sessions, has a successor.
    fn next(&self, is_lowered: bool) -> Option<Client> {
        let mut state = self.lock();
        loop {
            if is_lowered && state.successors > 0 {
                state.successors -= 1;
                state.threads -= 1;
                state.idle -= 1;
                // It may have been woken for a client.
                self.shared.arrived.notify_one();
                return None;
            }
            if let Some(client) = state.queue.pop_front() {
                state.idle -= 1;
                return Some(client);
            }
            if state.threads <= self.duty.residents {
                state = self.shared.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (woken, is_late) = self.wait(&self.shared.arrived, state, IDLE_TIME);
            state = woken;
            let is_followed = is_lowered && state.successors > 0;
            if is_late && !is_followed && state.queue.is_empty() && state.threads > self.duty.residents {
                state.lowered -= usize::from(is_lowered);
                state.threads -= 1;
                state.idle -= 1;
                return None;
            }
        }
    }

    /// Gives the client's place back. The thread that served it is idle.
    fn leave(&self, client: &Client) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.clients.retain(|other| !Arc::ptr_eq(&other.peer, &client.peer));
        state.idle += 1;
        self.shared.left.notify_all();
        state
    }

    /// Waits until no command is carried out and no reply is written, for a second at most. A client that does not take its reply is not
    /// waited for.
    pub fn finish(&self) {
        let end = Instant::now() + END_TIME;
        let mut state = self.lock();
        while state.clients.iter().any(|client| client.peer.is_served()) && Instant::now() < end {
            // Nothing tells when a client is waited for.
            state = self.wait(&self.shared.left, state, STEP).0;
        }
    }

    /// Waits for a signal, for so long at most. Tells whether the time is over.
    fn wait<'a>(
        &self,
        signal: &Condvar,
        state: MutexGuard<'a, State>,
        time: Duration,
    ) -> (MutexGuard<'a, State>, bool) {
        let (state, result) = signal.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner);
        (state, result.timed_out())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops one client: of those that pen waits for, the one that it has waited for longest; else the one that has been there longest, if
    /// that is longer than a client may be silent.
    fn make_room(&self, dropped: &Complaints, now: Instant) {
        let candidates = || self.clients.iter().filter(|client| !client.peer.is_dropped());
        let silent = candidates().filter_map(|client| Some((client.peer.silent_since()?, client)));
        if let Some((since, client)) = silent.min_by_key(|(since, _)| *since) {
            client.peer.drop_off();
            let time = now.saturating_duration_since(since).as_secs();
            let count = self.clients.len();
            dropped.tell(
                format_args!("{count} clients: {client} gives way, silent for {time} s, longer than the others"),
                now,
            );
        } else if let Some(client) = candidates().min_by_key(|client| client.since) {
            let time = now.saturating_duration_since(client.since);
            if time > PATIENCE {
                client.peer.drop_off();
                let (count, time) = (self.clients.len(), time.as_secs());
                dropped.tell(
                    format_args!("{count} clients: {client} gives way, there for {time} s, longer than the others"),
                    now,
                );
            }
        }
    }
}
