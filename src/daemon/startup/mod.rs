//! From a configuration to a running pen: everything that can fail is done first, then the threads start.

mod bound;
pub mod config;
mod detach;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::{io, panic, process};

use crossbeam_channel::{Receiver, unbounded};

use self::bound::Bound;
use self::config::{Config, Options};
use self::detach::{Report, Side};
use crate::daemon::access_log::AccessLog;
use crate::daemon::control::executor::{Executor, write_files};
use crate::daemon::control::loader::Loader;
use crate::daemon::control::port;
use crate::daemon::control::reports::Reports;
use crate::daemon::latest::Latest;
use crate::daemon::logger::{Logger, Sink};
use crate::daemon::mailbox;
use crate::daemon::permits::Permits;
use crate::daemon::pool::{Pool, WorkerId};
use crate::daemon::session::job::Order;
use crate::daemon::session::worker::Worker;
use crate::daemon::supervisor::Supervisor;
use crate::daemon::{acceptor, idlers, reloader, reporter, signals};
use crate::error::Error;
use crate::net::relay::buffers::Buffers;
use crate::net::relay::pipes::{self, Pipes};
use crate::sys::clock::Clock;
use crate::sys::limits;
use crate::sys::privileges::{Confinement, is_root, may_be_transparent};
use crate::sys::root::Root;
use crate::sys::syslog::Syslog;

/// Events that may wait for the supervisor. Who sends more waits, which slows down accepting and nothing else.
const EVENTS: usize = 256;

/// Runs pen until a signal ends it; in the background, if the configuration says so, and then this returns here as soon as pen
/// works there.
pub fn run(options: Options, warn: &dyn Fn(&str)) -> Result<(), Error> {
    if options.identity.foreground {
        let config = Config::make(&options, warn)?;
        let root = Root::new(options.identity.jail.as_deref())?;
        return serve(&options, config, root, &mut Report::nobody());
    }
    detach::close_inherited();
    let config = Config::make(&options, warn)?;
    let root = Root::new(options.identity.jail.as_deref())?;
    match detach::detach()? {
        Side::Started => Ok(()),
        Side::Daemon(mut report) => {
            let outcome = serve(&options, config, root, &mut report);
            if let Err(error) = &outcome {
                report.failed(error);
            }
            outcome
        }
    }
}

/// Takes what the config needs from the host, gives up what pen does not need any more, starts the threads, and works.
fn serve(options: &Options, config: Config, root: Root, report: &mut Report) -> Result<(), Error> {
    // Not before: until now there was nothing to end in peace, and names were looked up, which may take its time.
    signals::hold();
    let mut bound = Bound::stake(options, &config)?;
    let Config { mut balancer, mut prepared, effects, loader, .. } = config;
    let loader = Loader { root: root.clone(), ..loader };
    let conn_max = balancer.settings().conn_max;
    let sessions = limits::raise_open_files(conn_max, pipes::MOST);
    let clock = Clock::local();
    let sink = if options.identity.foreground { Sink::Stderr } else { Sink::Syslog(Syslog::open()) };
    let transparent = balancer.settings().transparent;
    let confinement = Confinement { jail: root.jail(), account: options.user.as_ref(), transparent };
    bound.enter(&root, || confinement.enter_jail())?;
    if let Some(path) = &options.identity.pidfile {
        bound.number(&root.name(path), options.user.as_ref())?;
    }
    confinement.give_up_rights()?;
    // As the user who must be able to open it again at HUP.
    loader.open_access_log(&mut prepared)?;
    // Whoever starts pen learns of it: nobody else has asked for these files.
    match write_files(effects.clone(), &root).join("\n") {
        failures if failures.is_empty() => {}
        failures => return Err(Error::Config(failures)),
    }

    let (events, inbox) = mailbox::to_this_thread(EVENTS);
    let logger = Logger::start(sink, clock.clone(), &events)?;
    let log = logger.log.clone();
    log.set_debug(balancer.settings().debug);
    log.set_facility(balancer.settings().syslog_facility);
    if is_root() {
        let advice = if options.user.is_none() { "; -u makes it run as another user" } else { "" };
        log.warning(format_args!("runs as root{advice}"));
    }
    if sessions < conn_max {
        log.warning(format_args!(
            "the limit on open files is enough for {sessions} connections, not {conn_max}: see ulimit -n"
        ));
    }
    if transparent && !may_be_transparent() {
        log.warning("transparent is on, but only root may use clients' addresses: connections to servers will fail");
    }
    // Who has gone elsewhere, or is somebody else now, may find another file by this name, or none, or none to read.
    let moved = root.jail().is_some() || options.user.is_some();
    match options.identity.file.as_ref().filter(|_| moved).map(|file| loader.read(file)) {
        // That was told when it was read for the first time.
        Some(Err(Error::System(_, cause))) if root.jail().is_none() && cause.kind() == io::ErrorKind::NotFound => {}
        Some(Err(error)) => log.warning(format_args!("HUP will not read the file again: {error}")),
        _ => {}
    }
    if balancer.lacks_weights() {
        log.warning("selection is by weight, but every server has weight 0: new clients will be refused");
    }
    if !options.identity.foreground {
        let log = log.clone();
        panic::set_hook(Box::new(move |fault| log.error(fault)));
    }
    let destination = prepared.access_log.flatten().map(|destination| *destination);
    let access_log = AccessLog::start(destination, root, log.clone(), &events)?;
    // Without a bound of its own: see `Closed`.
    let (closed, ended) = unbounded();
    let permits = Permits::new(sessions);
    let executor =
        Executor { events: events.clone(), loader, backlog: options.backlog, access_log: access_log.clone() };
    let idlers = idlers::start(&events)?;
    let file = options.identity.file.clone();
    let reload = reloader::start(executor.clone(), file, log.clone())?;
    let reports = Reports { events: events.clone(), root: executor.loader.root.clone() };
    let usr1 = reporter::start(reports, log.clone())?;
    signals::start(&events, access_log.clone(), reload, usr1)?;
    if let Some(gate) = &bound.control {
        port::start(Arc::clone(gate), executor, log.clone())?;
    }
    balancer.begin_serving(process::id());
    let listener = Arc::clone(&bound.listener);
    acceptor::start(Arc::clone(&listener), permits.clone(), &events, log.clone())?;
    log.debug(1, || format!("pen {} listens on {}", env!("CARGO_PKG_VERSION"), listener.address()));

    let desk = Worker {
        events: events.clone(),
        closed,
        log: log.clone(),
        access_log: access_log.clone(),
        buffers: Buffers::default(),
        pipes: Pipes::default(),
    };
    let mut supervisor = Supervisor {
        balancer,
        pool: Pool::new(move |worker: WorkerId, orders: Receiver<Order>| desk.work(worker, &orders)),
        permits,
        sessions_max: sessions,
        log: log.clone(),
        clock,
        name: listener.address().to_string().into(),
        events: inbox,
        closed: ended,
        sessions: Vec::new(),
        waiting: VecDeque::new(),
        reminded: None,
        idlers: Latest::new(idlers),
        access_log: access_log.clone(),
        idle: 0,
        doorway: events,
        listener,
    };
    let (_, exit) = supervisor.carry_out(effects);
    let outcome = report.ready().and_then(|()| if exit { Ok(()) } else { survive(|| supervisor.run()) });
    if let (Err(error), false) = (&outcome, options.identity.foreground) {
        log.error(error);
    }
    access_log.finish();
    drop(bound);
    logger.flush();
    outcome
}

/// Makes an error of a panic, so that what was logged before it is written after it, too.
fn survive(work: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    // Whatever is left half done by it is not used any more.
    panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::System(String::from("supervisor"), io::Error::other("ended unexpectedly"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let error = survive(|| panic!("on purpose")).unwrap_err().to_string();
        assert_eq!(error, "supervisor: ended unexpectedly");
        assert!(survive(|| Ok(())).is_ok());
    }
}
