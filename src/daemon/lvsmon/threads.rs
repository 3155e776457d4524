//! The threads of lvsmon, and how they are connected.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::loader::{Loaded, Loader};
use super::reloader::Reloader;
use super::teller::{self, Once, Print, Teller};
use crate::daemon::complaints::Complaints;
use crate::daemon::events::Event;
use crate::daemon::mailbox::Handle;
use crate::daemon::monitor::Monitor;
use crate::daemon::queue::Queue;
use crate::daemon::signals::{self, Wish};
use crate::daemon::thread::{DEEP_STACK, STACK, start};
use crate::error::{Error, reason};
use crate::policy::check::roster::Begin;
use crate::policy::check::tally::State;
use crate::policy::lvsmon::lines;
use crate::sys::clock::Clock;
use crate::sys::log::Log;

/// How long the end waits for a reader of the standard output.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What the threads are made of.
pub(super) struct Wiring {
    pub(super) clock: Clock,
    pub(super) log: Log,
    pub(super) events: Handle<Event>,
    /// The most checks at a time.
    pub(super) checks: usize,
    /// How lines are printed; `None`: changes are told to syslog.
    pub(super) print: Option<Print>,
    pub(super) json: bool,
    /// The program that is run at each change.
    pub(super) exec: Option<String>,
}

/// The threads, as their owner sees them.
pub(super) struct Wired {
    monitor: Monitor,
    clock: Clock,
    json: bool,
    printed: Option<(Queue<lines::Event>, Receiver<()>)>,
}

impl Wiring {
    /// Starts all threads. With `once` each service is checked once, and the end of that is [`Event::Terminate`].
    pub(super) fn start(self, loader: Loader, mut loaded: Loaded, once: bool) -> Result<Wired, Error> {
        let Self { clock, log, events, checks, print, json, exec } = self;
        let (mut queues, mut printed) = (Vec::new(), None);
        if let Some(print) = print.filter(|_| !once) {
            let queue = Queue::new("the reader of the standard output", log.clone());
            let (done, finished) = bounded(1);
            let (own, clock, log) = (queue.clone(), clock.clone(), log.clone());
            start("printer", STACK, &events, move || {
                if let Err(error) = teller::print(&own, print, &clock, json) {
                    log.error(format_args!("standard output: {}", reason(&error)));
                }
                // The owner may have stopped waiting.
                let _ = done.send(());
            })?;
            printed = Some((queue.clone(), finished));
            queues.push(queue);
        }
        if let Some(program) = exec.filter(|_| !once) {
            let queue = Queue::new("the program of --exec", log.clone());
            let (own, log) = (queue.clone(), log.clone());
            start("notifier", STACK, &events, move || teller::run(&own, &program, &log))?;
            queues.push(queue);
        }
        let names: HashSet<_> = loaded.services.iter().map(|service| Arc::clone(&service.name)).collect();
        let teller = Teller {
            queues,
            syslog: print.is_none().then(|| log.clone()),
            complaints: Complaints::new(log.clone(), ""),
            once: once.then(|| Once::new(names, events.clone())),
        };
        let monitor = Monitor::start(checks, teller, &events)?;
        let ((hup, hups), (usr1, reports)) = (bounded(1), bounded(1));
        signals::start(&events, log.clone(), move |wish| {
            // One that waits already does for this one, too.
            let _ = match wish {
                Wish::Reload => hup.try_send(()),
                Wish::Report => usr1.try_send(()),
            };
        })?;
        monitor.replace(loaded.take_services(), State::Unknown, if once { Begin::AtOnce } else { Begin::Spread });
        let (watched, told, time) = (monitor.clone(), log.clone(), clock.clone());
        start("reporter", STACK, &events, move || {
            for () in &reports {
                let lines = teller::standings(&watched.rows().unwrap_or_default(), &time, json);
                match print {
                    // An error is the printer's, too.
                    Some(print) => drop(lines.iter().try_for_each(|line| print(line))),
                    None => told.end_report(lines),
                }
            }
        })?;
        let reloader = Reloader { loader, loaded, monitor: monitor.clone(), log };
        start("reloader", DEEP_STACK, &events, move || reloader.run(&hups))?;
        Ok(Wired { monitor, clock, json, printed })
    }
}

impl Wired {
    /// The states of all services, each in a line, and whether all are up.
    pub(super) fn standings(&self) -> (Vec<String>, bool) {
        let rows = self.monitor.rows().unwrap_or_default();
        let all_up = rows.iter().all(|row| row.tally.state() == State::Up);
        (teller::standings(&rows, &self.clock, self.json), all_up)
    }

    /// Ends the monitor, and waits until the changes so far are printed, for a second at most.
    pub(super) fn finish(self) {
        self.monitor.finish();
        if let Some((queue, finished)) = self.printed {
            queue.close();
            // A reader that does not read is not waited for any longer.
            let _ = finished.recv_timeout(LAST_LINES);
        }
    }
}
