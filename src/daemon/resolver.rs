//! The resolver: looks the names of servers up again, those that could not be looked up and, with `resolve`, all. The supervisor never
//! waits for a lookup, and neither does a reload.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::control::executor::Executor;
use super::thread::{self, DEEP_STACK};
use crate::endpoint::Host;
use crate::error::Error;
use crate::id::{ServerId, Upstream};
use crate::policy::lookups::{Round, Schedule};
use crate::policy::report::batch::Summary;
use crate::policy::servers::Target;
use crate::sys::log::Log;

/// Starts the thread, and returns how to wake it when there may be other names or other times. The stack is that of the other threads
/// that look names up.
pub fn start(executor: Executor, log: Log) -> Result<Sender<()>, Error> {
    let (wake, changes) = bounded(1);
    let events = executor.events.clone();
    let mut resolver = Resolver { executor, log, failing: HashSet::new() };
    thread::start("resolver", DEEP_STACK, &events, move || {
        // It fails when the supervisor has ended: then so is the process.
        let _ = resolver.serve(&changes);
    })?;
    Ok(wake)
}

struct Resolver {
    executor: Executor,
    log: Log,
    /// Names that have addresses and could not be looked up in the last round of all: the log has told so.
    failing: HashSet<String>,
}

impl Resolver {
    fn serve(&mut self, changes: &Receiver<()>) -> io::Result<()> {
        let mut schedule = Schedule::default();
        loop {
            schedule.plan(self.executor.reports().lookups()?, Instant::now());
            let wake = match schedule.next() {
                None => changes.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(time) => changes.recv_deadline(time),
            };
            if wake == Err(RecvTimeoutError::Disconnected) {
                return Ok(());
            }
            if let Some(round) = schedule.due(Instant::now()) {
                self.look_up(round)?;
                schedule.done(round, Instant::now());
            }
        }
    }

    /// Looks up each name once, and moves each server as soon as its name is known.
    fn look_up(&mut self, round: Round) -> io::Result<()> {
        let mut found: HashMap<String, Option<Host>> = HashMap::new();
        for (upstream, host) in self.hosts(round)? {
            let name = host.name().to_string();
            let known = found.entry(name).or_insert_with(|| {
                let found = self.executor.loader.names.again(&host);
                note(&self.log, &mut self.failing, &host, found.as_ref().err());
                found.ok()
            });
            if let Some(host) = known {
                self.executor.relocate(upstream, host.clone()).map_err(io::Error::other)?;
            }
        }
        self.failing.retain(|name| found.contains_key(name) || round == Round::Unresolved);
        Ok(())
    }

    /// The hosts that a round looks up.
    fn hosts(&self, round: Round) -> io::Result<Vec<(Upstream, Host)>> {
        let wanted = |target: &Target| {
            let host = target.endpoint.host().filter(|host| host.is_name())?;
            (round == Round::All || target.is_unresolved()).then(|| host.clone())
        };
        let mut hosts = Vec::new();
        let reports = self.executor.reports();
        reports.servers(|number, server| {
            let id = ServerId::new(number).filter(|_| !server.is_empty());
            hosts.extend(id.and_then(|id| Some((Upstream::Regular(id), wanted(server.target())?))));
            Ok(())
        })?;
        let Summary { settings, .. } = reports.summary()?;
        for (upstream, target) in [(Upstream::Emergency, &settings.emergency), (Upstream::Abuse, &settings.abuse)] {
            hosts.extend(target.as_ref().and_then(|target| Some((upstream, wanted(target)?))));
        }
        Ok(hosts)
    }
}

/// Logs that a name that has addresses cannot be looked up any more, or can be again. Of a name without addresses the log told already.
fn note(log: &Log, failing: &mut HashSet<String>, host: &Host, error: Option<&Error>) {
    match error {
        Some(error) if host.addresses().is_empty() => {
            log.debug(1, || format!("{}: still cannot be looked up: {}", host.name(), error.cause()));
        }
        Some(error) => {
            if failing.insert(host.name().to_string()) {
                let (name, cause) = (host.name(), error.cause());
                log.warning(format_args!(
                    "{name}: cannot be looked up again: {cause}; its servers keep their addresses"
                ));
            }
        }
        None => {
            if failing.remove(host.name()) {
                log.notice(format_args!("{}: can be looked up again", host.name()));
            }
        }
    }
}
