//! From a configuration to a running pen: everything that can fail is done first, then the threads start.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded, unbounded};

use super::event::Order;
use super::logger::Logger;
use super::permits::Permits;
use super::pool::{Pool, WorkerId};
use super::session::Desk;
use super::supervisor::Supervisor;
use super::{acceptor, signals};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::net::clock::Clock;
use crate::net::scratch::Scratch;
use crate::net::socket::Listener;
use crate::net::{limits, resolve};
use crate::policy::balancer::{Balancer, Effect};
use crate::policy::command::Command;

/// Events that may wait for the supervisor. Who sends more waits, which slows down accepting and nothing else.
const EVENTS: usize = 256;

/// What the command line says.
#[derive(Debug)]
pub struct Config {
    /// Where clients come in.
    pub listener: Endpoint,
    /// How many clients the kernel may queue before they are accepted.
    pub backlog: i32,
    /// Size of the client table at start.
    pub clients_max: usize,
    /// Most simultaneous connections at start.
    pub conn_max: usize,
    /// Everything else, in order.
    pub commands: Vec<Command>,
}

/// Runs pen until a signal ends it.
pub fn run(config: Config) -> Result<(), Error> {
    let mut balancer = Balancer::new(config.clients_max, config.conn_max);
    let mut debug = 0;
    for mut command in config.commands {
        resolve::command(&mut command)?;
        if let Some(Effect::DebugLevel(level)) = balancer.apply(command, Instant::now()) {
            debug = level;
        }
    }
    if !balancer.has_servers() {
        return Err(Error::Usage(String::from("no server given")));
    }
    let listener = open(&config.listener, config.backlog)?;
    let sessions = limits::raise_open_files(balancer.settings().conn_max);
    let clock = Clock::local();

    let system = |what: &str| {
        let what = format!("cannot start the {what}");
        move |error| Error::System(what, error)
    };
    let logger = Logger::start(clock.clone()).map_err(system("logger"))?;
    let log = logger.log.clone();
    log.set_debug(debug);
    if sessions < balancer.settings().conn_max {
        let wanted = balancer.settings().conn_max;
        log.warning(format_args!(
            "the limit on open files is enough for {sessions} connections, not {wanted}: see ulimit -n"
        ));
    }
    if balancer.lacks_weights() {
        log.warning("selection is by weight, but every server has weight 0: new clients will be refused");
    }
    let (events, inbox) = bounded(EVENTS);
    // Without a bound of its own: see `Closed`.
    let (closed, ended) = unbounded();
    let permits = Permits::new(sessions);
    signals::start(events.clone()).map_err(system("signal thread"))?;
    acceptor::start(Arc::clone(&listener), permits.clone(), events.clone(), log.clone()).map_err(system("acceptor"))?;
    log.debug(1, || format!("pen {} listens on {}", env!("CARGO_PKG_VERSION"), listener.address()));

    let desk = Desk { events, closed, log: log.clone(), scratch: Scratch::default() };
    let supervisor = Supervisor {
        balancer,
        pool: Pool::new(move |worker: WorkerId, orders: Receiver<Order>| desk.work(worker, &orders)),
        permits,
        sessions_max: sessions,
        log,
        clock,
        name: listener.address().to_string().into(),
        events: inbox,
        closed: ended,
        sessions: Vec::new(),
        waiting: VecDeque::new(),
        reminded: None,
    };
    let outcome = supervisor.run();
    listener.remove_file();
    logger.flush();
    outcome
}

/// Opens the first of the listener's addresses that can be had.
fn open(endpoint: &Endpoint, backlog: i32) -> Result<Arc<Listener>, Error> {
    let mut result = Err(Error::Address(endpoint.to_string(), String::from("no address found")));
    for address in resolve::listener(endpoint)? {
        result = Listener::open(&address, backlog).map_err(|error| Error::Bind(endpoint.to_string(), error));
        if result.is_ok() {
            break;
        }
    }
    result.map(Arc::new)
}
