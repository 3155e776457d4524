//! Who is told of changes: the standard output, syslog, a program.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::daemon;
use crate::daemon::complaints::Complaints;
use crate::daemon::mailbox::Handle;
use crate::daemon::monitor::{Report, Watcher};
use crate::daemon::notify;
use crate::daemon::queue::Queue;
use crate::error::reason;
use crate::net::probe::reach::Reach;
use crate::policy::check::roster::{Service, Watched};
use crate::policy::check::tally::State;
use crate::policy::lvsmon::lines::{Event, Standing};
use crate::sys::clock::Clock;
use crate::sys::log::Log;

/// Writes a text to the standard output.
pub type Print = fn(&str) -> io::Result<()>;

/// Tells of changes.
pub(super) struct Teller {
    /// Those who are told: the standard output, and the program.
    pub(super) queues: Vec<Queue<Event>>,
    /// Where changes are told to syslog.
    pub(super) syslog: Option<Log>,
    pub(super) complaints: Complaints,
    pub(super) once: Option<Once>,
}

/// The services that were not checked yet, where each is checked once.
pub(super) struct Once {
    left: HashSet<Arc<str>>,
    events: Handle<daemon::events::Event>,
}

impl Once {
    /// The event of the end is told when none of these is left.
    pub(super) fn new(left: HashSet<Arc<str>>, events: Handle<daemon::events::Event>) -> Self {
        let once = Self { left, events };
        once.look();
        once
    }

    fn checked(&mut self, name: &str) {
        if self.left.remove(name) {
            self.look();
        }
    }

    fn look(&self) {
        if self.left.is_empty() {
            // It fails when the process ends already.
            let _ = self.events.send(daemon::events::Event::Terminate);
        }
    }
}

impl Watcher for Teller {
    fn checked(&mut self, report: &Report<'_>) {
        let Report { service, outcome, change, .. } = *report;
        if let Some(once) = &mut self.once {
            once.checked(&service.name);
        }
        let Some(change) = change else { return };
        let (name, address, kind) =
            (Arc::clone(&service.name), Arc::clone(&service.address), Arc::clone(&service.kind));
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = Event { time, name, address, kind, outcome: *outcome, change };
        if let Some(log) = &self.syslog {
            match change.to {
                State::Down => log.warning(&event),
                _ => log.notice(&event),
            }
        }
        self.queues.iter().for_each(|queue| queue.push(&event.name, event.clone()));
    }

    fn prevented(&mut self, service: &Service<Reach>, error: &io::Error) {
        self.complaints
            .tell(format_args!("service {} cannot be checked: {}", service.name, reason(error)), Instant::now());
        if let Some(once) = &mut self.once {
            once.checked(&service.name);
        }
    }
}

/// Prints changes until the queue is closed. The error is that of the output.
pub(super) fn print(queue: &Queue<Event>, print: Print, clock: &Clock, json: bool) -> io::Result<()> {
    while let Some(event) = queue.pop() {
        let time = clock.format_with_offset(UNIX_EPOCH + event.time);
        print(&if json { event.json(&time) + "\n" } else { format!("{time} {event}\n") })?;
    }
    Ok(())
}

/// Runs the program for each change, until the queue is closed.
pub(super) fn run(queue: &Queue<Event>, name: &str, log: &Log) {
    while let Some(event) = queue.pop() {
        notify::run(name, event.arguments(), &event, log);
    }
}

/// The states of all services, each in a line.
pub(super) fn standings(rows: &[Watched<Reach>], clock: &Clock, json: bool) -> Vec<String> {
    let (now, time) = (Instant::now(), SystemTime::now());
    let stamp = clock.format_with_offset(time);
    let line = |row: &Watched<Reach>| {
        let Watched { service, tally, .. } = row;
        let since = time.checked_sub(now.saturating_duration_since(tally.since())).unwrap_or(time);
        let standing = Standing {
            name: &service.name,
            address: &service.address,
            kind: &service.kind,
            state: tally.state(),
            since: clock.format_with_offset(since),
            outcome: tally.finding(),
            failures: tally.failures(),
        };
        if json { standing.json(&stamp) + "\n" } else { format!("{standing}\n") }
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::mailbox;
    use crate::policy::check::finding::{Finding, Outcome};
    use crate::policy::check::kind::Kind;
    use crate::policy::check::roster::Pace;
    use crate::policy::check::tally::{Limits, Tally};
    use crate::sys::log::{Level, Message};
    use std::time::Duration;

    #[test]
    fn syslog_is_told_of_changes_alone_with_their_severity_and_once_ends_with_the_last_service() {
        let (messages, told) = crossbeam_channel::bounded(8);
        let log = Log::new(messages);
        let (events, inbox) = mailbox::to_this_thread(2);
        let names = HashSet::from([Arc::from("a"), Arc::from("b")]);
        let once = Some(Once::new(names, events));
        let complaints = Complaints::new(log.clone(), "");
        let mut teller = Teller { queues: Vec::new(), syslog: Some(log), complaints, once };
        let (kind, now) = (Arc::new(Kind::parse("tcp").unwrap()), Instant::now());
        let address = Arc::from("h:1");
        let service = |name: &str| Service {
            name: name.into(),
            address: Arc::clone(&address),
            kind: Arc::clone(&kind),
            pace: Pace::default(),
            target: Reach::default(),
        };
        let (a, mut tally) = (service("a"), Tally::new(State::Unknown, now));
        for succeeded in [true, true, false, true] {
            let outcome = Outcome { succeeded, finding: Finding::Words("x") };
            let change = tally.record(outcome, Limits { rise: 1, fall: 1 }, now);
            teller.checked(&Report { service: &a, tally: &tally, outcome: &outcome, took: None, change });
        }
        let lines = told.try_iter().map(|message| match message {
            Message::Line(level, _, text) => (level, text),
            other => panic!("{other:?}"),
        });
        let expected = [
            (Level::Notice, "service a (h:1) unknown -> up: tcp: x"),
            (Level::Warning, "service a (h:1) up -> down: tcp: x, 1 failure"),
            (Level::Notice, "service a (h:1) down -> up: tcp: x, after 1 failure"),
        ];
        assert_eq!(lines.collect::<Vec<_>>(), expected.map(|(level, text)| (level, String::from(text))));
        assert!(inbox.next(Some(Duration::ZERO)).is_none());
        // One that could not be checked counts, too.
        teller.prevented(&service("b"), &io::ErrorKind::OutOfMemory.into());
        assert!(matches!(inbox.next(Some(Duration::ZERO)), Some(daemon::events::Event::Terminate)));
    }
}
