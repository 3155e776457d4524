//! The monitor: one thread makes all checks, whatever their number.
//!
//! It does not know what follows from a result: a [`Watcher`] is told.

mod local;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

use self::local::Programs;
use super::events::Event;
use super::mailbox::Handle;
use super::thread::{self, STACK};
use crate::error::Error;
use crate::net::probe::Prober;
use crate::net::probe::reach::{Found, Reach};
use crate::policy::check::finding::Outcome;
use crate::policy::check::kind::Kind;
use crate::policy::check::roster::{Begin, Roster, Service, Watched};
use crate::policy::check::tally::{Change, State, Tally};

/// Requests that may wait: lists of services and results from elsewhere, which come seldom.
const REQUESTS: usize = 64;

/// How long the monitor sleeps at least if nothing happens on a socket: so thousands of checks a second begin, and fail, in a hundred groups
/// instead of with a wake-up each.
const GRAIN: Duration = Duration::from_millis(10);

/// How long the monitor rests before it waits, for each check under way, and how many of them are too few for that. poll(2) looks at all
/// of them each time, at 0.5 microseconds each, so this keeps it under a twentieth of a core however many hang. A hundred times a second it
/// took a fifth of one for 3,000.
const REST: Duration = Duration::from_micros(10);
const FEW: usize = 100;

/// How long the end of the process waits for that of the thread.
const END_TIME: Duration = Duration::from_secs(1);

/// What is told of a check that is over.
#[derive(Debug)]
pub struct Report<'a> {
    /// What was checked.
    pub service: &'a Service<Reach>,
    /// Its results, with this one.
    pub tally: &'a Tally,
    /// What this one has brought.
    pub outcome: &'a Outcome,
    /// How long it took; `None`: it has come from elsewhere.
    pub took: Option<Duration>,
    /// How it has changed the state, if it has.
    pub change: Option<Change>,
}

/// Who is told. It is called by the monitor's thread, and must not wait.
pub trait Watcher: Send + 'static {
    /// A check is over.
    fn checked(&mut self, report: &Report<'_>);

    /// A check could not be made for a reason that lies in this host.
    fn prevented(&mut self, service: &Service<Reach>, error: &io::Error);
}

/// What the monitor is asked.
enum Request {
    /// To check these services from now on.
    Replace(Vec<Service<Reach>>, State, Begin),
    /// To take a result for the service of that name.
    Report(Arc<str>, Outcome),
    /// To end.
    End,
    /// For all services and their results.
    Rows(Sender<Vec<Watched<Reach>>>),
}

/// The way to the monitor. It ends when all copies of this are dropped.
#[derive(Clone, Debug)]
pub struct Monitor {
    requests: Sender<Request>,
    bell: Arc<OwnedFd>,
    /// It is disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Replace(..) => "Replace",
            Self::Report(..) => "Report",
            Self::End => "End",
            Self::Rows(_) => "Rows",
        })
    }
}

impl Monitor {
    /// Starts the thread, without services. `most`: how many checks it may make at a time; each takes a descriptor.
    pub fn start(most: usize, watcher: impl Watcher, events: &Handle<Event>) -> Result<Self, Error> {
        let failed = |error: Errno| Error::System(String::from("cannot start the monitor"), error.into());
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?);
        let (requests, inbox) = bounded(REQUESTS);
        let mut work = Work {
            roster: Roster::default(),
            prober: Prober::new(most),
            programs: Programs::default(),
            results: Vec::new(),
            watcher,
            inbox,
            bell: Arc::clone(&bell),
        };
        let (end, ended) = bounded(0);
        thread::start("monitor", STACK, events, move || {
            work.run();
            // Before the end is told: a program that runs is killed.
            drop(work);
            drop(end);
        })?;
        Ok(Self { requests, bell, ended })
    }

    /// Checks these services from now on, and no others. Those with the name and the address of one before keep their state; others begin
    /// with the state `start`.
    pub fn replace(&self, services: Vec<Service<Reach>>, start: State, begin: Begin) {
        self.ask(Request::Replace(services, start, begin));
    }

    /// As [`Monitor::replace`], if the monitor has time for it. It gives the services back otherwise. Never blocks.
    pub fn try_replace(
        &self,
        services: Vec<Service<Reach>>,
        start: State,
        begin: Begin,
    ) -> Option<Vec<Service<Reach>>> {
        match self.requests.try_send(Request::Replace(services, start, begin)) {
            Err(TrySendError::Full(Request::Replace(services, ..))) => Some(services),
            // It fails when the monitor has ended, which is an event.
            _ => {
                self.ring();
                None
            }
        }
    }

    /// Counts a result from elsewhere as one of a check.
    pub fn report(&self, name: Arc<str>, outcome: Outcome) {
        self.ask(Request::Report(name, outcome));
    }

    /// Ends it, and waits until a program that runs for a check is killed, for a second at most.
    pub fn finish(&self) {
        self.ask(Request::End);
        // Nothing is ever sent.
        let _ = self.ended.recv_timeout(END_TIME);
    }

    /// All services and their results. `None`: the monitor has ended.
    pub fn rows(&self) -> Option<Vec<Watched<Reach>>> {
        let (reply, rows) = bounded(1);
        self.ask(Request::Rows(reply));
        rows.recv().ok()
    }

    fn ask(&self, request: Request) {
        // It fails when the monitor has ended, which is an event.
        if self.requests.send(request).is_ok() {
            self.ring();
        }
    }

    fn ring(&self) {
        // It fails when it has been rung very often already.
        let _ = write(&self.bell, &1u64.to_ne_bytes());
    }
}

/// The last one tells the thread to look at its inbox, which has ended.
impl Drop for Monitor {
    fn drop(&mut self) {
        let (closed, _) = bounded(0);
        self.requests = closed;
        self.ring();
    }
}

/// What the thread works with.
struct Work<W> {
    roster: Roster<Reach>,
    prober: Prober,
    programs: Programs,
    /// Checks that are over, by their place.
    results: Vec<(usize, Found)>,
    watcher: W,
    inbox: Receiver<Request>,
    bell: Arc<OwnedFd>,
}

impl<W: Watcher> Work<W> {
    fn run(&mut self) {
        let mut is_rung = true;
        loop {
            let now = Instant::now();
            if is_rung && !self.answer(now) {
                return;
            }
            self.begin(now);
            self.finish();
            // Programs and files are done at once, and others may be due.
            let due = self.roster.next().filter(|_| self.prober.has_room());
            let times = [due, self.prober.deadline(), self.programs.look_again(now)];
            let until = times.into_iter().flatten().min().map(|time| time.max(now + GRAIN));
            let under_way = self.prober.under_way();
            if under_way > FEW {
                std::thread::sleep(REST * under_way as u32);
            }
            let others = [Some(self.bell.as_fd()), self.programs.end()];
            let waited =
                self.prober.wait(self.roster.watched(), others.into_iter().flatten(), until, &mut self.results);
            is_rung = waited.unwrap_or_else(|_| {
                // There is no memory for poll(2) at the moment.
                std::thread::sleep(GRAIN);
                true
            });
            self.finish();
        }
    }

    /// Does what was asked. `false`: nothing can be asked any more.
    fn answer(&mut self, now: Instant) -> bool {
        // Silenced first: a request that comes later rings again. It fails when the bell was not rung.
        let _ = read(&self.bell, &mut [0; 8]);
        loop {
            match self.inbox.try_recv() {
                Ok(Request::Replace(services, start, begin)) => {
                    let count = services.len();
                    let moved = self.roster.replace(services, start, begin, now);
                    self.prober.moved(&moved);
                    self.programs.moved(&moved, count);
                    self.results = Vec::with_capacity(count);
                }
                Ok(Request::Report(name, outcome)) => {
                    if let Some(place) = self.roster.find(&name) {
                        let change = self.roster.report(place, outcome, now);
                        self.tell(place, &outcome, None, change);
                    }
                }
                Ok(Request::Rows(reply)) => {
                    // The asker may have given up.
                    let _ = reply.send(self.roster.watched().to_vec());
                }
                Ok(Request::End) => return false,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Begins the checks that are due.
    fn begin(&mut self, now: Instant) {
        while self.prober.has_room() {
            let Some(place) = self.roster.begin(now) else { break };
            let service = &self.roster.watched()[place].service;
            let found = match &*service.kind {
                Kind::Exec(_) => {
                    self.programs.push(place);
                    None
                }
                Kind::File { path, absent } => Some(Ok(local::file(path, *absent))),
                _ => self.prober.begin(place, service, now),
            };
            self.results.extend(found.map(|found| (place, found)));
        }
        while let Some(found) = self.programs.go_on(self.roster.watched(), now) {
            self.results.push(found);
        }
    }

    /// Takes the results that have come.
    fn finish(&mut self) {
        let now = Instant::now();
        let mut results = std::mem::take(&mut self.results);
        for (place, found) in results.drain(..) {
            match found {
                Ok(outcome) => {
                    let took = self.roster.time_since_begin(place, now);
                    let change = self.roster.finish(place, outcome, now);
                    self.tell(place, &outcome, Some(took), change);
                }
                Err(error) => {
                    self.roster.wait(place, now);
                    self.watcher.prevented(&self.roster.watched()[place].service, &error.into());
                }
            }
        }
        self.results = results;
    }

    fn tell(&mut self, place: usize, outcome: &Outcome, took: Option<Duration>, change: Option<Change>) {
        let Watched { service, tally, .. } = &self.roster.watched()[place];
        self.watcher.checked(&Report { service, tally, outcome, took, change });
    }
}
