//! The recorder: a thread that remembers what the pages show of the past, the last changes of servers and samples of the last hour.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crossbeam_channel::RecvTimeoutError;

use crate::daemon::control::reports::Reports;
use crate::daemon::seat::Seat;
use crate::daemon::thread::{self, STACK};
use crate::error::Error;
use crate::policy::changes::ServerEvent;
use crate::policy::history::{History, INTERVAL};
use crate::policy::report::batch::Summary;
use crate::policy::report::page::live::facts::EVENTS;
use crate::sys::clock::Clock;

/// A change of a server, and when it was.
pub(super) type Past = (String, Arc<ServerEvent>);

/// What was recorded. Copies are the same record.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    history: History,
    /// The oldest first.
    events: VecDeque<Past>,
}

impl Recorder {
    /// Starts the thread.
    pub(super) fn start(reports: Reports) -> Result<Self, Error> {
        let recorder = Self::default();
        let own = recorder.clone();
        let events = reports.events.clone();
        thread::start("web recorder", STACK, &events, move || own.record(&reports))?;
        Ok(recorder)
    }

    /// The last hour.
    pub(super) fn history(&self) -> History {
        self.lock().history.clone()
    }

    /// The last changes, the oldest first.
    pub(super) fn events(&self) -> Vec<Past> {
        self.lock().events.iter().cloned().collect()
    }

    /// Ends when the supervisor does.
    fn record(&self, reports: &Reports) {
        let clock = Clock::local();
        // Before anything else: a server may go down right after the start.
        let mut seat = Seat::take(&reports.events);
        while self.sample(reports).is_ok() {
            let due = Instant::now() + INTERVAL;
            // If too many are told already, it is tried again with each sample.
            seat = seat.or_else(|| Seat::take(&reports.events)).filter(|seat| self.listen(seat, &clock, due));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    /// Notes what happens until then. Tells whether the seat is still good.
    fn listen(&self, seat: &Seat, clock: &Clock, until: Instant) -> bool {
        loop {
            match seat.changes.recv_deadline(until) {
                Ok(event) => {
                    let mut record = self.lock();
                    record.events.push_back((clock.format(SystemTime::now()), event));
                    while record.events.len() > EVENTS {
                        record.events.pop_front();
                    }
                }
                Err(error) => return error == RecvTimeoutError::Timeout,
            }
        }
    }

    /// Takes a sample of each server.
    fn sample(&self, reports: &Reports) -> io::Result<()> {
        let Summary { now, servers, .. } = reports.summary()?;
        reports.account()?;
        let mut history = self.history();
        reports.servers(|number, server| {
            history.sample(number, server, now);
            Ok(())
        })?;
        history.end_pass(servers);
        self.lock().history = history;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
