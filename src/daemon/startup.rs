//! From a configuration to a running pen: everything that can fail is done first, then the threads start.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::{io, panic, process};

use crossbeam_channel::unbounded;

use super::claims::Claims;
use super::detach::{self, Report, Side};
use super::event::Order;
use super::logger::{Logger, Sink};
use super::permits::Permits;
use super::plan::{Config, Plan};
use super::pool::{Pool, WorkerId};
use super::post::Inbox;
use super::reading::Reading;
use super::recorder::Recorder;
use super::session::Desk;
use super::steering::Steering;
use super::supervisor::Supervisor;
use super::{acceptor, clerk, control, idlers, post, signals};
use crate::error::Error;
use crate::net::clock::Clock;
use crate::net::crowd::Crowd;
use crate::net::limits;
use crate::net::logfile::Destination;
use crate::net::privileges::{Station, is_root, may_be_transparent};
use crate::net::root::Root;
use crate::net::scratch::Scratch;
use crate::net::syslog::Syslog;
use crate::policy::configure::Effect;

/// Events that may wait for the supervisor. Who sends more waits, which slows down accepting and nothing else.
const EVENTS: usize = 256;

/// Runs pen until a signal ends it; in the background, if the configuration says so, and then this returns here as soon as pen
/// works there.
pub fn run(config: Config, warn: &dyn Fn(&str)) -> Result<(), Error> {
    if config.identity.foreground {
        let plan = Plan::make(&config, warn)?;
        let root = Root::new(config.identity.jail.as_deref())?;
        return serve(&config, plan, root, &mut Report::nobody());
    }
    detach::close_inherited();
    let plan = Plan::make(&config, warn)?;
    let root = Root::new(config.identity.jail.as_deref())?;
    match detach::detach()? {
        Side::Started => Ok(()),
        Side::Daemon(mut report) => {
            let outcome = serve(&config, plan, root, &mut report);
            if let Err(error) = &outcome {
                report.failed(error);
            }
            outcome
        }
    }
}

/// Takes what the plan needs from the host, gives up what pen does not need any more, starts the threads, and works.
fn serve(config: &Config, plan: Plan, root: Root, report: &mut Report) -> Result<(), Error> {
    // Not before: until now there was nothing to end in peace, and names were looked up, which may take its time.
    signals::hold();
    let mut claims = Claims::stake(config, &plan)?;
    let Plan { mut balancer, effects, reading, .. } = plan;
    let reading = Reading { root: root.clone(), ..reading };
    let conn_max = balancer.settings().conn_max;
    let sessions = limits::raise_open_files(conn_max);
    let clock = Clock::local();
    let sink = if config.identity.foreground { Sink::Stderr } else { Sink::Syslog(Syslog::open()) };
    let transparent = balancer.settings().transparent;
    let station = Station { jail: root.jail(), account: config.user.as_ref(), transparent };
    claims.enter(&root, || station.enter_jail())?;
    if let Some(path) = &config.identity.pidfile {
        claims.number(&root.name(path), config.user.as_ref())?;
    }
    station.give_up_rights()?;
    // As the user who must be able to open it again at HUP.
    let logfile = balancer.settings().log.as_ref().map(|target| Destination::open(target, &root)).transpose()?;

    let system = |what: &str| {
        let what = format!("cannot start the {what}");
        move |error| Error::System(what, error)
    };
    let logger = Logger::start(sink, clock.clone()).map_err(system("logger"))?;
    let log = logger.log.clone();
    log.set_debug(balancer.settings().debug);
    log.set_facility(balancer.settings().syslog_facility);
    if is_root() {
        let advice = if config.user.is_none() { "; -u makes it run as another user" } else { "" };
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
    let moved = root.jail().is_some() || config.user.is_some();
    match config.identity.file.as_ref().filter(|_| moved).map(|file| reading.read(file)) {
        // That was told when it was read for the first time.
        Some(Err(Error::System(_, cause))) if root.jail().is_none() && cause.kind() == io::ErrorKind::NotFound => {}
        Some(Err(error)) => log.warning(format_args!("HUP will not read the file again: {error}")),
        _ => {}
    }
    if balancer.lacks_weights() {
        log.warning("selection is by weight, but every server has weight 0: new clients will be refused");
    }
    if !config.identity.foreground {
        let log = log.clone();
        panic::set_hook(Box::new(move |fault| log.error(fault)));
    }
    let recorder = Recorder::start(logfile, root, log.clone()).map_err(system("recorder"))?;
    let (events, inbox) = post::to_this_thread(EVENTS);
    // Without a bound of its own: see `Closed`.
    let (closed, ended) = unbounded();
    let permits = Permits::new(sessions);
    let steering = Steering { events: events.clone(), reading, backlog: config.backlog, recorder: recorder.clone() };
    let idlers = idlers::start(events.clone()).map_err(system("idlers"))?;
    // Of several the last one counts.
    let wanted = effects.into_iter().rev().find_map(|effect| match effect {
        Effect::Idlers(count, targets) => Some((count, targets)),
        _ => None,
    });
    let file = config.identity.file.clone();
    let clerk = clerk::start(steering.clone(), log.clone()).map_err(system("clerk"))?;
    signals::start(events.clone()).map_err(system("signal thread"))?;
    if let Some(gate) = &claims.control {
        control::start(Arc::clone(gate), steering, log.clone()).map_err(system("control thread"))?;
    }
    balancer.begin_serving(process::id());
    let listener = Arc::clone(&claims.listener);
    acceptor::start(Arc::clone(&listener), permits.clone(), events.clone(), log.clone()).map_err(system("acceptor"))?;
    log.debug(1, || format!("pen {} listens on {}", env!("CARGO_PKG_VERSION"), listener.address()));

    let crowd = Crowd::default();
    let desk = Desk {
        events: events.clone(),
        closed,
        log: log.clone(),
        recorder: recorder.clone(),
        scratch: Scratch::default(),
        crowd: crowd.clone(),
    };
    let supervisor = Supervisor {
        balancer,
        pool: Pool::new(move |worker: WorkerId, orders: Inbox<Order>| desk.work(worker, &orders), crowd),
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
        clerk,
        idlers,
        wanted,
        reload_due: false,
        idle: 0,
        doorway: events,
        listener,
        file,
    };
    let outcome = report.ready().and_then(|()| survive(|| supervisor.run()));
    if let (Err(error), false) = (&outcome, config.identity.foreground) {
        log.error(error);
    }
    recorder.finish();
    drop(claims);
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
