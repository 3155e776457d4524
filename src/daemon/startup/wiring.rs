//! The threads, and the channels between them. Nothing but a lack of threads can fail here.

use std::process;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::bound::Bound;
use super::config::Options;
use crate::daemon::access_log::AccessLog;
use crate::daemon::complaints::Complaints;
use crate::daemon::control::executor::Executor;
use crate::daemon::control::loader::Loader;
use crate::daemon::control::port;
use crate::daemon::crew::Places;
use crate::daemon::datagrams::Datagrams;
use crate::daemon::datagrams::tools::{Epoch, Tools};
use crate::daemon::door::{Door, WEB};
use crate::daemon::events::Event;
use crate::daemon::latest::Latest;
use crate::daemon::mailbox::{Handle, Mailbox};
use crate::daemon::permits::Permits;
use crate::daemon::pool::{Pool, WorkerId};
use crate::daemon::session::job::Order;
use crate::daemon::session::worker::Worker;
use crate::daemon::signals::Wish;
use crate::daemon::supervisor::front::Front;
use crate::daemon::supervisor::{Helpers, Supervisor};
#[cfg(feature = "web")]
use crate::daemon::web;
use crate::daemon::{idlers, reloader, reporter, resolver, signals, thread};
use crate::error::Error;
use crate::net::listener::Traffic;
use crate::net::relay::buffers::Buffers;
use crate::net::relay::yields::Yields;
use crate::net::tls::Keyring;
use crate::policy::balancer::Balancer;
use crate::sys::clock::Clock;
use crate::sys::limits::{Grant, Host};
use crate::sys::log::Log;
use crate::sys::service_manager::ServiceManager;

/// What is there before the threads.
pub(super) struct Wiring {
    /// To the supervisor.
    pub(super) events: Handle<Event>,
    /// The supervisor's; it belongs to this thread.
    pub(super) inbox: Mailbox<Event>,
    pub(super) log: Log,
    pub(super) access_log: AccessLog,
    pub(super) clock: Clock,
    /// For the names of files from now on.
    pub(super) loader: Loader,
    pub(super) keyring: Arc<Keyring>,
    pub(super) host: Host,
    /// What it grants to the sessions.
    pub(super) grant: Grant,
    /// What comes in.
    pub(super) traffic: Traffic,
    /// It is told of reloads.
    pub(super) manager: ServiceManager,
}

/// What the starting thread goes on with.
pub(super) struct Wired<F> {
    pub(super) supervisor: Supervisor<F>,
    /// Of the control port's clients, if there is a control port.
    pub(super) places: Option<Places>,
    /// The web page.
    pub(super) web: Door,
}

impl Wiring {
    /// Starts the threads, but for those of the logs, which run, and the supervisor, which is to run in this one. From now on signals are
    /// heeded and clients are accepted.
    pub(super) fn start(
        self,
        options: &Options,
        mut balancer: Balancer,
        bound: &mut Bound,
    ) -> Result<Wired<impl Fn(WorkerId, Receiver<Order>) + Clone + Send + 'static>, Error> {
        let Self { events, inbox, log, access_log, clock, loader, keyring, host, grant, traffic, manager } = self;
        let permits = Permits::new(grant.sessions);
        let idlers = idlers::start(permits.clone(), &events)?;
        let web = Door::new(log.clone(), WEB);
        let executor = Executor {
            events: events.clone(),
            loader,
            traffic,
            access_log: access_log.clone(),
            keys: Arc::default(),
            web: web.clone(),
            turn: Arc::default(),
        };
        let reload = reloader::start(executor.clone(), options.identity.file.clone(), manager, log.clone())?;
        let resolver = resolver::start(executor.clone(), log.clone())?;
        let usr1 = reporter::start(executor.reports(), log.clone())?;
        signals::start(&events, log.clone(), heed(access_log.clone(), reload, usr1, log.clone()))?;
        staff(&web, &executor, &log);
        let mut open = web.key();
        let listeners = bound.hand_over_web();
        open.prepare(&listeners)?;
        open.open(listeners);
        let places = port::start(&bound.control, executor, &log)?;
        balancer.begin_serving(process::id(), Instant::now());
        let mut front = Front::new(permits, host, grant, bound.control.len(), events.clone());
        if let Traffic::Datagrams { sockets } = traffic {
            let epoch = Epoch::default();
            let tools = Tools {
                events: events.clone(),
                log: log.clone(),
                complaints: Arc::new(Complaints::new(log.clone(), "")),
                access_log: access_log.clone(),
                epoch: epoch.clone(),
                settings: Arc::clone(balancer.settings()),
            };
            front.takes_datagrams(epoch, Datagrams::start(sockets, &tools)?);
        }
        front.listen(bound.hand_over(), &log, Instant::now())?;
        log.notice(format_args!("pen {} starting, listens on {}", env!("CARGO_PKG_VERSION"), front.names()));

        // Without a bound of its own: see `Closed`.
        let (closed, ended) = unbounded();
        let announcements = Arc::new(Complaints::new(log.clone(), "PROXY protocol: "));
        let worker = Worker {
            events: events.clone(),
            closed,
            log: log.clone(),
            complaints: Arc::new(Complaints::new(log.clone(), "")),
            announcements: Arc::clone(&announcements),
            access_log: access_log.clone(),
            buffers: Buffers::default(),
            pipes: front.pipes.clone(),
            yields: Yields::default(),
        };
        // A worker that panics outside of a session would take its slot with it.
        let pool = Pool::new(move |id: WorkerId, orders: Receiver<Order>| {
            thread::watch("worker", &worker.events, || worker.work(id, &orders));
        });
        let helpers = Helpers { idlers: Latest::new(idlers), idle: 0, resolver, announcements, access_log };
        let conn_max = balancer.settings().conn_max;
        let mut supervisor = Supervisor::new(balancer, inbox, (pool, ended), (front, keyring), helpers, (log, clock));
        supervisor.make_room_for(conn_max)?;
        Ok(Wired { supervisor, places, web })
    }
}

/// Who serves the clients of the web page.
#[cfg(feature = "web")]
fn staff(door: &Door, executor: &Executor, log: &Log) {
    let (executor, log) = (executor.clone(), log.clone());
    door.staff(Box::new(move || web::start(&executor, &log)));
}

/// There is no web page.
#[cfg(not(feature = "web"))]
fn staff(_door: &Door, _executor: &Executor, _log: &Log) {}

/// What signals do. `reload` wakes the reloader and `report` the reporter. Each has room for one: a signal that finds none comes before the
/// thread has begun with the one that has it, and is done with that.
fn heed(access_log: AccessLog, reload: Sender<()>, report: Sender<()>, log: Log) -> impl Fn(Wish) + Send + 'static {
    move |wish| match wish {
        Wish::Reload => {
            log.notice("HUP: opens the request log and reads the file again");
            // At once: logrotate(8) waits for the new file, and the reloader may be waiting for DNS.
            access_log.reopen();
            let _ = reload.try_send(());
        }
        Wish::Report => {
            log.notice("USR1: makes a report");
            let _ = report.try_send(());
        }
    }
}
